"""A bounded sender of small frames: `python -m bench.blast v0 --rate 150000 --seconds 3` prints what it sent as JSON.

With several sizes it sends of each in turn, at the same rate.

One sendmmsg call hands over many large UDP datagrams, each of a flow of its own, that the kernel cuts into frames of
the size asked for (UDP segmentation offload in software); between calls it sleeps, so it takes no more of the processor
than it must. It is meant for interfaces in network namespaces.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import socket
import struct
import sys
import time

FLOWS = 1024
CALL = 16
"""Datagrams of one call at most."""

SEGMENTS = 32
"""Frames that a datagram is cut into."""

MIN_SLEEP_S = 0.0005
OFFLOAD_HEADER = 15  # PACKET_VNET_HDR of linux/if_packet.h
NEEDS_CHECKSUM, UDP_SEGMENTS = 1, 5  # linux/virtio_net.h
SOL_PACKET = 263


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):  # struct mmsghdr
    _fields_ = (
        ("name", ctypes.c_void_p), ("name_length", ctypes.c_uint32), ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int), ("sent", ctypes.c_uint),
    )  # fmt: skip


def frames(size: int, flows: int, segments: int, network: bytes) -> list[bytes]:
    """Return one UDP frame for each flow, from 10.0.x.y (or another `network`) to 192.0.2.1.

    With several segments it is to be cut into so many frames of `size` bytes. Its UDP checksum is then the sum that an
    interface card would begin with, and as a veth pair has none, the frames keep that.
    """
    out = []
    payload = (size - 42) * segments
    for flow in range(flows):
        ends = network + bytes([flow >> 8, flow & 255]) + bytes([192, 0, 2, 1])
        head = struct.pack("!BBHHHBBH8s", 0x45, 0, payload + 28, flow, 0, 64, 17, 0, ends)
        total = sum(struct.unpack("!10H", head))
        total = (total & 0xFFFF) + (total >> 16)
        head = head[:10] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + head[12:]
        begun = sum(struct.unpack("!4H", ends)) + 17 + payload + 8
        begun = (begun & 0xFFFF) + (begun >> 16)
        begun = (begun & 0xFFFF) + (begun >> 16)
        udp = struct.pack("!HHHH", 1024 + flow, 9, payload + 8, begun if segments > 1 else 0)
        out.append(bytes.fromhex("020000000002020000000001 0800") + head + udp + bytes(payload))
    return out


class Sender:
    """Sends datagrams in turn on an interface, at a rate, for a time; each is cut into `segments` frames of `size`.

    The kernel does the cutting only where the interface cannot: `ip link set IFACE gso_max_size 1600`.
    """

    def __init__(
        self,
        interface: str,
        size: int = 100,
        flows: int = FLOWS,
        segments: int = SEGMENTS,
        network: bytes = b"\x0a\0",
    ) -> None:
        head = struct.pack("=BBHHHH", NEEDS_CHECKSUM, UDP_SEGMENTS, 42, size - 42, 34, 6) if segments > 1 else bytes(10)
        data = [head + each for each in frames(size, flows, segments, network)]
        self._segments = segments
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind((interface, 0))
        self._socket.setsockopt(SOL_PACKET, OFFLOAD_HEADER, 1)
        self._buffers = [ctypes.create_string_buffer(each, len(each)) for each in data]
        self._vectors = (_Vector * len(data))(
            *[_Vector(ctypes.addressof(buffer), len(each)) for buffer, each in zip(self._buffers, data, strict=True)]
        )
        self._messages = (_Message * len(data))()
        for message, vector in zip(self._messages, self._vectors, strict=True):
            message.vectors, message.vector_count = ctypes.pointer(vector), 1
        self._libc = ctypes.CDLL(None, use_errno=True)

    def send(self, rate: float, seconds: float) -> tuple[int, float]:
        """Send `rate` frames a second for `seconds`; return how many were sent, and the time it took."""
        begin, sent, size = time.monotonic(), 0, ctypes.sizeof(_Message)
        rate /= self._segments
        whole = round(rate * seconds)
        base = ctypes.addressof(self._messages)
        while sent < whole:
            due = min(whole, int((time.monotonic() - begin) * rate)) - sent
            if due <= 0:
                time.sleep(MIN_SLEEP_S)
                continue
            at = sent % len(self._messages)
            count = min(due, CALL, len(self._messages) - at)
            done = self._libc.sendmmsg(self._socket.fileno(), ctypes.c_void_p(base + at * size), count, 0)
            if done > 0:
                sent += done
            elif ctypes.get_errno() not in (11, 105):  # EAGAIN, ENOBUFS: what was not taken is sent again
                raise OSError(ctypes.get_errno(), "sendmmsg")
        return sent * self._segments, time.monotonic() - begin

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def in_turn(senders: list[Sender], rate: float, seconds: float, turn_s: float) -> tuple[int, float]:
    """Send with each for `turn_s` in turn, for `seconds` in all; return as `send` does."""
    begin, sent = time.monotonic(), 0
    for turn in range(round(seconds / turn_s)):
        left = begin + (turn + 1) * turn_s - time.monotonic()
        sent += senders[turn % len(senders)].send(rate, max(left, 0.0))[0]
    return sent, time.monotonic() - begin


def main() -> int:
    """Parse and send."""
    parser = argparse.ArgumentParser(prog="python -m bench.blast", description="Send small frames, bounded.")
    parser.add_argument("interface")
    parser.add_argument("--rate", type=float, default=150_000, help="frames a second")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--size", type=int, nargs="+", default=[100], help="bytes of a frame; several: in turn")
    parser.add_argument("--turn", type=float, default=0.5, help="seconds of one size before the next")
    parser.add_argument("--flows", type=int, default=FLOWS)
    asked = parser.parse_args()
    senders = [Sender(asked.interface, size, asked.flows) for size in asked.size]
    if len(senders) == 1:
        sent, took = senders[0].send(asked.rate, asked.seconds)
    else:
        sent, took = in_turn(senders, asked.rate, asked.seconds, asked.turn)
    print(json.dumps({"sent": sent, "seconds": took}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
