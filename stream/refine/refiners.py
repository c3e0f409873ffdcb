"""Refinement of all links of a run: one trainer, a refiner per link, a folder with a part for each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from offramp.errors import ConfigError
from offramp.extras import require
from offramp.inference.artifact import Artifact
from offramp.inference.refinement.challenger import TrainerProcess
from offramp.stream.refine.events import RefineEvents
from offramp.stream.refine.refiner import Refiner, RefineSettings

NEEDS = ("keras", "tensorflow", "river", "scipy")
"""Libraries that train and score challengers, of the extra `learn`."""


class Refiners:
    """What `--refine DIR` asks for. DIR/LINK has `events.jsonl`, and `models`, every model that ever served."""

    def __init__(
        self, artifact: Artifact, folder: Path, site: str, *, wait: bool, settings: RefineSettings | None = None,
        trainer: Any = None,
    ) -> None:  # fmt: skip
        """Begin nothing yet; the trainer's process starts with the first challenger. See Refiner for `wait`."""
        require("refinement", *NEEDS)
        self._artifact, self._folder, self._site, self._wait = artifact, folder, site, wait
        self._settings, self._trainer = settings, trainer or TrainerProcess()
        self._refiners: list[tuple[Refiner, Path]] = []

    def of(self, link: str) -> Refiner:
        """Return a new refiner of a link. Raises ConfigError where its folder cannot be made."""
        folder = self._folder / quote(link, safe="")
        try:
            (folder / "models").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--refine {self._folder}: {error.strerror}; name a folder you may write to") from error
        events = RefineEvents(folder, self._site, link)
        refiner = Refiner(
            self._artifact, folder, events, self._trainer, settings=self._settings, wait=self._wait
        )  # fmt: skip
        self._refiners.append((refiner, folder))
        return refiner

    def folder_of(self, link: str, sha: str) -> Path:
        """Return the folder of a model that serves a link or has served it."""
        return self._folder / quote(link, safe="") / "models" / sha[:16]

    def keep(self, link: str, sha: str, files: Mapping[str, bytes]) -> None:
        """Write a model that came from elsewhere, byte for byte, beside those that were made here."""
        folder = self.folder_of(link, sha)
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)

    def lines(self) -> list[str]:
        """Return the account of all links as lines, and which model serves each at the end."""
        lines = []
        for refiner, folder in self._refiners:
            lines += refiner.events.lines()
            if refiner.artifact.sha != self._artifact.sha:
                lines.append(f"    serves now        {folder / 'models' / refiner.artifact.sha[:16]}")
        return lines

    def close(self) -> None:
        """End the trainer."""
        self._trainer.close()
