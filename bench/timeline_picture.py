"""`python -m bench.timeline_picture FILE.parquet --out PICTURE.png`: what a timeline tells, drawn.

Above, the queue as it is and as it would be if what was told were carried out, and the forecast's band against what
came true; below, the load in both directions, and what was moved. Commands stand where they were decided. It reads
nothing but the file that `offramp replay --timeline` wrote.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

MARKS = {"onset": ("v", "C3"), "update": ("o", "C1"), "abated": ("^", "C2")}
DPI = 80


def draw(file: Path, out: Path, link: str, begin_s: float, end_s: float) -> None:
    """Draw the seconds from `begin_s` to `end_s` of a link; without a name, of the first."""
    import pandas as pd
    from matplotlib.figure import Figure

    frame = pd.read_parquet(file)
    frame = frame[frame["link"] == (link or frame["link"].iloc[0])]
    seconds = (frame["time"] - frame["time"].iloc[0]).dt.total_seconds()
    frame = frame.assign(s=seconds)[seconds.between(begin_s, end_s)]
    bins, commands = frame[frame["kind"] == "bin"], frame[frame["kind"] == "command"]
    follows = bins["gap"].isna().to_numpy()

    def unbroken(name: str) -> Any:
        return np.where(follows, bins[name], np.nan)

    figure = Figure(figsize=(10, 5.4), layout="constrained")
    delay, load = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    at = bins["s"]
    band = bins["q50_ms"], bins["q99_ms"]
    delay.fill_between(at, *band, color="C0", alpha=0.25, lw=0, label="forecast: quantiles 0.5 to 0.99")
    delay.plot(at, bins["q90_ms"], color="C0", lw=0.8, label="forecast: quantile 0.9")
    delay.plot(at, unbroken("came_true_ms"), color="k", lw=1.2, label="what came true within the horizon")
    delay.plot(at, unbroken("queue_max_ms"), color="0.55", lw=0.7, label="queue now")
    delay.plot(at, unbroken("supposed_queue_ms"), color="C2", lw=1.0, label="queue as supposed")
    delay.plot(at, unbroken("supposed_path_ms"), color="C2", lw=1.0, ls=":", label="longest of the paths, as supposed")
    top = float(np.nanmax(bins[["q99_ms", "came_true_ms"]].to_numpy(), initial=1.0))
    for phase, (marker, colour) in MARKS.items():
        when = [row.s for row in commands.itertuples() if json.loads(row.command)["phase"] == phase]
        delay.plot(when, [1.06 * top] * len(when), marker, color=colour, label=f"command: {phase}", clip_on=False)
    delay.set(ylabel="delay, ms", ylim=(0, 1.1 * top))
    load.plot(at, unbroken("load_up"), color="C4", lw=0.7, label="load up")
    load.plot(at, unbroken("load_down"), color="C5", lw=0.7, label="load down")
    load.fill_between(at, 0, 1, bins["open_moves"] > 0, transform=load.get_xaxis_transform(), color="C2", alpha=0.15,
                      lw=0, label="something is moved (dry run: as if)")  # fmt: skip
    load.set(xlabel="seconds", ylabel="share of the\ncapacity", ylim=(0, None), xlim=(begin_s, at.iloc[-1]))
    figure.legend(fontsize=7, ncols=5, loc="outside upper center")
    for axes in (delay, load):
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=DPI, pil_kwargs={"optimize": True})


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.timeline_picture", description=__doc__)
    parser.add_argument("file", type=Path, help="what `offramp replay --timeline` or `offramp tap --timeline` wrote")
    parser.add_argument("--out", type=Path, required=True, help="picture to draw, .png")
    parser.add_argument("--link", default="", help="the link to draw; else the first")
    parser.add_argument("--from", dest="begin", type=float, default=0.0, help="seconds from the first row on")
    parser.add_argument("--to", dest="end", type=float, default=float("inf"), help="seconds up to there")
    args = parser.parse_args()
    draw(args.file, args.out, args.link, args.begin, args.end)


if __name__ == "__main__":
    main()
