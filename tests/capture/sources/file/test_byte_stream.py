"""Packed captures: a torn one is told wherever it is torn, and what cannot be unpacked says why."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.capture.sources.file.files import open_captures
from offramp.capture.sources.file.zstd_frames import FRAME, FrameWatch
from offramp.errors import InputError
from tests.support.capture_forms import FORMS, PACKETS
from tests.support.places import ROOT

CAPTURE = FORMS["pcap"]


def frame(data: bytes, **how: bool | int) -> bytes:
    return zstandard.ZstdCompressor(**how).compress(data)  # type: ignore[arg-type]


def streamed(data: bytes, checksum: bool = False) -> bytes:
    """A frame that does not say how much it holds, as a pipe gives it."""
    packer = zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=False).compressobj()
    return packer.compress(data) + packer.flush()


def skippable(data: bytes, kind: int = 0) -> bytes:
    return struct.pack("<II", 0x184D2A50 + kind, len(data)) + data


def windowed(exponent: int, data: bytes) -> bytes:
    """A frame by hand that asks for a window of 2 to the power of an exponent, with one raw block."""
    return FRAME + bytes([0, (exponent - 10) << 3]) + struct.pack("<I", 1 | len(data) << 3)[:3] + data


def packets(path: Path) -> tuple[int, list[str]]:
    source = open_captures([str(path)])
    count = sum(len(block) for block in source.read())
    return count, [fault.reason for fault in source.faults]


FRAMES = st.one_of(
    st.builds(frame, st.binary(max_size=300), level=st.integers(1, 19), write_checksum=st.booleans(),
              write_content_size=st.booleans()),
    st.builds(lambda size: frame(bytes(size)), st.integers(1, 300_000)),  # blocks of one byte, again and again
    st.builds(lambda seed, size: frame(bytes((seed * n * n >> 3) & 255 for n in range(size))),
              st.integers(1, 1 << 30), st.integers(1, 3_000)),
    st.builds(streamed, st.binary(max_size=300), st.booleans()),
    st.builds(skippable, st.binary(max_size=40), st.integers(0, 15)),
)  # fmt: skip


@given(st.lists(FRAMES, min_size=1, max_size=4), st.data())
@settings(max_examples=150, deadline=None)
def test_the_end_of_a_frame_is_known_wherever_it_is_cut(frames: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(frames)
    ends, at = {0}, 0
    for each in frames:
        at += len(each)
        ends.add(at)
    for cut in {*data.draw(st.lists(st.integers(0, len(whole)), max_size=30)), *ends}:
        watch = FrameWatch(io.BytesIO(whole[:cut]))
        while watch.read(data.draw(st.integers(1, 4096))):
            pass
        assert watch.whole == (cut in ends)


@pytest.mark.parametrize("packing", ["zstd", "streamed", "checked", "pzstd", "gzip"])
def test_a_torn_file_is_told_wherever_it_is_torn(packing: str, tmp_path: Path) -> None:
    packed = {
        "zstd": frame(CAPTURE), "streamed": streamed(CAPTURE), "checked": streamed(CAPTURE, True),
        "pzstd": skippable(b"1234") + frame(CAPTURE[:9_000]) + skippable(b"1234") + frame(CAPTURE[9_000:]),
        "gzip": gzip.compress(CAPTURE),
    }[packing]  # fmt: skip
    path = tmp_path / "x"
    path.write_bytes(packed)
    assert packets(path) == (len(PACKETS), [])
    for cut in [*range(1, 64), *range(64, len(packed), max(1, len(packed) // 40)), len(packed) - 1]:
        path.write_bytes(packed[:cut])
        try:
            count, reasons = packets(path)
        except InputError as error:
            nothing = packing == "pzstd" and cut == len(skippable(b"1234"))  # a whole frame, which holds nothing
            assert ("is empty" in str(error)) == nothing  # noqa: PT017 - an error or a damage, either is right
            continue
        assert count <= len(PACKETS)
        assert len(reasons) == 1, cut


def test_what_cannot_be_unpacked_says_why(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(windowed(31, CAPTURE[:100]))
    with pytest.raises(InputError, match="--long=27"):
        packets(path)
    path.write_bytes(windowed(27, CAPTURE[:24]))
    assert packets(path) == (0, [])
    damaged = bytearray(frame(CAPTURE))
    damaged[6] ^= 0xFF
    for text in (bytes(damaged), gzip.compress(CAPTURE)[:12], FRAME + bytes(20), b"\x1f\x8b" + bytes(20)):
        path.write_bytes(text)
        with pytest.raises(InputError) as caught:
            packets(path)
        assert "is empty" not in str(caught.value)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        packets(path)


def test_an_input_that_is_closed_or_cannot_be_read_is_one_line() -> None:
    code = "import sys; from offramp.capture.sources.file.files import open_captures\n"
    code += "from offramp.errors import InputError\n"
    code += "try: list(open_captures([sys.argv[1]]).read())\nexcept InputError as error: print(error)\n"
    for name, said in (("-", "standard input is closed"), ("/proc/self/mem", "cannot be read")):
        done = subprocess.run(
            ["bash", "-c", f'"{sys.executable}" -c "$0" {name} <&-', code], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert said in done.stdout, done.stderr
