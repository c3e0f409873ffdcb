"""Train a model from captures, traces and made-up arrivals: what `offramp train` runs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from capture.dissector import Dissector
from capture.files import open_captures
from decision.site import Site, default_site, load_site
from inference.train import train
from offramp_errors import ConfigError, InputError
from offramp_kernels import announce_compiling
from stream.bins import LinkShape
from stream.channels import BIN_MS, CHANNELS, SPECTRUM_SIZE
from stream.dataset import (
    HORIZON_MS,
    LOAD_FACTORS,
    RawSequence,
    sequences_from_packets,
    sequences_from_trace,
    shapes_for,
    synthetic_sequences,
    training_sequences,
)
from stream.packets import Packets, packets_from_batch

TRACE_ENDINGS = {".txt", ".trace"}


def parse_thresholds(text: str) -> tuple[float, float] | None:
    """Return the two delays of `A,B` in ms, None for `terciles`."""
    if text == "terciles":
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--thresholds {text}: expected two delays in ms such as 5,25, or terciles") from None
    if not 0 < low < high:
        raise ConfigError(f"--thresholds {text}: the first must be above 0 and below the second")
    return low, high


def run_training(
    files: tuple[str, ...], out: Path, site_file: Path | None, synthetic: int, preset: str, seed: int, epochs: int,
    thresholds: str,
) -> None:  # fmt: skip
    """Run `offramp train`: print what it learns from, each epoch, and the scores beside persistence."""
    if not files and not synthetic:
        raise InputError("nothing to train on: name captures or traces, or ask for --synthetic N arrival sequences")
    announce_compiling()
    limits = parse_thresholds(thresholds)
    site = load_site(site_file) if site_file else default_site()
    raw: list[RawSequence] = list(synthetic_sequences(seed, synthetic)) if synthetic else []
    for name in files:
        raw += _from_file(name, site)
        print(f"{name}: {len(raw)} series so far", file=sys.stderr)
    sequences, normaliser = training_sequences(raw)
    bins = sum(len(sequence.x) for sequence in sequences)
    print(f"training on {len(sequences)} series, {bins:,} bins of {BIN_MS} ms", file=sys.stderr)
    words = ["offramp train", *files, *(["--site", str(site_file)] if site_file else []), f"--synthetic {synthetic}"]
    command = f"{' '.join(words)} --preset {preset} --seed {seed}"
    meta = {
        "name": f"hybrid-{preset}",
        "channels": list(CHANNELS),
        "spectrum_size": SPECTRUM_SIZE,
        "bin_ms": BIN_MS,
        "horizon_ms": HORIZON_MS,
        "command": f"{command} --epochs {epochs} --thresholds {thresholds}",
    }
    artifact = train(sequences, normaliser, out, meta, preset=preset, seed=seed, epochs=epochs, thresholds_ms=limits)
    for name, value in artifact.manifest["metrics"].items():
        print(f"{name:<22} {value:,.4g}")
    print(f"written to {out}; replay with --model {out}", file=sys.stderr)


def _from_file(name: str, site: Site) -> list[RawSequence]:
    """Return the series of a trace, or of a capture seen through its link and through other capacities."""
    if Path(name).suffix in TRACE_ENDINGS:
        return sequences_from_trace(Path(name))
    dissector = Dissector("stream")
    parts = [packets_from_batch(batch) for block in open_captures([name]).read() for batch in dissector.dissect(block)]
    if not parts:
        return []
    packets = Packets(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    networks = tuple(str(network) for network in site.links[0].devices)
    link = site.links[0]
    own = LinkShape(link.capacity_bps, link.capacity_down_bps, link.buffer_bytes, networks)
    shapes = [own, *shapes_for(packets, LOAD_FACTORS, networks)]
    return [
        sequence
        for number, shape in enumerate(shapes)
        for sequence in sequences_from_packets(packets, shape, f"{name}@{number}")
    ]
