"""Events of refinement, as CloudEvents 1.0 in JSON: each swap, rollback, refusal and drift, counted and kept."""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from offramp.decision.command import rfc3339
from offramp.stream.channels import BIN_NS
from offramp.streams import tell

NAMESPACE = uuid.UUID("6d1b0f5e-93f0-5d0c-9a3f-7f0b6a1f4c2e")
Sink = Callable[[str], None]


class RefineEvents:
    """Writes events, in order, to `events.jsonl` of a folder; the same packets give the same bytes."""

    def __init__(self, folder: Path, site: str, link: str, *, quiet: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        self.unwritten = 0
        self._source, self._subject, self._quiet = f"/offramp/{site}", f"link:{link}", quiet
        self._file = folder / "events.jsonl"
        self.listen: Callable[[str, int], None] | None = None
        """Called with each event's kind and bin once it is written."""

    def record(self, kind: str, bin_number: int, data: Mapping[str, Any]) -> None:
        """Write an event of `kind` (swapped, rolled_back, refused, drifted, mistrusted) at the beginning of a bin."""
        self.counts[kind] += 1
        time = rfc3339(bin_number * BIN_NS)
        body = json.dumps(data, sort_keys=True)
        event = {
            "specversion": "1.0", "type": f"offramp.model.{kind}.v1", "source": self._source,
            "subject": self._subject, "time": time, "datacontenttype": "application/json", "data": dict(data),
            "id": str(uuid.uuid5(NAMESPACE, f"{self._source} {self._subject} {kind} {time} {body}")),
        }  # fmt: skip
        self._write(json.dumps(event, sort_keys=True).encode() + b"\n")
        if kind in ("swapped", "rolled_back") and not self._quiet:
            tell(f"{self._subject}: model {kind.replace('_', ' ')}: {body}")
        if self.listen is not None:
            self.listen(kind, bin_number)

    def _write(self, text: bytes) -> None:
        """Append a line whole, or not at all: a full disk does not end the service; lost lines are counted."""
        try:
            with self._file.open("ab", buffering=0) as file:
                size = file.tell()
                try:
                    whole = file.write(text) == len(text)
                    if not whole:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                except OSError:
                    file.truncate(size)
                    raise
        except OSError as error:
            self.unwritten += 1
            if self.unwritten == 1:
                tell(f"{self._file}: {error.strerror}; events are counted, not written")

    def lines(self) -> list[str]:
        """Return the account as lines of text."""
        lines = [f"  refinement, {self._subject.removeprefix('link:')}"]
        lines += [f"    events not written{self.unwritten:>12,}"] if self.unwritten else []
        return lines + [f"    {kind.replace('_', ' '):<18}{count:>12,}" for kind, count in sorted(self.counts.items())]
