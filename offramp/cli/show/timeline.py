"""Where `--timeline` writes: the file is held against its folder first, opened once it is known what runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from offramp.errors import InputError

if TYPE_CHECKING:
    from offramp.decision.site import Site
    from offramp.inference.serving.predictor import Predictor
    from offramp.stream.local.timeline_file import TimelineFile
    from offramp.stream.pipeline.timeline import LinkTimeline


def require_place(path: Path | None) -> tuple[Path, ...]:
    """Return the folder that is written to, if any is. Raises InputError where the file cannot be there."""
    if path is None:
        return ()
    if path.suffix != ".parquet":
        raise InputError(f"--timeline {path}: the name must end in .parquet")
    if not path.parent.is_dir():
        raise InputError(f"--timeline {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise InputError(f"--timeline {path}: is a folder; name a file")
    return (path.parent,)


def open_timeline(path: Path | None, site: Site, model: Predictor) -> TimelineFile | None:
    """Return the file of a timeline, if it was asked for. Raises InputError where it cannot be written."""
    if path is None:
        return None
    from offramp.cli.show.ledger_text import warn
    from offramp.stream.local.timeline_file import TimelineFile
    from offramp.stream.pipeline.timeline_table import timeline_schema

    return TimelineFile(path, timeline_schema(site, model), model.horizon_ms, warn)


def close_timeline(timeline: TimelineFile | None) -> list[str]:
    """Close the file, if there is one; return the account of its rows as lines."""
    if timeline is None:
        return []
    timeline.close()
    return timeline.lines()


def each_of(*sinks: Callable[[LinkTimeline], object] | None) -> Callable[[LinkTimeline], None] | None:
    """Return a sink that gives what it takes to several, or None where there are none."""
    wanted = [sink for sink in sinks if sink is not None]

    def give(line: LinkTimeline) -> None:
        for sink in wanted:
            sink(line)

    return give if wanted else None
