"""A file that is followed: each line comes once and whole, however it is written, and whatever becomes of the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.errors import InputError
from offramp.stream.local import followed_file
from offramp.stream.local.followed_file import MAX_LINE, FollowedFile


def append(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text)


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(st.binary(max_size=12), max_size=12), chunk=st.integers(1, 9))
def test_lines_are_those_of_the_whole_however_they_are_written(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], chunk: int
) -> None:
    path, found = tmp_path_factory.mktemp("followed") / "file", list[tuple[int, bytes]]()
    file = FollowedFile(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(followed_file, "CHUNK", chunk)
        for part in parts:
            append(path, part)
            found += file.lines()
        found += file.rest()
    file.close()
    whole = b"".join(parts).split(b"\n")
    assert found == list(enumerate(whole if whole[-1] else whole[:-1], 1))
    assert list(file.rest()) == []


def test_a_file_that_comes_later_is_cut_and_is_another_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = FollowedFile(path)
    assert (file.is_open, list(file.lines())) == (False, [])
    append(path, b"a\nb")
    assert list(file.lines()) == [(1, b"a")]
    append(path, b"c\n")
    assert list(file.lines()) == [(2, b"bc")]
    path.write_bytes(b"d\n")
    assert list(file.lines()) == [(1, b"d")]
    append(path, b"half")
    path.rename(tmp_path / "older")
    assert list(file.lines()) == [], "it waits for the file to come back"
    (tmp_path / "newer").write_bytes(b"e\nf\n")
    (tmp_path / "newer").rename(path)
    assert list(file.lines()) == [(2, b"half"), (1, b"e"), (2, b"f")]
    file.close()


def test_a_line_without_end_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    append(path, b"x" * 3 * MAX_LINE + b"\ny\n")
    file = FollowedFile(path)
    assert list(file.lines()) == [(1, b"x" * MAX_LINE), (2, b"y")]
    append(path, b"z" * 3 * MAX_LINE)
    assert list(file.lines()) == []
    assert list(file.rest()) == [(3, b"z" * MAX_LINE)]
    file.close()


def test_what_can_never_be_read_is_a_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    wrong = {tmp_path: "is a folder", tmp_path / "pipe": "is a pipe or device", tmp_path / "no" / "x": "no folder",
             Path("/dev/zero"): "is a pipe or device", tmp_path / "a\0b": "null"}  # fmt: skip
    for path, why in wrong.items():
        with pytest.raises(InputError, match=why):
            FollowedFile(path)


def test_a_file_that_may_not_be_read_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "file", os.open

    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    file = FollowedFile(path)
    append(path, b"a\n")
    monkeypatch.setattr(os, "open", refused)
    assert (list(file.lines()), file.trouble) == ([], "cannot be read: Permission denied")
    monkeypatch.setattr(os, "open", real)
    assert (list(file.lines()), file.trouble) == ([(1, b"a")], "")
    file.close()
