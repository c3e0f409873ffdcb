"""`python -m bench.queue_statistics SPEC --telemetry DIR`: the virtual queue beside the queue of a real switch.

The switch (P4, in-band telemetry) reported once a second how many packets were queued and how long a packet had waited.
The virtual queue of each source and capacity of a specification is sampled in the same way once a second, at every
phase of the second. A table goes to standard output; --out draws both.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError
from offramp.stream.bins.packets import Packets
from offramp.stream.bins.virtual_queue import virtual_delays_ms
from offramp.stream.datasets.arrivals import Arrivals
from offramp.stream.datasets.bottlenecks import bottlenecks
from offramp.stream.datasets.build import arrivals_of, origins_of
from offramp.stream.datasets.labelling import Bottleneck
from offramp.stream.datasets.spec import Source, load_spec
from offramp.stream.datasets.trace_queue import goes_down

SECOND_NS = 1_000_000_000
PHASES = 20
LAGS = 10
MIN_S = 15
"""Seconds that a run must last."""

DEEP = 32
"""Packets from which the switch's queue counts as deep."""


class Queue(NamedTuple):
    """A queue asked once a second: float64 [runs, seconds] delay in ms and packets queued; NaN pads shorter runs."""

    name: str
    delay_ms: NDArray[np.float64]
    depth: NDArray[np.float64]


def run(spec_file: Path, root: Path | None, telemetry: Path, sources: tuple[str, ...], out: Path | None) -> None:
    """Print the table, and draw it where a picture is asked for."""
    spec = load_spec(spec_file)
    queues = list(switch_queues(telemetry))
    for source in spec.sources:
        if source.name in sources:
            queues += virtual_queues(source, spec.seed, spec_file.parent, root)
    print("| queue | samples | depth 0 | 1 to 31 | 32 and more | delay p50, ms | p95 | p99 | lag 1 s | lag 5 s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for queue in queues:
        print(line(queue))
    if out:
        draw(queues, out)


def line(queue: Queue) -> str:
    """Return a queue's row of the table."""
    depth = queue.depth[~np.isnan(queue.depth)]
    p50, p95, p99 = np.nanpercentile(queue.delay_ms, [50, 95, 99])
    empty, deep = np.mean(depth == 0), np.mean(depth >= DEEP)
    lags = correlations(queue.delay_ms)
    return (
        f"| {queue.name} | {depth.size:,} | {empty:.1%} | {1 - empty - deep:.1%} | {deep:.1%} "
        f"| {p50:.2f} | {p95:.1f} | {p99:.1f} | {lags[0]:.2f} | {lags[4]:.2f} |"
    )


def correlations(runs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the autocorrelation at lags of 1 to LAGS seconds, the median of the runs that move: float64 [LAGS]."""
    found = []
    for row in runs:
        about = row[~np.isnan(row)]
        about = about - about.mean() if len(about) >= MIN_S else np.zeros(1)
        if about.any():
            found.append([about[lag:] @ about[:-lag] / (about @ about) for lag in range(1, LAGS + 1)])
    return np.median(found, axis=0) if found else np.full(LAGS, np.nan)


def switch_queues(folder: Path) -> Iterator[Queue]:
    """Yield the switch's queues, by access and direction: CSV files with depth in packets and time in us."""
    files = sorted(folder.rglob("*.csv"))
    if not files:
        raise InputError(f"{folder}: no telemetry (CSV files with deq_qdepth and deq_timedelta) is there")
    for access in sorted({path.relative_to(folder).parts[-5] for path in files}):
        for direction in ("downlink", "uplink"):
            own = [read_telemetry(path, direction) for path in files if path.relative_to(folder).parts[-5] == access]
            delay, depth = (padded([pair[at] for pair in own]) for at in (0, 1))
            yield Queue(f"switch, {access.replace('_connection', '')} {direction}", delay, depth)


def read_telemetry(path: Path, direction: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return delay in ms and depth in packets of one file, a sample a second."""
    head, *rows = path.read_text(encoding="utf-8").splitlines() or [""]
    try:
        columns = [head.split(",").index(f"{direction} {name}") for name in ("deq_timedelta", "deq_qdepth")]
        table = np.array([[float(row.split(",")[at]) for at in columns] for row in rows]).reshape(-1, 2)
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: no telemetry of the {direction}: {error}") from error
    return table[:, 0] / 1e3, table[:, 1]


def padded(runs: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return runs of different length as one array, NaN behind the shorter."""
    out = np.full((len(runs), max(map(len, runs), default=0)), np.nan)
    for row, values in zip(out, runs, strict=True):
        row[: len(values)] = values
    return out


def virtual_queues(source: Source, seed: int, here: Path, root: Path | None) -> list[Queue]:
    """Return the virtual queue of a source for each capacity, over all its origins."""
    found: dict[str, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {}
    for _, arrivals in arrivals_of(origins_of(source, here, root), seed):
        for bottleneck, _ in bottlenecks(arrivals, source, here, root):
            found.setdefault(bottleneck.name, []).extend(asked(arrivals, bottleneck))
    return [
        Queue(f"{source.name} @ {name}", padded([pair[0] for pair in runs]), padded([pair[1] for pair in runs]))
        for name, runs in found.items()
    ]


def asked(arrivals: Arrivals, bottleneck: Bottleneck) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield delay and depth once a second, from each phase on, of the direction that carries more."""
    packets = arrivals.packets
    down = goes_down(packets, bottleneck.config.networks)
    side = int(packets.size[down].sum() > packets.size[~down].sum())
    chosen = Packets(*(column[down == bool(side)] for column in packets))
    if not len(chosen.time_ns):
        return
    came, left = through(chosen, bottleneck, side)
    for phase in range(PHASES):
        at = np.arange(came[0] + phase * SECOND_NS // PHASES, came[-1], SECOND_NS)
        if len(at) >= MIN_S:
            here, gone = np.searchsorted(came, at, side="right"), np.searchsorted(left, at, side="right")
            last = np.concatenate([[0], left])[here]
            yield np.maximum(last - at, 0) / 1e6, (here - gone).astype(np.float64)


def through(packets: Packets, bottleneck: Bottleneck, side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return when each packet that is not dropped came and left, ns."""
    config, time = bottleneck.config, np.maximum.accumulate(packets.time_ns)
    if bottleneck.served:
        service = bottleneck.served[side]
        delay = virtual_delays_ms(
            time, packets.size, trace_ns=service.trace_ns, opportunity_bytes=service.opportunity_bytes,
            buffer_bytes=config.buffer_bytes,
        )  # fmt: skip
    else:
        rate = config.capacity_down_bps if side else config.capacity_up_bps
        delay = virtual_delays_ms(time, packets.size, capacity_bps=rate, buffer_bytes=config.buffer_bytes)
        delay += packets.size * 8e3 / rate
    kept = ~np.isnan(delay)
    return time[kept], time[kept] + (delay[kept] * 1e6).astype(np.int64)


def draw(queues: list[Queue], out: Path) -> None:
    """Draw how often the delay is exceeded, and how long it remembers; the switch dashed."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.4), layout="constrained")
    beyond, memory = figure.subplots(1, 2, width_ratios=(3, 2))
    colours = colormaps["tab20"].colors  # type: ignore[attr-defined]
    for number, queue in enumerate(queues):
        style: dict[str, Any] = {"color": colours[number % 20]}
        if queue.name.startswith("switch"):
            style = {"color": str(0.15 * number), "linestyle": "--", "linewidth": 2.5, "zorder": 3}
        delay = np.sort(queue.delay_ms[~np.isnan(queue.delay_ms)])
        beyond.plot(np.maximum(delay, 0.01), 1 - np.arange(len(delay)) / len(delay), label=queue.name, **style)
        memory.plot(range(1, LAGS + 1), correlations(queue.delay_ms), **style)
    beyond.set(xscale="log", yscale="log", ylim=(1e-3, 1.1), xlim=(0.01, 3_000), xlabel="queueing delay, ms",
               ylabel="share of seconds with more")  # fmt: skip
    memory.set(xlabel="lag, s", ylabel="autocorrelation of the delay", ylim=(-0.2, 1))
    for axes in (beyond, memory):
        axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=7)
    figure.savefig(out, dpi=85)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.queue_statistics", description=__doc__)
    parser.add_argument("spec", type=Path, help="specification of a data set")
    parser.add_argument("--root", type=Path, help="what $ROOT/ stands for in it")
    parser.add_argument("--telemetry", type=Path, required=True, help="folder of ACCESS/GAME/PLAYERS/INT_data/*.csv")
    parser.add_argument("--source", action="append", help="sources of the specification to compare")
    parser.add_argument("--out", type=Path, help="picture to draw, .png")
    args = parser.parse_args()
    run(args.spec, args.root, args.telemetry, tuple(args.source or ("xr", "lab-train", "synthetic")), args.out)


if __name__ == "__main__":
    main()
