"""Events of refinement, as CloudEvents 1.0 in JSON: each swap, rollback, refusal and drift, counted and kept."""

from __future__ import annotations

import json
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from decision.command import rfc3339
from stream.channels import BIN_NS

NAMESPACE = uuid.UUID("6d1b0f5e-93f0-5d0c-9a3f-7f0b6a1f4c2e")
Sink = Callable[[str], None]


class RefineEvents:
    """Writes events, in order, to `events.jsonl` of a folder; the same packets give the same bytes."""

    def __init__(self, folder: Path, site: str, link: str, *, quiet: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        self._source, self._subject, self._quiet = f"/offramp/{site}", f"link:{link}", quiet
        self._file = folder / "events.jsonl"
        self.listen: Callable[[str, int], None] | None = None
        """Told of each event's kind and bin once it is written."""

    def tell(self, kind: str, bin_number: int, data: Mapping[str, Any]) -> None:
        """Write an event of `kind` (swapped, rolled_back, refused, drifted, mistrusted) at the beginning of a bin."""
        self.counts[kind] += 1
        time = rfc3339(bin_number * BIN_NS)
        body = json.dumps(data, sort_keys=True)
        event = {
            "specversion": "1.0", "type": f"offramp.model.{kind}.v1", "source": self._source,
            "subject": self._subject, "time": time, "datacontenttype": "application/json", "data": dict(data),
            "id": str(uuid.uuid5(NAMESPACE, f"{self._source} {self._subject} {kind} {time} {body}")),
        }  # fmt: skip
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, sort_keys=True) + "\n")
        if kind in ("swapped", "rolled_back") and not self._quiet:
            print(f"{self._subject}: model {kind.replace('_', ' ')}: {body}", file=sys.stderr, flush=True)
        if self.listen is not None:
            self.listen(kind, bin_number)

    def lines(self) -> list[str]:
        """Return the account as lines of text."""
        lines = [f"  refinement, {self._subject.removeprefix('link:')}"]
        return lines + [f"    {kind.replace('_', ' '):<18}{count:>12,}" for kind, count in sorted(self.counts.items())]
