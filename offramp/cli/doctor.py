"""The doctor: checks what of offramp runs on this machine, and how to fix what does not."""

from __future__ import annotations

import importlib.metadata
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import typer

from offramp.capture.sources.live.interface import usable
from offramp.capture.sources.live.packet_filter import library_name
from offramp.capture.sources.live.privileges import MEND
from offramp.capture.sources.live.queueing import shapes
from offramp.errors import OfframpError
from offramp.extras import EXTRAS, installed
from offramp.kernel_places import MEND as MEND_PLACES
from offramp.kernel_places import SHIPPED_SET, UNUSED_S, places

PACKAGES = ("numpy", "numba", "pyarrow", "pydantic", "kafka-python", "faust-streaming")
BACKEND_WORDS = (
    ("ring", "the kernel's packet ring", "Linux has it"),
    ("pcapy", "libpcap through pcapy-ng", "pip install 'offramp[live]'"),
    ("scapy", "the portable one, for hundreds of packets a second", "pip install 'offramp[scapy]'"),
)
"""What the backends of offramp tap are, and how to get one."""

MARKS = {"ok": "ok  ", "note": "note", "bad": "BAD "}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: ok, note (something optional is missing) or bad, and how to fix it."""

    state: str
    what: str
    mend: str = ""


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """What `offramp doctor` was asked for: nothing but to look."""


def doctor(options: DoctorOptions) -> None:
    """Check this machine: packages, compiled kernels, shipped model, tools and privileges; say how to mend."""
    raise typer.Exit(report())


def report() -> int:
    """Print every finding; return 0, or 1 where something that is needed is broken."""
    worst = 0
    for check in (_python, _packages, _kernels, _model, _tools, _privileges, _backends, _queueing, _gpu):
        for finding in _safely(check):
            print(f"{MARKS[finding.state]}  {finding.what}")
            if finding.mend:
                print(f"      -> {finding.mend}")
            worst |= finding.state == "bad"
    return int(worst)


def _safely(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Run one check; an error of ours is a finding, not an end."""
    try:
        yield from check()
    except (OfframpError, OSError) as error:
        yield Finding("bad", f"{check.__name__[1:]}: {error}")


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Finding("ok" if fits else "bad", f"Python {version}", "" if fits else "use Python 3.11, 3.12 or 3.13")


def _packages() -> Iterator[Finding]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding("bad", f"package {name} is missing", "pip install --force-reinstall offramp")
    yield Finding("ok", "packages: " + ", ".join(found))
    for extra in sorted(set(EXTRAS.values())):
        absent = [module for module, of in EXTRAS.items() if of == extra and not installed(module)]
        if absent:
            yield Finding("note", f"extra {extra}: no {', '.join(absent)}", f"pip install 'offramp[{extra}]'")
        else:
            yield Finding("ok", f"extra {extra} is installed")


def _kernels() -> Iterator[Finding]:
    found = places()
    for root in found.readable:
        folders = list(root.glob("kernels-*"))
        size = sum(file.stat().st_size for folder in folders for file in folder.rglob("*"))
        held = f"{len(folders)} sets of compiled kernels, {size / 1e6:.1f} MB, in {root}"
        if root == SHIPPED_SET:
            yield Finding("ok", f"{held}: they came with offramp; `offramp kernels` compiles for this very processor")
        else:
            days = UNUSED_S // 86_400
            yield Finding("ok", f"{held}; unused ones go after {days} days, all by: rm -r {quote(str(root))}/kernels-*")
    yield Finding("ok" if found.lasting else "note", found.where(), "" if found.lasting else MEND_PLACES)


def _model() -> Iterator[Finding]:
    from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
    from offramp.inference.serving.table import open_backend

    begin = time.perf_counter()
    artifact = load_artifact(DEFAULT_ARTIFACT)
    predictor = open_backend("compiled", artifact)
    took = time.perf_counter() - begin
    yield Finding("ok", f"shipped model {predictor.name} {artifact.sha[:12]} loads and its hashes hold ({took:.1f} s)")


def _tools() -> Iterator[Finding]:
    wanted = (("tshark", "the reference dissector and the differential tests"), ("tcpdump", "recording samples"))
    for tool, use in wanted:
        path = shutil.which(tool) or shutil.which(tool, path="/usr/sbin")
        if path:
            yield Finding("ok", f"{tool} is {path}")
        else:
            yield Finding("note", f"{tool} is not installed; needed for {use}", f"apt-get install {tool}")


def _privileges() -> Iterator[Finding]:
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except (PermissionError, AttributeError):
        yield Finding("note", "no right to open packet sockets (replay needs none)", f"for offramp tap, {MEND}")
    else:
        yield Finding("ok", "packet sockets may be opened (CAP_NET_RAW)")


def _backends() -> Iterator[Finding]:
    found = usable()
    for name, what, mend in BACKEND_WORDS:
        if name in found:
            yield Finding("ok", f"live capture: {name}, {what}")
        else:
            yield Finding("note", f"live capture: no {name}, {what}", mend)
    library = library_name()
    if library:
        yield Finding("ok", f"capture filters are compiled by {library}")
    else:
        yield Finding("note", "no libpcap: offramp tap takes no --filter", "apt-get install libpcap0.8")


def _queueing() -> Iterator[Finding]:
    for name in sorted(name for _, name in socket.if_nameindex()):
        if kind := shapes(name):
            yield Finding("note", f"{name} shapes what it sends ({kind}): congestion of that cannot be seen there",
                          "listen where the traffic comes in, or at a mirror port (docs/tap.md)")  # fmt: skip


def _gpu() -> Iterator[Finding]:
    if Path("/dev/nvidia0").exists():
        yield Finding("ok", "a GPU is here")
    else:
        yield Finding("note", "no GPU: the model runs on the CPU")
