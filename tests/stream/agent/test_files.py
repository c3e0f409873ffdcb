"""The epoch of a recording: the same for the same bytes, another for any others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.cli.publish import PublishOptions, epoch_of
from offramp.decision.site import default_site
from offramp.stream.agent.files import recording_epoch

SIZE = 5 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("epoch")
    (folder / "a").write_bytes(bytes(SIZE))
    return folder


@given(place=st.integers(0, SIZE - 1), length=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_an_edited_capture_is_another_recording(folder: Path, place: int, length: int) -> None:
    text = bytearray(SIZE)
    text[place : place + length] = b"\x01" * len(text[place : place + length])
    (folder / "b").write_bytes(text)
    assert recording_epoch([str(folder / "a")], "max") != recording_epoch([str(folder / "b")], "max")


def test_the_same_bytes_are_the_same_recording(folder: Path) -> None:
    (folder / "c").write_bytes(bytes(SIZE))
    (folder / "d").write_bytes(b"d")
    a, c, d = (str(folder / name) for name in "acd")
    assert recording_epoch([a], "max") == recording_epoch([c], "max")
    assert len({recording_epoch(files, "max") for files in ([a], [a, d], [d, a], [a, a])}) == 4
    assert recording_epoch([a], "max") != recording_epoch([a], "1x")
    (folder / "half").write_bytes(bytes(SIZE // 2))
    assert recording_epoch([a], "max") != recording_epoch([str(folder / "half")] * 2, "max")


def test_a_pipe_is_not_read_for_it(tmp_path: Path) -> None:
    """What was read would be missing, and a pipe without a writer would be waited for."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    options = PublishOptions(files=(str(pipe),))
    assert epoch_of(options, default_site()) != epoch_of(options, default_site())
