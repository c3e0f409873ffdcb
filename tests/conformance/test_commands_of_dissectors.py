"""From capture to command: the rows of any dissector go the whole way, and those of tshark give the same bytes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from offramp.capture.sources.file.files import open_captures
from offramp.capture.sources.source import ListSource
from offramp.decision.command import Command
from offramp.decision.site import load_site
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_predictor
from offramp.stream.local.pace import select
from offramp.stream.local.replay import Replay
from tests.support.places import DEMO, SITE

NEEDS_TSHARK = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark, which the reference is, is missing")
SECONDS = 20
"""Of the sample: up to its first congestion. tshark through pyshark reads some hundred packets a second."""


def decided(dissector: str) -> list[Command]:
    """Return the commands of the sample's first seconds."""
    blocks, begin_ns = [], 0
    for block in open_captures([str(DEMO)]).read():
        begin_ns = begin_ns or int(block.time_ns[0])
        rows = np.flatnonzero(block.time_ns < begin_ns + SECONDS * 1_000_000_000)
        if len(rows):
            blocks.append(select(block, rows, block.first_number))
    running = Replay(
        ListSource(blocks), load_site(SITE), load_artifact(DEFAULT_ARTIFACT), open_predictor(DEFAULT_ARTIFACT),
        dissector=dissector,
    )  # fmt: skip
    return list(running.run())


@pytest.fixture(scope="module")
def fast() -> list[Command]:
    found = decided("fast")
    assert found, "the sample's first congestion is among what is read"
    return found


@NEEDS_TSHARK
def test_rows_of_tshark_give_the_same_bytes(fast: list[Command]) -> None:
    assert [command.to_json() for command in decided("reference")] == [command.to_json() for command in fast]


def test_rows_of_scapy_give_the_same_moves(fast: list[Command]) -> None:
    """It sees headers alone, so forecasts differ in their digits; what is moved, and when, does not."""
    assert [(each.action, each.not_before_ns) for each in decided("scapy")] == [
        (each.action, each.not_before_ns) for each in fast
    ]
