"""The reference dissector: the same columns by tshark, through pyshark; all other dissectors are compared with it.

One tshark runs as long as a dissector: it reads packets from a pipe (as pcapng, so that times keep their nanoseconds
and packets their cut lengths) and prints each at once, so that a block's rows come back before the next block goes in,
and conversations run on across blocks. It keeps everything that it has seen of a capture in memory.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pyshark.capture.pipe_capture import PipeCapture

from offramp.capture.block import NO_TIME, Interface, PacketBlock
from offramp.capture.dissect.link.link_types import LINK_TYPES
from offramp.capture.features.row_batches import Row
from offramp.capture.reference.pdml import PdmlRows
from offramp.capture.reference.row_dissector import RowDissector
from offramp.errors import ConfigError, OfframpError

_ETHERNET = Interface("", 1)
_UNKNOWN = 147
"""The link type (USER0) under which packets of a kind that is not understood are shown to tshark."""

_MAX_FRAME = 262_144
"""tshark reads no longer packets (WTAP_MAX_PACKET_SIZE_STANDARD)."""


class ReferenceDissector(RowDissector):
    """Dissects packet blocks with tshark; see `RowDissector`. Some thousand times slower than the fast path.

    Raises ConfigError where tshark is not installed, OfframpError where it ends before its time. Not thread safe, but
    may be used in any one thread; `close` ends tshark.
    """

    title = "the reference path"
    link_types = LINK_TYPES

    def __init__(self, profile: str, **named: Any) -> None:
        super().__init__(profile, **named)
        if shutil.which("tshark") is None:
            raise ConfigError(
                "dissector 'reference' needs tshark, which is not on the PATH: "
                "install the package tshark, or take another dissector"
            )
        self._tshark = _Tshark()
        self._rows = PdmlRows()

    def rows(self, block: PacketBlock) -> list[Row]:
        """Return a row for each packet of a block, as tshark sees it."""
        rows = []
        kinds = [interface.linktype for interface in block.interfaces] or [_ETHERNET.linktype]
        for packet, interface, caplen in zip(self._tshark.read(block), block.interface, block.caplen, strict=True):
            reason = _undecodable(packet, kinds[interface], int(caplen))
            if reason:
                self.ledger.undecodable[reason] += 1
            rows.append(self._rows.row(packet))
        return rows

    def close(self) -> None:
        """End tshark and give back its pipes."""
        self._tshark.close()


def _undecodable(packet: Any, kind: int, caplen: int) -> str:
    """Return why tshark could read nothing of a packet, or nothing."""
    if caplen == 0:
        return "empty_packet"
    if kind not in LINK_TYPES:
        return "link_type_unknown"
    whole = [layer for layer in packet.layers if not layer.layer_name.startswith("_ws.")]
    if len(whole) < len(packet.layers) and len(whole) <= 1:
        return "link_header_cut"
    return ""


class _Tshark:
    """A running tshark behind pyshark: blocks in, packets out."""

    def __init__(self) -> None:
        # a loop of our own: pyshark then leaves the process's child watcher alone, and any thread may run it
        self._loop = asyncio.new_event_loop()
        reading, self._writing = os.pipe()
        self._capture = PipeCapture(reading, eventloop=self._loop)
        self._process = self._loop.run_until_complete(self._capture._get_tshark_process())
        os.close(reading)
        self._packets = self._capture._packets_from_tshark_sync(existing_process=self._process)
        self._writer: threading.Thread | None = None
        self._interfaces = 0
        self._count = 0

    def read(self, block: PacketBlock) -> Iterator[Any]:
        """Yield a pyshark packet for each packet of a block."""
        if self._loop.is_closed():
            raise ValueError("the dissector is closed")
        self._writer = threading.Thread(target=self._write, args=(self._encoded(block),), daemon=True)
        self._writer.start()
        for _ in range(len(block)):
            packet = next(self._packets, None)
            if packet is None:
                last = self._capture._last_error_line or "it says nothing"
                raise OfframpError(f"tshark ended at packet {self._count + 1}: {last}; try another dissector")
            self._count += 1
            yield packet
        self._writer.join()
        self._writer = None

    def close(self) -> None:
        """End the pipe, wait for tshark, and close the loop.

        Where a block was left half read, tshark is killed: on a gentler signal it would first print, to nobody.
        """
        if self._loop.is_closed():
            return
        if self._writer is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
            self._writer.join()
        os.close(self._writing)
        self._loop.run_until_complete(self._end())
        self._packets.close()
        self._loop.close()

    async def _end(self) -> None:
        """Wait until tshark is done, here and not in pyshark, which would kill it and lose its exit code."""
        while await self._process.stdout.read(1 << 16):
            pass
        await self._process.wait()
        self._capture._running_processes.clear()
        await self._capture.close_async()

    def _write(self, data: bytes) -> None:
        """Write to tshark; where it has gone, the reader says so."""
        with suppress(BrokenPipeError):
            view = memoryview(data)
            while view:
                view = view[os.write(self._writing, view) :]

    def _encoded(self, block: PacketBlock) -> bytes:
        """Return a block as pcapng blocks: the section header first, interfaces as they appear."""
        interfaces = block.interfaces or (_ETHERNET,)
        parts = [_pcapng(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))] if self._interfaces == 0 else []
        for interface in interfaces[self._interfaces :]:
            kind = interface.linktype if interface.linktype in LINK_TYPES else _UNKNOWN
            nanoseconds = struct.pack("<HHB3xHH", 9, 1, 9, 0, 0)
            parts.append(_pcapng(1, struct.pack("<HHI", kind, 0, _MAX_FRAME) + nanoseconds))
        self._interfaces = max(self._interfaces, len(interfaces))
        data = block.data
        packets = zip(block.offset, block.caplen, block.length, block.time_ns, block.interface, strict=True)
        for offset, caplen, length, time_ns, number in packets:
            size = min(int(caplen), _MAX_FRAME)
            if time_ns == NO_TIME and number == 0 and length == size:
                parts.append(_pcapng(3, struct.pack("<I", size) + data[offset : offset + size].tobytes()))
                continue
            high, low = divmod(0 if time_ns == NO_TIME else int(time_ns), 1 << 32)
            head = struct.pack("<IIIII", number, high & 0xFFFFFFFF, low, size, max(int(length), size))
            parts.append(_pcapng(6, head + data[offset : offset + size].tobytes()))
        return b"".join(parts)


def _pcapng(kind: int, body: bytes) -> bytes:
    """Return one pcapng block, padded, with its length at both ends (draft-ietf-opsawg-pcapng)."""
    body += b"\0" * (-len(body) % 4)
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size
