"""The stages of offramp, each fed with what the stage before it gives, held in memory."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.measure import Result, timed
from offramp.capture.block import PacketBlock
from offramp.capture.dissect.dissector import Dissector
from offramp.capture.sources.file.files import open_captures
from offramp.decision.site import default_site
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_predictor
from offramp.stream.bins.bins import Bins
from offramp.stream.bins.packets import packets_from_batch
from offramp.stream.bins.state import SERIES
from offramp.stream.channels import CHANNELS
from offramp.stream.pipeline.carried_state import Ask, CarriedState, predict_together
from offramp.stream.pipeline.pipeline import config_of
from offramp.stream.windows.normaliser import Normaliser, scaled
from offramp.stream.windows.stft import Spectra


class Rows(NamedTuple):
    """What the model is given for some closed bins; see stream.bins.bins.ClosedBins."""

    x: NDArray[np.float32]
    spectrum: NDArray[np.float32]
    series: NDArray[np.int32]
    fresh: NDArray[np.uint8]


def reading(capture: Path) -> Result:
    """Measure the file source: packets found in the file's bytes."""

    def run() -> int:
        return sum(len(block) for block in open_captures([str(capture)]).read())

    return timed("read", run)


def dissecting(capture: Path, profile: str) -> Result:
    """Measure the fast path: blocks in memory to feature batches of `profile`."""
    blocks = list(open_captures([str(capture)]).read())

    def run() -> int:
        dissector = Dissector(profile)
        return sum(batch.num_rows for block in blocks for batch in dissector.dissect(block))

    return timed(f"dissect, {profile} profile", run)


def stream_batches(blocks: list[PacketBlock]) -> list[pa.RecordBatch]:
    """Return the feature batches of the stream profile."""
    dissector = Dissector("stream")
    return [batch for block in blocks for batch in dissector.dissect(block)]


def windowing(capture: Path) -> tuple[Result, list[Rows]]:
    """Measure bins, normaliser and spectra over batches in memory; return the rows for the model too."""
    batches = stream_batches(list(open_captures([str(capture)]).read()))
    link = default_site().links[0]
    config = config_of(link)
    limits = Normaliser.from_state(load_artifact(DEFAULT_ARTIFACT).normaliser).limits()
    rows: list[Rows] = []

    def run() -> int:
        bins, learned, spectra = Bins(config), Normaliser(len(CHANNELS)), Spectra(SERIES)
        rows.clear()
        for batch in batches:
            for closed in bins.update(packets_from_batch(batch)):
                learned.update(closed.x)
                x = scaled(closed.x, *limits)
                spectrum = spectra.update(x, closed.series, closed.fresh)
                rows.append(Rows(x, spectrum.copy(), closed.series.copy(), closed.fresh.copy()))
        return sum(batch.num_rows for batch in batches)

    result = timed("windows", run)
    return result, rows


def predicting(packets: int, rows: list[Rows]) -> Result:
    """Measure the model over the windows of `packets` packets."""
    predictor = open_predictor(DEFAULT_ARTIFACT)

    def run() -> int:
        carried = CarriedState(SERIES, predictor.state_size)
        for row in rows:
            predict_together(predictor, [Ask(carried, row.x, row.spectrum, row.series, row.fresh)])
        return packets

    count = sum(len(row.x) for row in rows)
    return timed("model", run, note=f"{count:,} forecasts")
