"""The walls of the house: which room may know which, and what may be imported at a cost."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STAGES = {"capture", "inference", "decision", "stream", "deploy", "bench", "offramp"}
MAY_KNOW: dict[str, set[str]] = {
    "capture": set(),
    "inference": set(),
    "decision": {"inference.forecast"},
    "stream": {"capture", "inference", "decision"},
}


def imported(path: Path) -> set[str]:
    names = set()
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
            top = name.split(".")[0]
            if top not in STAGES or top == stage:
                continue
            assert any(name == known or name.startswith(known + ".") for known in MAY_KNOW[stage]), (
                f"{source.relative_to(ROOT)} imports {name}"
            )


@pytest.mark.parametrize("module", ["inference.forecast", "decision.client", "offramp"])
def test_light_modules_load_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('tensorflow', 'keras', 'numba', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["stream.tap", "stream.publish"])
def test_what_opens_an_interface_loads_no_library_that_starts_threads(module: str) -> None:
    """A thread that runs before the rights are given up keeps them."""
    code = f"import sys, {module}; print([m for m in ('numpy', 'pyarrow', 'kafka', 'numba') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_lock_holds_versions_and_hashes_and_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    packages = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert all("==" in line for line in packages)
    assert lock.count("--hash=sha256:") >= len(packages)


def test_help_does_not_wait_for_heavy_imports() -> None:
    code = "import sys; sys.argv=['offramp','--help']\nimport offramp\ntry: offramp.main()\nexcept SystemExit: pass\n"
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
    inner = {".".join(path.relative_to(ROOT).with_suffix("").parts): kernels_without_a_way_in(path) for path in sources}
    assert "put" in inner["capture.emit"]
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


def test_every_module_beside_the_packages_is_shipped_typed_and_known() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    targets = told["hatch"]["build"]["targets"]
    named = {path.name: path.stem for path in ROOT.glob("offramp*.py")}
    assert len(named) > 5
    for file, module in named.items():
        for what, name, patterns in (
            ("shipped", f"/{file}", targets["wheel"]["include"]),
            ("in the sources", f"/{file}", targets["sdist"]["include"]),
            ("typed", file, told["mypy"]["files"]),
            ("known to sort imports", module, told["ruff"]["lint"]["isort"]["known-first-party"]),
        ):
            assert any(fnmatch(name, pattern) for pattern in patterns), f"{file} is not {what}"
