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


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


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
