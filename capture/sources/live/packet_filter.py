"""Capture filters: their text (pcap-filter(7)) as classic BPF for the kernel, compiled by libpcap.

Imports nothing heavy, as all that runs before the rights are dropped.
"""

from __future__ import annotations

import ctypes
import re
from typing import NamedTuple

from offramp.errors import ConfigError

LIBRARIES = ("libpcap.so.0.8", "libpcap.so.1", "libpcap.so")
SLL2, SLL2_HEADER = 276, 20
RAW, DLT_RAW = 101, 12
LOAD_WORD, LOAD_BYTE, JUMP_EQUAL, RETURN = 0x20, 0x30, 0x15, 0x06  # absolute loads; linux/bpf_common.h
EXTENSIONS = 0xFFFFF000
"""SKF_AD_OFF of linux/filter.h: loads from here on ask for what the kernel knows of a packet."""
AD_PROTOCOL, AD_PACKET_TYPE, AD_INTERFACE = EXTENSIONS + 0, EXTENSIONS + 4, EXTENSIONS + 8
OUTGOING = 4  # PACKET_OUTGOING of linux/if_packet.h


class Instruction(NamedTuple):
    """One instruction of classic BPF: struct sock_filter."""

    code: int
    jump_true: int
    jump_false: int
    k: int


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_Instruction)))


NOTHING = [Instruction(RETURN, 0, 0, 0)]
"""The filter that lets no packet through."""


def library_name() -> str | None:
    """Return the name of the libpcap that is here, or None."""
    for name in LIBRARIES:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return name
    return None


def everything(snaplen: int) -> list[Instruction]:
    """Return the filter that keeps the first `snaplen` bytes of every packet."""
    return [Instruction(RETURN, 0, 0, snaplen)]


def without_loopback_copies(program: list[Instruction], loopback: int, every_interface: bool) -> list[Instruction]:
    """Return a program that first drops what leaves by the loopback interface (number `loopback`).

    The loopback interface shows each packet twice, as it leaves and as it arrives; like libpcap we keep the second.
    """
    outgoing = [
        Instruction(LOAD_BYTE, 0, 0, AD_PACKET_TYPE),
        Instruction(JUMP_EQUAL, 0, 1, OUTGOING),
        *NOTHING,
    ]
    if every_interface:
        asked = [Instruction(LOAD_WORD, 0, 0, AD_INTERFACE), Instruction(JUMP_EQUAL, 0, len(outgoing), loopback)]
        outgoing = asked + outgoing
    return outgoing + program


def compile_filter(text: str, linktype: int, snaplen: int, interface: str) -> list[Instruction]:
    """Return `text` as a program that keeps `snaplen` bytes of what it lets through.

    Raises ConfigError for a filter that libpcap refuses, and where there is no libpcap.
    """
    name = library_name()
    if name is None:
        raise ConfigError("--filter needs libpcap, which is not installed; on Debian: apt-get install libpcap0.8")
    library = _declared(ctypes.CDLL(name))
    # the kernel takes a VLAN tag out of the packet; only for a handle on an interface does libpcap's code know that
    live = re.search(r"\bvlan\b", text) is not None and linktype != SLL2
    handle = _live_handle(library, interface) if live else None
    handle = handle or library.pcap_open_dead({RAW: DLT_RAW}.get(linktype, linktype), snaplen)
    program = _Program()
    try:
        if library.pcap_compile(handle, ctypes.byref(program), text.encode(), 1, 0xFFFFFFFF) != 0:
            reason = library.pcap_geterr(handle).decode(errors="replace")
            raise ConfigError(f"--filter {text!r}: {reason}; man pcap-filter tells what may be written")
        found = [Instruction(each.code, each.jt, each.jf, each.k) for each in program.instructions[: program.length]]
        library.pcap_freecode(ctypes.byref(program))
    finally:
        library.pcap_close(handle)
    found = [each._replace(k=snaplen) if each.code == RETURN and each.k else each for each in found]
    return [_cooked(each, text) for each in found] if linktype == SLL2 else found


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """Tell ctypes what the functions of libpcap take and give."""
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    library.pcap_open_dead.restype = library.pcap_create.restype = pointer
    library.pcap_create.argtypes = [text, text]
    library.pcap_activate.argtypes = library.pcap_close.argtypes = library.pcap_geterr.argtypes = [pointer]
    library.pcap_geterr.restype = text
    library.pcap_compile.argtypes = [pointer, ctypes.POINTER(_Program), text, ctypes.c_int, ctypes.c_uint32]
    return library


def _live_handle(library: ctypes.CDLL, interface: str) -> int | None:
    """Return an activated libpcap handle on an interface, or None where it cannot be had."""
    handle: int | None = library.pcap_create(interface.encode(), ctypes.create_string_buffer(256))
    if handle and library.pcap_activate(handle) < 0:
        library.pcap_close(handle)
        return None
    return handle


def _cooked(each: Instruction, text: str) -> Instruction:
    """Return an instruction for a cooked socket, whose packets begin behind the pseudo-header; as libpcap does it."""
    kind, mode = each.code & 0x07, each.code & 0xE0
    if kind not in (0, 1) or mode not in (0x20, 0x40, 0xA0):  # BPF_LD, BPF_LDX; BPF_ABS, BPF_IND, BPF_MSH
        return each
    if each.k >= EXTENSIONS:
        return each
    if each.k >= SLL2_HEADER:
        return each._replace(k=each.k - SLL2_HEADER)
    known = {0: AD_PROTOCOL, 4: AD_INTERFACE, 10: AD_PACKET_TYPE}
    if each.k not in known:
        raise ConfigError(f"--filter {text!r}: asks for link-layer bytes, which this interface does not show")
    return each._replace(k=known[each.k])
