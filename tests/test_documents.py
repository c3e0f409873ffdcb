"""Files and commands that the documents name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.places import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOLDERS = "bench|capture|decision|deploy|docs|inference|offramp|samples|stream|tests"
GONE = ("CHANGELOG.md", "docs/decisions/")
"""Pages that tell what was."""
NOW = [page for page in PAGES if not str(page.relative_to(ROOT)).startswith(GONE)]


@pytest.mark.parametrize("page", NOW, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(rf"`((?:{FOLDERS})/[\w./-]*\w)(?:::\w+)?`", text))
    linked = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link} - {""}
    assert sorted(name for name in named if not (ROOT / name).exists()) == []
    assert sorted(link for link in linked if not (page.parent / link).exists()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_of_make_that_a_page_names_are_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)`", page.read_text(encoding="utf-8")))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_that_a_page_runs_are_there(page: Path) -> None:
    for module in set(re.findall(r"python -m ((?:offramp|bench|deploy|tests)(?:\.\w+)*)", page.read_text())):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
