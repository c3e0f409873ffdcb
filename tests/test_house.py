"""The walls of the house: which room may know which, and what may be imported at a cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT

STAGES = ("capture", "inference", "decision", "stream")
OUTSIDE = {"deploy", "bench", "tests"}
MAY_KNOW: dict[str, set[str]] = {
    "capture": set(),
    "inference": set(),
    "decision": {"offramp.inference.forecast"},
    "stream": {"offramp.capture", "offramp.inference", "offramp.decision"},
}

ORDER = """
    .__main__ .cli.commands .cli.learning .cli.tell .cli .api .cli.show .kernel_set
    .stream.app .stream.agent .stream.local .stream.worker .stream.refine .stream.links .stream.metrics .stream.topics
    .stream.learning .stream.arena.report .stream.arena .stream.arena.network .stream.arena.senders .stream.datasets
    .stream.pipeline
    .stream.windows .stream.bins
    .stream .decision.explaining .decision
    .inference.refinement .inference.evaluation .inference.baselines .inference.training .inference.serving
    .inference.serving.kernel .inference.dataset .inference.artifact .inference.artifact_check .inference.network
    .inference
    .capture.dissectors .capture.reference .capture.publish .capture.intake .capture.sources.live .capture.sources.file
    .capture.sources .capture.edge_iiotset .capture.message .capture.dissect .capture.dissect.application
    .capture.dissect.application.http .capture.dissect.network .capture.dissect.tunnel .capture.dissect.link
    .capture.dissect.transport .capture.dissect.conversation .capture.dissect.packet .capture.features .capture
"""
ROOMS = (*(f"offramp{name}" for name in ORDER.split()), "offramp")
"""All rooms, from the doors down to the ground: a module is of the longest name that begins its own, and imports, while
it is loaded or runs, only from its own room and those behind it."""

MAX_MODULES = 18
"""Of a folder: more cannot be taken in at a glance."""


def modules() -> dict[str, Path]:
    """Return every module of the package by its name."""
    found = {}
    for top in (*STAGES, "offramp"):
        for path in (ROOT / top).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts if top == "offramp" else ("offramp", *parts)).removesuffix(".__init__")
            if path.resolve() == path:
                found[name] = path
    return found


MODULES = modules()


def imported(path: Path, *, annotations: bool = True) -> set[str]:
    """Return what a file imports; annotations: also what only type checkers do."""
    names: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            names.update(below & MODULES.keys() or {node.module})
        if annotations or not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            waiting += ast.iter_child_nodes(node)
    return names


def room_of(module: str) -> int:
    """Return the place of a module's room in ROOMS."""
    return max((len(room), at) for at, room in enumerate(ROOMS) if module == room or module.startswith(f"{room}."))[1]


@pytest.mark.parametrize("stage", sorted(MAY_KNOW))
def test_arrows_go_one_way(stage: str) -> None:
    sources = sorted((ROOT / stage).rglob("*.py"))
    assert sources
    for source in sources:
        for name in imported(source):
            top, _, rest = name.partition(".")
            assert top not in OUTSIDE, f"{source.relative_to(ROOT)} imports {name}"
            room = rest.split(".")[0]
            if top != "offramp" or room == stage or room not in (*STAGES, "cli"):
                continue
            assert any(name == known or name.startswith(known + ".") for known in MAY_KNOW[stage]), (
                f"{source.relative_to(ROOT)} imports {name}"
            )


def test_an_import_goes_down() -> None:
    assert len(MODULES) > 250
    climbing = [
        f"{module} imports {name}, which stands above it"
        for module, path in MODULES.items()
        for name in imported(path, annotations=False) & MODULES.keys()
        if room_of(name) < room_of(module)
    ]
    assert not climbing
    assert {room_of(module) for module in MODULES} == set(range(len(ROOMS))), "a room that is named is there"


def test_no_two_files_import_each_other_in_a_circle() -> None:
    below = {
        module: imported(path, annotations=False) & MODULES.keys() - {module}
        for module, path in MODULES.items()
        if path.name != "__init__.py"
    }
    while leaves := {module for module, names in below.items() if not names & below.keys()}:
        below = {module: names for module, names in below.items() if module not in leaves}
    assert not below


def test_a_folder_can_be_taken_in_at_a_glance() -> None:
    folders = {path.parent for path in MODULES.values()}
    for folder in folders:
        found = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(found) <= MAX_MODULES, folder.relative_to(ROOT)


@pytest.mark.parametrize("stage", STAGES)
def test_commands_speak_and_stages_do_not(stage: str) -> None:
    """What a stage has to tell while it works goes by `offramp.streams.tell`, or is handed to who asked."""
    for path in sorted((ROOT / stage).rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        speaks = [node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]
        assert not speaks or path == ROOT / "stream/metrics/table.py", path.relative_to(ROOT)


def test_a_stage_has_one_name() -> None:
    """`import capture` works in a checkout, too: another module of the same file, with kernels of its own."""
    for room in (*STAGES, "offramp", "bench", "deploy", "tests"):
        for source in sorted((ROOT / room).rglob("*.py")):
            bare = {name for name in imported(source) if name.split(".")[0] in STAGES}
            assert not bare, f"{source.relative_to(ROOT)} imports {', '.join(sorted(bare))} without offramp. before it"


@pytest.mark.parametrize("module", ["offramp.inference.forecast", "offramp.decision.client", "offramp.cli.commands"])
def test_light_modules_load_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('tensorflow', 'keras', 'numba', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["offramp.cli.tap", "offramp.cli.publish"])
def test_what_opens_an_interface_loads_no_library_that_starts_threads(module: str) -> None:
    """A thread that runs before the rights are given up keeps them."""
    code = f"import sys, {module}; print([m for m in ('numpy', 'pyarrow', 'kafka', 'numba') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_no_test_imports_another() -> None:
    """What several share lies in tests/support, or in a conftest.py."""
    for source in sorted((ROOT / "tests").rglob("*.py")):
        tree = ast.parse(source.read_text())
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
        tests = [name for name in imported(source) | names if name.rpartition(".")[2].startswith("test_")]
        assert not tests, f"{source.relative_to(ROOT)} imports {', '.join(sorted(tests))}"


def test_tests_mirror_the_rooms() -> None:
    for stage in STAGES:
        for source in sorted((ROOT / "tests" / stage).rglob("test_*.py")):
            room = source.parent.relative_to(ROOT / "tests")
            assert (ROOT / room).is_dir(), f"{source.relative_to(ROOT)} is of no room"


def test_lock_holds_versions_and_hashes_and_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    packages = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert all("==" in line for line in packages)
    assert lock.count("--hash=sha256:") >= len(packages)


def test_help_does_not_wait_for_heavy_imports() -> None:
    code = "import sys; sys.argv=['offramp','--help']\nfrom offramp.cli.commands import main\n"
    code += "try: main()\nexcept SystemExit: pass\n"
    code += "print([m for m in ('tensorflow','numba','pyarrow','scipy','pandas','numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "replay" in done.stdout
    assert done.stdout.strip().endswith("[]")


def kernels_without_a_way_in(path: Path) -> set[str]:
    """Return the functions of a file that only kernels may call."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(one, ast.Name) and one.id in ("kernel_lean", "kernel_inline") for one in node.decorator_list)
    }


def test_only_kernels_call_kernels_that_have_no_way_in_from_python() -> None:
    sources = [path for part in (*MAY_KNOW, "tests", "bench") for path in sorted((ROOT / part).rglob("*.py"))]
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sources)
    full = (f"offramp.{name}" if name.split(".")[0] in STAGES else name for name in names)
    inner = dict(zip(full, map(kernels_without_a_way_in, sources), strict=True))
    assert "put" in inner["offramp.capture.dissect.packet.table"]
    for module, path in zip(inner, sources, strict=True):
        tree = ast.parse(path.read_text())
        meant = set(inner[module])
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                meant |= {alias.name for alias in node.names} & inner.get(node.module or "", set())
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and not str(ast.dump(function)).count("id='kernel"):
                called = {node.func.id for node in ast.walk(function)
                          if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}  # fmt: skip
                assert not called & meant, f"{path.relative_to(ROOT)}: {function.name} calls {called & meant}"
