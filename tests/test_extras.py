"""A base install: what it does without the extras, what it says where one is needed, and under which licences."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from offramp.cli.commands import app
from offramp.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[1]
DEMO, SITE = str(ROOT / "samples/demo.pcap.zst"), str(ROOT / "samples/site.toml")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

BARE = """
import sys

class Without:
    def __init__(self, finder, absent):
        self.finder, self.absent = finder, absent
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in self.absent else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)

absent = set(sys.argv.pop(1).split(","))
sys.meta_path[:] = [Without(finder, absent) for finder in sys.meta_path]
"""
"""Makes modules look as if they were not installed: no finder knows them."""


DOOR = "from offramp.cli.commands import main; main()"


def bare(
    words: Sequence[str], cwd: Path, *, absent: Iterable[str] = EXTRAS, code: str = DOOR
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BARE + code, ",".join(absent), *words], capture_output=True, text=True, check=False,
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


NEEDS: dict[str, tuple[str, ...]] = {
    "learn": (
        f"train {DEMO}", "train --dataset data", "tune data", "evaluate data -o report",
        "dataset build spec.toml -o data",
        f"replay {DEMO} --backend onnx", f"replay {DEMO} --backend tensorflow", f"replay {DEMO} --refine refined",
        f"refine refined --site {SITE} --kafka 127.0.0.1:1",
    ),
    "live": ("tap lo --capture-backend pcapy",),
    "reference": (f"features {DEMO} -o out.csv --dissector reference",),
    "scapy": (f"features {DEMO} -o out.csv --dissector scapy", "tap lo --capture-backend scapy"),
}  # fmt: skip
"""Command lines by the extra that they need."""

DOES = {
    "replay": f"replay {DEMO} --site {SITE} --format jsonl --out commands.jsonl",
    "features": f"features {DEMO} -o out.csv",
    "edge-iiotset": "edge-iiotset made.csv -o edge.parquet",
    "explain": "explain 94777b5b commands.jsonl",
    "doctor": "doctor",
    "dataset show": "dataset show data",
}
"""Command lines that do without any extra; those that want a broker or an interface are loaded only."""
GOES_WRONG = {"edge-iiotset": 2, "dataset show": 1}
"""Those of them that find their input wrong, which is after they have loaded what they need."""
LOADED = {
    "tap": "offramp.cli.tap, offramp.stream.local.tap, offramp.capture.sources.live.packet_socket",
    "publish": "offramp.cli.publish, offramp.stream.agent.live, offramp.stream.agent.files",
    "worker": "offramp.cli.worker, offramp.stream.app",
    "follow": "offramp.cli.follow",
    "arena": "offramp.cli.arena, offramp.stream.arena.contest, offramp.stream.arena.report.page",
    "kernels": "offramp.kernel_set, offramp.kernel_plan, offramp.stream.local.every_kernel",
    "topics": "offramp.cli.topics, offramp.stream.topics.table",
    "mark": "offramp.cli.topics, offramp.capture.message.mark",
    "federate": "offramp.cli.learning.federate, offramp.inference.refinement.federated",
}


@pytest.mark.parametrize(("extra", "words"), [(extra, words) for extra, all_of in NEEDS.items() for words in all_of])
def test_a_command_whose_library_is_missing_says_in_a_line_which_extra_has_it(
    tmp_path: Path, extra: str, words: str
) -> None:
    found = bare(words.split(), tmp_path)
    lines = [line for line in found.stderr.splitlines() if line.startswith("offramp: ")]
    assert found.returncode == 2, found.stderr
    assert len(lines) == 1
    assert lines[0].endswith(f"pip install 'offramp[{extra}]'")
    assert "Traceback" not in found.stderr


def test_every_command_is_told_of() -> None:
    needing = {words.split()[0] for all_of in NEEDS.values() for words in all_of}
    told = {words.split()[0] for words in (*DOES, *LOADED)} | needing
    names = {one.name or str(one.callback.__name__) for one in app.registered_commands if one.callback}
    groups = {one.name for one in app.registered_groups if one.name}
    inner = {one.name or str(one.callback.__name__) for group in app.registered_groups if not group.name
             for one in getattr(group.typer_instance, "registered_commands", ()) if one.callback}  # fmt: skip
    assert names | groups | inner <= told


def test_the_base_does_its_work_without_any_extra(tmp_path: Path) -> None:
    (tmp_path / "made.csv").write_text("frame.time,ip.src_host\n")
    for name, words in DOES.items():
        found = bare(words.split(), tmp_path)
        assert "Traceback" not in found.stderr, name
        assert "pip install" not in found.stderr, name
        assert found.returncode == GOES_WRONG.get(name, 0), found.stderr
    assert len((tmp_path / "commands.jsonl").read_text().splitlines()) == 11
    assert "extra scapy: no scapy" in bare(["doctor"], tmp_path).stdout


@pytest.mark.parametrize("name", sorted(LOADED))
def test_what_a_broker_or_an_interface_is_needed_for_loads_without_any_extra(tmp_path: Path, name: str) -> None:
    done = bare([], tmp_path, code=f"import {LOADED[name]}")
    assert done.returncode == 0, done.stderr
    assert bare([*name.split(), "--help"], tmp_path).returncode == 0


def test_the_table_of_extras_is_that_of_the_project() -> None:
    of = {"sklearn": "scikit-learn", "tensorflow": "tensorflow-cpu", "pcapy": "pcapy-ng"}
    extras = PROJECT["optional-dependencies"]
    listed = {extra: {Requirement(each).name for each in extras[extra]} for extra in (*set(EXTRAS.values()), "study")}
    listed["learn"] |= listed.pop("study")
    ours = {extra: {of.get(module, module) for module, its in EXTRAS.items() if its == extra} for extra in listed}
    assert ours == {extra: names - {"offramp"} for extra, names in listed.items()}
    (whole,) = (Requirement(each) for each in extras["all"])
    assert whole.extras == set(EXTRAS.values())
    assert not {Requirement(each).name for each in PROJECT["dependencies"]} & set().union(*listed.values())


def closure(wanted: Iterable[str]) -> set[str]:
    """The distributions that requirements bring, themselves among them, as this environment has them."""
    found: set[tuple[str, str]] = set()
    waiting = [(canonicalize_name(one.name), extra) for one in map(Requirement, wanted) for extra in ("", *one.extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) not in found:
            found.add((name, extra))
            each_of = map(Requirement, importlib.metadata.requires(name) or ())
            meant = [one for one in each_of if one.marker is None or one.marker.evaluate({"extra": extra})]
            waiting += [(canonicalize_name(one.name), more) for one in meant for more in ("", *one.extras)]
    return {name for name, _ in found}


def licence(name: str) -> str:
    about: Any = importlib.metadata.metadata(name)
    short = (about.get("License") or "").split("\n")[0]
    classified = [each for each in about.get_all("Classifier") or () if each.startswith("License ::")]
    return " ".join([about.get("License-Expression") or "", short, *classified])


GPL = re.compile(r"(?<!L)GPL|(?<!Lesser )General Public License")
"""The licence whose terms reach what is given away with it. Those that end at their own files, LGPL and MPL, do not."""


def test_nothing_that_the_base_brings_is_under_the_gpl() -> None:
    """offramp is BSD-3-Clause, others that it brings are Apache-2.0: neither may be given away with GPL-2.0-only."""
    found = closure(PROJECT["dependencies"])
    assert {"numba", "llvmlite", "faust-streaming", "aiokafka", "numpy"} <= found
    assert not {"scapy", "tensorflow-cpu", "keras", "pyshark"} & found
    assert {name: licence(name) for name in found if GPL.search(licence(name))} == {}
    assert all(licence(name).strip() for name in found)
    assert GPL.search(licence("scapy")), "the check finds none"


@pytest.mark.parametrize(
    ("text", "is_gpl"),
    [("GPL-2.0-only", True), ("GNU General Public License v2 (GPLv2)", True), ("AGPL-3.0", True), ("MIT", False),
     ("LGPL-2.1-or-later", False), ("GNU Lesser General Public License v3 (LGPLv3)", False), ("MPL-2.0", False)],
)  # fmt: skip
def test_what_is_taken_for_the_gpl(text: str, is_gpl: bool) -> None:
    assert bool(GPL.search(text)) == is_gpl
