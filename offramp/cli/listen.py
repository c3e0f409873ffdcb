"""Open interfaces and drop privileges, for `offramp tap` and `offramp publish --interface`.

Imports nothing heavy: the interfaces are opened, and privileges dropped, before numerical libraries start threads. Then
all that will run is loaded, and root becomes another user before a packet is taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from offramp.capture.sources.live.interface import LiveOptions, open_interfaces
from offramp.capture.sources.live.packet_socket import EVERY_INTERFACE
from offramp.capture.sources.live.privileges import Confinement, become, service_user
from offramp.capture.sources.live.queueing import shapes
from offramp.cli.options import RING_FILES, ListenOptions
from offramp.errors import ConfigError
from offramp.kernel_places import places
from offramp.streams import tell

if TYPE_CHECKING:
    from offramp.capture.sources.source import PacketSource


def open_links(options: ListenOptions, folders: tuple[Path, ...] = (), *, programs: bool = False) -> list[PacketSource]:
    """Return the open interfaces, with privileges dropped as `capture.sources.live.privileges` describes.

    folders: those that it writes to beside the packets' own; programs: whether it starts others. Raises ConfigError and
    InputError.
    """
    if options.interfaces == (EVERY_INTERFACE,) and options.capture_backend == "pcapy" and not options.link:
        raise ConfigError(
            "any: pcapy does not tell by which interface a packet came; use --capture-backend ring, or --link NAME"
        )
    several = len(options.interfaces) > 1
    if several and options.link:
        raise ConfigError("--link names one link, and each of several interfaces is a link of its own; leave it out")
    if several and options.write is not None and not options.write.is_dir():
        raise ConfigError(f"--write {options.write}: is no folder; several interfaces have a ring of files each in one")
    if options.write is None and (options.ring_mb or options.ring_files != RING_FILES):
        raise ConfigError("--ring-files and --ring-size say how --write writes; give --write FILE or FOLDER too")
    kept = places().writable
    left = Confinement(
        service_user(options.user),
        (*folder_of(options.write), *folders),
        () if kept is None else (kept,),
        programs,
    )
    for name in options.interfaces:
        if kind := shapes(name):
            tell(
                f"warning: {name} shapes what it sends ({kind}): that is seen as it leaves the queue, so its "
                "congestion is not; listen where it comes in (docs/tap.md)"
            )
    live = LiveOptions(options.bpf, options.snaplen, options.promiscuous, options.capture_backend, left=left)
    return open_interfaces(options.interfaces, live)


def folder_of(write: Path | None) -> tuple[Path, ...]:
    """Return the folder that packets are written to, if any are and it is there; else opening the file says so."""
    found = None if write is None else write if write.is_dir() else write.parent
    return () if found is None or not found.is_dir() else (found,)


def runs_programs(options: ListenOptions) -> bool:
    """Return whether a dissector is asked for that starts a program."""
    return options.dissector == "reference"


def settle(options: ListenOptions) -> None:
    """Load what reads packets, then become the user to run as; before files are opened and a packet is taken."""
    import encodings.idna  # noqa: F401 - looking a host's name up loads it, from a folder that may be root's alone

    from offramp.capture.dissectors import open_dissector
    from offramp.capture.intake.pcapng_writer import load_kernel as load_writing
    from offramp.capture.intake.shedding import Shedding
    from offramp.capture.sources.live.ring import load_kernel as load_ring
    from offramp.stream.local.live_batches import one_packet

    with open_dissector(options.dissector, "stream") as dissector:
        dissector.dissect(one_packet())
    Shedding().warm()
    load_ring()
    load_writing()
    become(service_user(options.user))
