"""What tests of live capture share: frames, a sender, and a capture that runs in a thread until it is finished."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from bench.namespace import Namespace, NotAllowedError
from offramp.capture.block import PacketBlock
from offramp.capture.sources.live.interface import LiveOptions, open_interface
from offramp.capture.sources.source import PacketSource

BACKENDS = ("ring", "pcapy", "scapy")


def new_namespace() -> Namespace:
    """A namespace, or a skip that says why there is none."""
    try:
        return Namespace()
    except NotAllowedError as error:
        pytest.skip(str(error))


def frame(number: int, size: int = 100, port: int = 9, tag: bytes = b"", protocol: int = 17) -> bytes:
    """An Ethernet frame with IPv4 and UDP from 10.0.0.1, its payload numbered; `tag` is put behind the addresses."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, size - 14, number & 0xFFFF, 0, 64, protocol, 0)
    ip = head + socket.inet_aton("10.0.0.1") + socket.inet_aton("192.0.2.1")
    udp = struct.pack("!HHHH", 4000, port, size - 34, 0)
    body = struct.pack("!I", number).ljust(max(0, size - 42), b"\xa5")
    return bytes.fromhex("020000000002020000000001") + tag + b"\x08\x00" + ip + udp + body


def send(namespace: Namespace, frames: list[bytes], interface: str = "v0") -> tuple[int, int]:
    """Send frames one by one; return the clock before and after, in ns."""
    before = time.time_ns()
    with namespace.call(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        namespace.call(sock.bind, (interface, 0))
        for each in frames:
            sock.send(each)
    return before, time.time_ns()


def packets(blocks: list[PacketBlock]) -> Iterator[tuple[bytes, int, int]]:
    """The bytes, length on the wire and time of each packet."""
    for block in blocks:
        for at, kept, length, time_ns in zip(
            block.offset.tolist(), block.caplen.tolist(), block.length.tolist(), block.time_ns.tolist(), strict=True
        ):
            yield block.data[at : at + kept].tobytes(), length, time_ns


@dataclass
class Capture:
    """A source read by a thread. `listening` returns when it listens, `finish` when everything is read."""

    source: PacketSource
    blocks: list[PacketBlock] = field(default_factory=list)
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        self._begun = threading.Event()
        self._more = threading.Event()
        self._more.set()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        assert self._begun.wait(60), "the source never said that it listens"

    def _read(self) -> None:
        try:
            for block in self.source.read():
                self.blocks.append(block)
                self._begun.set()
                self._more.wait()
        except BaseException as error:
            self.failure = error
            self._begun.set()

    def pause(self) -> None:
        """Take no further block, so that the kernel's buffer fills."""
        self._more.clear()
        seen = len(self.blocks)
        until(lambda: len(self.blocks) > seen)  # the next tick is taken, and with it the reader stands still

    def resume(self) -> None:
        self._more.set()

    @property
    def count(self) -> int:
        return sum(map(len, self.blocks))

    @property
    def drops(self) -> int:
        return sum(block.kernel_drops for block in self.blocks)

    def finish(self) -> list[tuple[bytes, int, int]]:
        """End the capture; return its packets."""
        self.source.close()
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self.failure is not None:
            raise self.failure
        return list(packets(self.blocks))


def listen(namespace: Namespace, backend: str, interface: str = "v1", **options: Any) -> Capture:
    """Open an interface in the namespace and read it."""
    asked = LiveOptions(backend=backend, left=None, **options)
    return Capture(namespace.call(open_interface, interface, asked))


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.01)
