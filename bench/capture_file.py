"""The capture that every stage is measured on: real packets, repeated to as many as asked for, the same every time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.capture.sources.file.files import open_captures
from offramp.errors import InputError
from offramp.kernel_places import cache_root

ETHERNET = 1
MAX_GAP_NS = 1_000_000_000
PACKETS = 500_000
SAMPLES = Path(__file__).resolve().parents[1] / "samples"
HEADER = np.dtype([("s", "<u4"), ("fraction", "<u4"), ("caplen", "<u4"), ("length", "<u4")])
FILE_HEADER = bytes.fromhex("4d3cb2a1020004000000000000000000") + (262_144).to_bytes(4, "little") + b"\1\0\0\0"


@dataclass(frozen=True, slots=True)
class Stock:
    """Packets to repeat: body uint8 with room for a record header before each; start int64 [n] of each record.

    time_ns: int64 [n] from 0 on; header: HEADER [n] with the lengths; ipv4: bool [n].
    """

    body: NDArray[np.uint8]
    start: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    header: NDArray[np.void]
    ipv4: NDArray[np.bool_]


def bench_capture(packets: int = PACKETS, folder: Path | None = None) -> Path:
    """Return a capture of `packets` packets, made in the cache folder the first time.

    Its packets are those of the samples, and of the Ethernet captures under `folder` where one is given. Each
    repetition is later in time and has other IPv4 addresses, so its conversations are new ones; pauses are cut to one
    second. Raises InputError where there is nothing to repeat.
    """
    inputs = sorted(SAMPLES.glob("*.pcap.zst"))
    if folder is not None:
        inputs += sorted(path for path in folder.rglob("*.pcap*") if path.is_file())
    if not inputs:
        raise InputError(f"{SAMPLES}: holds no *.pcap.zst; name a folder of captures with --captures")
    named = "".join(f"{path.name} {path.stat().st_size}\n" for path in inputs)
    digest = hashlib.sha256(f"{packets}\n{named}{Path(__file__).read_text()}".encode()).hexdigest()[:12]
    target = cache_root() / f"bench-{packets}-{digest}.pcap"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        write_repeated(load_stock(inputs), packets, target)
    return target


def load_stock(inputs: Sequence[Path]) -> Stock:
    """Read all Ethernet packets of `inputs`, one after the other; what is no capture is skipped."""
    bodies: list[bytes] = []
    times: list[NDArray[np.int64]] = []
    lengths: list[NDArray[np.int32]] = []
    for path in inputs:
        with suppress(InputError):
            for block in open_captures([str(path)]).read():
                kinds = np.array([interface.linktype for interface in block.interfaces])
                keep = np.flatnonzero((kinds[block.interface] == ETHERNET) & (block.caplen > 0))
                bodies += [
                    block.data[start : start + size].tobytes()
                    for start, size in zip(block.offset[keep].tolist(), block.caplen[keep].tolist(), strict=True)
                ]
                times.append(block.time_ns[keep])
                lengths.append(block.length[keep])
    return _stock(bodies, np.concatenate(times), np.concatenate(lengths))


def _stock(bodies: list[bytes], time_ns: NDArray[np.int64], length: NDArray[np.int32]) -> Stock:
    gaps = np.clip(np.diff(time_ns, prepend=time_ns[:1]), 0, MAX_GAP_NS)
    header = np.zeros(len(bodies), HEADER)
    header["caplen"] = [len(body) for body in bodies]
    header["length"] = length
    ends = np.cumsum(header["caplen"].astype(np.int64) + HEADER.itemsize)
    body = np.frombuffer(bytes(HEADER.itemsize).join([b"", *bodies]), np.uint8).copy()
    kinds = [len(body) >= 34 and body[12:15] in (b"\x08\x00\x45",) for body in bodies]
    return Stock(body, np.concatenate([[0], ends[:-1]]), np.cumsum(gaps), header, np.array(kinds))


def write_repeated(stock: Stock, packets: int, target: Path) -> None:
    """Write the stock again and again to `target` (pcap, nanoseconds) until it holds `packets` packets."""
    span = int(stock.time_ns[-1]) + MAX_GAP_NS
    part = target.with_suffix(".part")
    with part.open("wb") as file:
        file.write(FILE_HEADER)
        for repetition in range(-(-packets // len(stock.start))):
            count = min(len(stock.start), packets - repetition * len(stock.start))
            body = shifted(stock, repetition, 1_700_000_000_000_000_000 + repetition * span)
            end = int(stock.start[count]) if count < len(stock.start) else len(body)
            file.write(body[:end].tobytes())
    part.rename(target)


def shifted(stock: Stock, repetition: int, base_ns: int) -> NDArray[np.uint8]:
    """Return the records with times from base_ns on and the second byte of IPv4 addresses changed."""
    header = stock.header.copy()
    header["s"], header["fraction"] = np.divmod(stock.time_ns + base_ns, 1_000_000_000)
    body = stock.body.copy()
    body[stock.start[:, None] + np.arange(HEADER.itemsize)] = header.view(np.uint8).reshape(len(header), -1)
    packet = stock.start[stock.ipv4] + HEADER.itemsize
    for place in (14 + 12 + 1, 14 + 16 + 1):
        body[packet + place] ^= np.uint8(repetition % 256)
    return body


def cut(capture: Path, packets: int) -> Path:
    """Return a copy of the first packets of a pcap, in the cache folder, for peers that would take too long."""
    left, size = packets, len(FILE_HEADER)
    for block in open_captures([str(capture)]).read():
        size += int((block.caplen[:left].astype(np.int64) + HEADER.itemsize).sum())
        left -= min(left, len(block))
        if not left:
            break
    target = cache_root() / f"{capture.stem}.first-{packets}.pcap"
    target.parent.mkdir(parents=True, exist_ok=True)
    with capture.open("rb") as file:
        target.write_bytes(file.read(size))
    return target
