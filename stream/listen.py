"""What `offramp tap` and `offramp publish --interface` are asked for alike, and the opening of the interface.

Imports nothing heavy: the interface is opened, and the rights are dropped, before numerical libraries start threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from capture.live import LiveOptions, open_interface
from offramp_errors import ConfigError

if TYPE_CHECKING:
    from capture.block import PacketSource

RING_FILES = 10


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """Which interface, how, until when, and where its packets are written; 0 for a bound: none."""

    interface: str
    bpf: str = ""
    snaplen: int = 262_144
    promiscuous: bool = True
    duration_s: float = 0.0
    count: int = 0
    write: Path | None = None
    ring_files: int = RING_FILES
    ring_mb: int = 0
    backend: str = "auto"


def open_link(options: ListenOptions) -> PacketSource:
    """Return the open interface; from here on the process has no capability. Raises ConfigError and InputError."""
    if options.write is None and (options.ring_mb or options.ring_files != RING_FILES):
        raise ConfigError("--ring-files and --ring-size say how --write writes; give --write FILE or FOLDER too")
    live = LiveOptions(options.bpf, options.snaplen, options.promiscuous, options.backend)
    return open_interface(options.interface, live)
