"""Links that others of their bundle have waited for too long: the owner of the partition marks them as away.

The mark is a message of the partition like any other, and acted on when it is read: where it stands among the packets
is then the same for whoever reads the topic again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from offramp.capture.message.mark import Mark, encode_mark
from offramp.stream.links.bundle_consumer import MAX_WAITING, BundleConsumer, Held
from offramp.stream.topics.records import OutgoingMessage

AWAY_S = 1.0
"""How long a live link's bundle waits for another link: agents tell clocks of silent links ten times as often."""
RECORDED_S = 30.0
"""The same where all are recordings: their agents may be started one after the other."""


@dataclass(slots=True)
class _Waiting:
    held: Held
    since_s: float
    told: bool = False


class AwayWatch:
    """Tells since when bundles wait for a link that has not moved."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._waiting: dict[str, _Waiting] = {}

    @property
    def waits(self) -> bool:
        """Whether a bundle waits for a link."""
        return bool(self._waiting)

    def marks(self, bundles: Collection[BundleConsumer], now_s: float) -> Iterator[OutgoingMessage]:
        """Yield a mark for each link that is away from now on."""
        for bundle in bundles:
            held, before = bundle.held_by, self._waiting.get(bundle.name)
            if held is None:
                self._waiting.pop(bundle.name, None)
                continue
            if before is None or before.held[:2] != held[:2]:
                self._waiting[bundle.name] = before = _Waiting(held, now_s)
            late = now_s - before.since_s >= (AWAY_S if held.live else RECORDED_S)
            if not before.told and (late or bundle.meeting.waiting > MAX_WAITING):
                before.told = True
                value, headers = encode_mark(Mark(self._site, "away", {"link": held.link}))
                yield OutgoingMessage("features", f"{self._site}/{bundle.name}".encode(), value, headers)
