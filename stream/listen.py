"""What `offramp tap` and `offramp publish --interface` are asked for alike, and the opening of the interface.

Imports nothing heavy: the interface is opened, and the rights are dropped, before numerical libraries start threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from capture.live import LiveOptions, open_interfaces
from capture.packet_socket import EVERY_INTERFACE
from offramp_errors import ConfigError

if TYPE_CHECKING:
    from capture.block import PacketSource

RING_FILES = 10


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """Which interfaces, how, until when, and where their packets are written; 0 for a bound: none.

    count: packets of each interface; link: the name of the link that they are of, whatever the site's patterns say.
    """

    interfaces: tuple[str, ...]
    bpf: str = ""
    snaplen: int = 262_144
    promiscuous: bool = True
    duration_s: float = 0.0
    count: int = 0
    write: Path | None = None
    ring_files: int = RING_FILES
    ring_mb: int = 0
    backend: str = "auto"
    link: str = ""


def open_links(options: ListenOptions) -> list[PacketSource]:
    """Return the open interfaces; from here on the process has no capability. Raises ConfigError and InputError."""
    if options.interfaces == (EVERY_INTERFACE,) and options.backend == "pcapy" and not options.link:
        raise ConfigError(
            "any: pcapy does not tell by which interface a packet came; use --backend ring, or --link NAME"
        )
    several = len(options.interfaces) > 1
    if several and options.link:
        raise ConfigError("--link names one link, and each of several interfaces is a link of its own; leave it out")
    if several and options.write is not None and not options.write.is_dir():
        raise ConfigError(f"--write {options.write}: is no folder; several interfaces have a ring of files each in one")
    if options.write is None and (options.ring_mb or options.ring_files != RING_FILES):
        raise ConfigError("--ring-files and --ring-size say how --write writes; give --write FILE or FOLDER too")
    live = LiveOptions(options.bpf, options.snaplen, options.promiscuous, options.backend)
    return open_interfaces(options.interfaces, live)
