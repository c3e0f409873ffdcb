"""A kernel that is kept is right or not used; where none can be kept one line says so; a cold start speaks."""

from __future__ import annotations

import ast
import hashlib
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from offramp.kernel_cache import CHECKSUM_BYTES
from offramp.sources import OURS, ROOT, imports_of, sources_of
from tests.support.kernel_trees import CODE, small_tree, start
from tests.support.strangers import stranger

NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a command as another user, or mount a disk")


def folders(cache: Path) -> set[str]:
    return {folder.name for folder in (cache / "offramp").iterdir()}


def test_only_a_cold_start_speaks_of_compiling(tmp_path: Path) -> None:
    cold, warm = start(tmp_path), start(tmp_path)
    lines = cold.stderr.splitlines()
    assert len(lines) == 2
    assert "compiling kernels" in lines[0]
    assert "compiled in" in lines[1]
    assert str(tmp_path) in lines[1]
    assert warm.stderr == ""
    assert warm.stdout == cold.stdout


# the right ones


RUN = """
import numpy as np
from offramp.kernels import announce_compiling
from offramp.stream.bins.closing import closed
announce_compiling()
print(closed(200, np.array([6, 1400, 58])))
"""


def test_a_constant_changed_in_an_imported_module_is_seen(tmp_path: Path) -> None:
    tree, cache = small_tree(tmp_path / "tree"), tmp_path / "cache"
    channels = tree / "stream/channels.py"
    before = channels.read_text()
    assert start(cache, RUN, tree=tree).stdout == "(20, 6)\n"
    first = folders(cache)
    channels.write_text(before.replace("10", "20"))
    assert start(cache, RUN, tree=tree).stdout == "(10, 6)\n"
    second = folders(cache) - first
    channels.write_text(before.replace("('ip.proto'", "('ip.ttl', 'ip.proto'"))
    assert start(cache, RUN, tree=tree).stdout == "(20, 1400)\n"
    assert len(first) == len(second) == 1
    assert len(folders(cache)) == 3
    channels.write_text(before)
    again = start(cache, RUN, tree=tree)
    assert (again.stdout, again.stderr) == ("(20, 6)\n", "")
    assert len(folders(cache)) == 3


NAMES = """
from pathlib import Path
from offramp.kernel_cache import kernel_folder
for stage in ("capture", "stream", "inference"):
    for path in sorted(Path(stage).rglob("*.py")):
        if "@kernel" in path.read_text():
            print(path, kernel_folder(path))
"""


def names(tree: Path, **environment: str) -> dict[str, str]:
    words = start(None, NAMES, tree=tree, prefix=(), **environment).stdout.split()
    return dict(zip(words[::2], words[1::2], strict=True))


def test_every_kernel_that_a_change_reaches_has_another_name(tmp_path: Path) -> None:
    """A bin of another length, another column, another compiler's setting, in a copy of the whole project."""
    for stage in ("capture", "stream", "inference", "decision", "offramp"):
        shutil.copytree(
            ROOT / stage, tmp_path / stage, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )  # fmt: skip
    before = names(tmp_path)
    assert before == names(ROOT)
    assert len(set(before.values())) == len(before) > 30

    def changed(path: str, old: str, new: str) -> set[str]:
        file = tmp_path / path
        text = file.read_text()
        assert old in text, f"{path} has no {old}"
        file.write_text(text.replace(old, new, 1))
        after = names(tmp_path)
        file.write_text(text)
        return {name for name in before if after[name] != before[name]}

    bins = changed("inference/bin_length.py", "BIN_MS = 10", "BIN_MS = 20")
    assert {"stream/bins/bins.py", "stream/bins/closing.py", "stream/windows/stft.py"} <= bins
    assert not any(name.startswith("capture") for name in bins)
    columns = changed("capture/schema.py", "ip.proto", "ip.ttl")
    assert {
        "capture/dissect/row_loop.py",
        "capture/dissect/packet/table.py",
        "capture/dissect/network/ipv4.py",
    } <= columns
    assert "capture/dissect/row_loop.py" in changed("capture/dissect/conversation/ports.py", "1883", "1884")
    assert changed("offramp/kernels.py", '"error_model": "numpy"', '"error_model": "python"') == set(before)
    other = names(tmp_path, NUMBA_OPT="2")
    assert all(other[name] != before[name] for name in before)


def by_parser(path: Path) -> set[Path]:
    """The files of the project that a file imports, as Python's own parser reads it."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(path.relative_to(ROOT).parts[: -node.level]) if node.level else ""
            base = ".".join(part for part in (base, node.module or "") if part)
            modules |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    found = set()
    for module in modules:
        if module.split(".")[0] in OURS:
            folder = ROOT.joinpath(*module.split("."))
            found |= {file.resolve() for file in (folder.with_suffix(".py"), folder / "__init__.py") if file.is_file()}
    return found


def test_imports_are_found_as_the_parser_finds_them() -> None:
    stages = ("capture", "stream", "inference", "decision")
    paths = [path for part in (*OURS, *stages) for path in (ROOT / part).rglob("*.py")]
    assert len(paths) > 200
    for path in paths:
        assert by_parser(path) <= imports_of(path), path
    assert ROOT / "capture/schema.py" in sources_of(ROOT / "capture/dissect/row_loop.py")
    assert ROOT / "capture/dissect/row_loop.py" not in sources_of(ROOT / "capture/schema.py")


def test_only_the_project_s_own_files_are_sources() -> None:
    """In a wheel's environment all packages lie beside ours."""
    assert not imports_of(Path(pytest.__file__))
    for path in (ROOT / "stream").rglob("*.py"):
        assert all(source.is_relative_to(ROOT) and ".venv" not in source.parts for source in sources_of(path))


def test_a_torn_file_is_compiled_anew(tmp_path: Path) -> None:
    whole = start(tmp_path).stdout
    for cut in (0, CHECKSUM_BYTES, -1):
        for kept in tmp_path.rglob("*.kernel"):
            kept.write_bytes(kept.read_bytes()[:cut])
        again = start(tmp_path)
        assert again.stdout == whole
        assert "compiled in" in again.stderr
        assert start(tmp_path).stderr == ""


# where they are kept


@AS_ROOT
def test_who_compiled_as_root_and_became_another_user_ends_quietly(tmp_path: Path) -> None:
    """As a tap does with a cold cache: at its end it may not look into the folder that it wrote to."""
    done = start(tmp_path, f"{CODE}\nimport os\nos.setresuid({NOBODY}, {NOBODY}, {NOBODY})")
    assert [line.partition(" in ")[0] for line in done.stderr.splitlines()[1:]] == ["offramp: compiled"], done.stderr


@pytest.mark.parametrize("home", [{}, {"HOME": "/proc/nowhere"}, {"HOME": "relative"}, {"CACHE_DIRECTORY": "/proc/x"}])
def test_a_user_without_a_home_keeps_kernels_in_a_temporary_folder(tmp_path: Path, home: dict[str, str]) -> None:
    """A service's user, or that of a container, told in one line at the first start."""
    env = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    env |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)} | home
    command = [*stranger(), sys.executable, "-c", CODE]
    cold, warm = (
        subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=env) for _ in range(2)
    )
    told = [line for line in cold.stderr.splitlines() if "XDG_CACHE_HOME" in line]
    assert len(told) == 1
    assert str(tmp_path / "offramp-4711") in told[0]
    assert len(cold.stderr.splitlines()) == 3
    assert (warm.stderr, warm.stdout) == ("", cold.stdout)
    assert (tmp_path / "offramp-4711").stat().st_mode & 0o777 == 0o700


def test_the_folder_of_a_service_is_asked_first(tmp_path: Path) -> None:
    start(tmp_path / "user", CACHE_DIRECTORY=f"{tmp_path / 'service'}:{tmp_path / 'second'}")
    assert list((tmp_path / "service").glob("kernels-*"))
    assert not (tmp_path / "second").exists()
    assert not list((tmp_path / "user").rglob("kernels-*"))


def test_kernels_that_may_only_be_read_are_used(tmp_path: Path) -> None:
    made = start(tmp_path)
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o500 if path.is_dir() else 0o400)
    bare = ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()  # root without the right to write anywhere
    read = start(tmp_path, prefix=bare, TMPDIR="/proc/nowhere")
    assert (read.stdout, read.stderr) == (made.stdout, "")
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o700)


def planted(cache: Path, mark: Path) -> None:
    """Put in place of each kernel what, once unpickled, leaves a mark."""

    class Mark:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (mark,)

    text = pickle.dumps(Mark())
    for kept in cache.rglob("*.kernel"):
        kept.write_bytes(hashlib.sha256(text).digest() + text)


@AS_ROOT
@pytest.mark.parametrize("how", ["others own it", "others may write to it", "others own what is above"])
def test_what_somebody_else_could_have_written_is_not_read(tmp_path: Path, how: str) -> None:
    cache, mark, temporary = tmp_path / "caches", tmp_path / "mark", tmp_path / "tmp"
    temporary.mkdir()
    start(cache)
    planted(cache, mark)
    if how == "others own it":
        os.chown(cache / "offramp", NOBODY, NOBODY)
    elif how == "others may write to it":
        (cache / "offramp").chmod(0o777)
    else:
        os.chown(cache, NOBODY, NOBODY)
    found = start(cache, TMPDIR=str(temporary))
    assert not mark.exists()
    assert found.stdout == "0.0\n"
    assert "XDG_CACHE_HOME" in found.stderr


@AS_ROOT
def test_a_full_disk_or_a_read_only_one_is_told_in_a_line(tmp_path: Path) -> None:
    right = start(tmp_path / "cache").stdout
    disk = tmp_path / "disk"
    disk.mkdir()
    small = f'mount -t tmpfs -o size=16k,mode=700 none {disk} && exec "$@"'
    closed = "for each in / /tmp /var/tmp; do mount --bind $each $each && mount -o remount,ro,bind $each; done; "
    closed += 'cd "$PWD" && exec "$@"'
    for script in (small, closed):
        found = start(disk, prefix=("unshare", "-m", "sh", "-c", script, "-"), TMPDIR=str(disk), HOME=str(disk))
        assert found.stdout == right
        assert len(found.stderr.splitlines()) <= 3
        assert len([line for line in found.stderr.splitlines() if "XDG_CACHE_HOME" in line]) == 1
        assert "not kept" in found.stderr


@pytest.mark.parametrize("home", ["/proc/nowhere", ""])
def test_the_doctor_works_where_nothing_can_be_kept(tmp_path: Path, home: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "HOME": home}
    env.pop("XDG_CACHE_HOME", None)
    done = subprocess.run(
        [*stranger(), sys.executable, "-m", "offramp", "doctor"], capture_output=True, text=True, check=False,
        cwd=ROOT, env=env,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert f"note  compiled kernels are kept in {tmp_path / 'offramp-4711'} only" in done.stdout
    assert "XDG_CACHE_HOME" in done.stdout
    assert "loads and its hashes hold" in done.stdout
