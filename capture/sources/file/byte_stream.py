"""Bytes of a capture: plain, gzip, Zstandard, or from standard input, read in bounded chunks."""

from __future__ import annotations

import gzip
import io
import stat
import sys
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import zstandard
from numpy.typing import NDArray

from offramp.capture.sources.file.zstd_frames import FrameWatch, begins_zstd
from offramp.capture.sources.source import Progress
from offramp.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"
CHUNK = 4 << 20
WINDOW = (
    "it is packed with a window of more than 128 MiB (zstd --long=28 to 31), which is not held in memory; unpack it, "
    "or pack it with --long=27"
)


class ByteStream:
    """The unpacked bytes of one input. Built inert; `open` finds by its first bytes how the input is packed.

    After the end, `broken` says why the packed input could not be read further (None: it ended in order).
    """

    def __init__(self, name: str, progress: Progress) -> None:
        self.name = "standard input" if name == "-" else name
        self.broken: str | None = None
        self._path = None if name == "-" else Path(name)
        self._progress = progress
        self._raw: BinaryIO | None = None
        self._stream: Any = None
        self._frames: FrameWatch | None = None
        self._before = progress.done

    def open(self) -> None:
        """Open the input. Raise InputError where it cannot be read."""
        if self._path is not None:
            self._raw = open_file(self._path)
        elif sys.stdin is None:
            raise InputError("standard input is closed; pipe a capture into it, or name a file")
        else:
            self._raw = sys.stdin.buffer
        buffered = self._raw if isinstance(self._raw, io.BufferedReader) else io.BufferedReader(cast(Any, self._raw))
        try:
            magic = buffered.peek(4)[:4]
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {error.strerror}") from error
        if magic.startswith(GZIP_MAGIC):
            self._stream = gzip.GzipFile(fileobj=buffered)
        elif len(magic) == 4 and begins_zstd(magic):
            self._frames = FrameWatch(buffered)
            self._stream = zstandard.ZstdDecompressor().stream_reader(cast(Any, self._frames), read_across_frames=True)
        else:
            self._stream = buffered

    def fill(self, buffer: NDArray[np.uint8], start: int) -> int:
        """Read what is there into buffer[start:]; return the number of bytes, 0 at the end."""
        if self._stream is None or self.broken:
            return 0
        try:
            count = self._read_into(memoryview(cast(Any, buffer))[start:])
        except EOFError:
            self.broken = "the gzip data end early"
            return 0
        except (zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
            self.broken = WINDOW if "too much memory" in str(error) else f"the packed data are damaged ({error})"
            return 0
        except OSError as error:
            self.broken = f"the file cannot be read further ({error.strerror})"
            return 0
        if count == 0 and self._frames is not None and not self._frames.whole:
            self.broken = "the Zstandard data end early"
        if self._path is not None and self._raw is not None:
            self._progress.done = self._before + self._raw.tell()
        return count

    def _read_into(self, view: memoryview) -> int:
        if isinstance(self._stream, zstandard.ZstdDecompressionReader):
            return int(self._stream.readinto(view))
        return int(self._stream.readinto1(view))

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self._raw is not None and self._path is not None:
            self._raw.close()
        self._stream = None


def open_file(path: Path) -> BinaryIO:
    """Open a file of packets, unbuffered; one-line errors for what is no readable file."""
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            raise InputError(f"{path}: is a directory; name the capture files in it, such as {path}/*.pcap")
        return cast(BinaryIO, path.open("rb", buffering=0))
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file") from error
    except PermissionError as error:
        raise InputError(f"{path}: permission denied; make it readable (chmod +r) or run as its owner") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}") from error
