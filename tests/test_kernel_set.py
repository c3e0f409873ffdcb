"""All kernels are known beforehand and compiled at once; what a wheel brings is used by whoever may only read it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from offramp.kernel_cache import SHIPPED, V3, processors
from offramp.kernel_places import GONE, MAX_REMOVED, UNUSED_S, Places
from offramp.kernel_plan import Task
from offramp.kernel_set import Order, require_known
from tests.support.kernel_trees import small_tree, start

ROOT = Path(__file__).resolve().parents[1]
PLAN = """
import warnings
warnings.simplefilter("ignore", RuntimeWarning)
from offramp.kernel_plan import plan
from offramp.kernels import KERNELS
from offramp.stream.local.every_kernel import use_every_kernel
found = []
plan(use_every_kernel, found.append)
for task in found:
    assert all(needed < task.number for needed in task.needs)
    function = KERNELS[task.kernel].py_func
    print("found", function.__module__, function.__qualname__, len(task.needs))
for compiled in KERNELS:
    if not compiled.targetoptions.get("no_cpython_wrapper"):
        print("entry", compiled.py_func.__module__, compiled.py_func.__qualname__, 0)
"""


def test_all_kernels_that_python_calls_are_known_beforehand_and_few_are_compiled_twice() -> None:
    lines = [line.split() for line in start(None, PLAN).stdout.splitlines()]
    found = [(module, name) for kind, module, name, _ in lines if kind == "found"]
    entries = {(module, name) for kind, module, name, _ in lines if kind == "entry"}
    assert len(entries) > 25
    assert entries <= set(found), f"not used by every_kernel.py: {entries - set(found)}"
    assert len(found) > 250
    assert len(found) < 1.2 * len(set(found)), "kernels are compiled for several kinds of arguments"
    assert all(needs == "0" for *_, name, needs in lines if name == "append")


def test_a_kernel_waits_for_those_that_it_calls() -> None:
    order = Order()
    for number, needs in ((0, ()), (1, (0,)), (2, ()), (3, (1, 2))):
        order.add(Task(number, number, (), frozenset(needs)))

    def taken() -> list[int]:
        tasks = iter(order.take, None)
        return [task.number for task in tasks if task is not None]

    assert taken() == [0, 2]
    order.done(2)
    assert taken() == []
    order.done(0)
    order.add(Task(4, 4, (), frozenset((0,))))
    assert taken() == [1, 4]
    order.done(1)
    assert taken() == [3]
    assert (order.found, order.left) == (5, 2)


def test_kernels_for_more_processors_are_taken_where_they_run() -> None:
    triple = "x86_64-unknown-linux-gnu"
    own = (triple, "haswell", ",".join(f"+{feature}" for feature in (*sorted(V3), "adx")))
    assert processors(own) == (own, (triple, *SHIPPED))
    for missing in V3:
        less = (triple, "older", own[2].replace(f"+{missing},", f"-{missing},"))
        assert processors(less) == (less,)
    arm = ("aarch64-unknown-linux-gnu", "apple-m1", own[2])
    assert processors(arm) == (arm,)


MANY = """
import sys
import numpy as np
from offramp.kernels import announce_compiling
from offramp.stream.bins.closing import closed
announce_compiling()
print(closed(200, np.array([6, 1400, 58])))
"""
GENERAL = {"NUMBA_CPU_NAME": SHIPPED[0], "NUMBA_CPU_FEATURES": SHIPPED[1]}


def test_kernels_that_came_with_the_package_are_used_and_others_compiled_with_a_word(tmp_path: Path) -> None:
    """In a small project: compiled once for processors in general, then read from within the package."""
    tree, made = small_tree(tmp_path / "tree"), tmp_path / "made"
    start(None, MANY, tree=tree, prefix=(), CACHE_DIRECTORY=str(made), **GENERAL)
    (made / "set.json").write_text(json.dumps({"processor": "x86-64-v3", "python": "cpython-3xx"}))
    made.rename(tree / "offramp/kernel_sets")
    used = start(tmp_path / "cache", MANY, tree=tree)
    assert (used.stdout, used.stderr) == ("(20, 6)\n", "")
    assert not list((tmp_path / "cache").rglob("*.kernel"))
    own = start(tmp_path / "cache", MANY, tree=tree, NUMBA_OPT="2")
    assert own.stdout == used.stdout
    assert "those that came with offramp (x86-64-v3, cpython-3xx) do not fit here; compiling" in own.stderr
    chosen = start(tmp_path / "other", MANY, tree=tree, NUMBA_CPU_NAME="x86-64-v2", NUMBA_CPU_FEATURES="")
    assert "do not fit here" in chosen.stderr


# compiling all at once


def build(cache: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cache)} | environment
    env.pop("CACHE_DIRECTORY", None)
    return subprocess.Popen(
        [sys.executable, "-m", "offramp", "kernels", *words], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["Ctrl-C", "killed"])
def test_nothing_goes_on_behind_one_that_is_ended(tmp_path: Path, how: str) -> None:
    running = build(tmp_path, "--jobs", "2")
    wait_until(lambda: next((tmp_path / "offramp").rglob("*.kernel"), None) is not None)
    those = children(running.pid)
    assert len(those) == 3
    if how == "Ctrl-C":
        os.killpg(running.pid, signal.SIGINT)
    else:
        running.kill()
    assert running.wait() == (130 if how == "Ctrl-C" else -signal.SIGKILL)
    wait_until(lambda: not any(map(alive, those)))
    assert running.stderr is not None
    with running.stderr as told:
        assert "Traceback" not in told.read()


def test_where_nothing_can_be_kept_nothing_is_compiled(tmp_path: Path) -> None:
    ended = build(tmp_path, "--out", "/proc/kernels")
    assert ended.stderr is not None
    with ended.stderr as stream:
        told = stream.read()
    assert ended.wait() == 1
    assert told.startswith("offramp: /proc/kernels: ")
    assert len(told.splitlines()) == 1


def test_a_processor_that_nobody_knows_is_refused_in_a_line(tmp_path: Path) -> None:
    require_known(SHIPPED[0])
    ended = build(tmp_path, "--processor", "abacus")
    assert ended.stderr is not None
    with ended.stderr as stream:
        told = stream.read()
    assert ended.wait() == 2
    assert told.startswith("offramp: --processor 'abacus': ")
    assert len(told.splitlines()) == 1


# those that nobody uses


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path))
    return tmp_path


def kept(root: Path, name: str, age_s: float) -> Path:
    folder = root / f"kernels-{name}"
    folder.mkdir()
    (folder / "one.kernel").write_bytes(b"x" * 1000)
    os.utime(folder, (time.time() - age_s,) * 2)
    return folder


def test_a_set_that_nobody_used_for_long_is_removed(folder: Path) -> None:
    old, recent = kept(folder, "old", UNUSED_S + 60), kept(folder, "recent", UNUSED_S - 3600)
    ahead, other = kept(folder, "ahead", -UNUSED_S), folder / "site.toml"
    other.touch()
    os.utime(other, (0, 0))
    torn = folder / f"{GONE}1234"
    torn.mkdir()
    found = Places()
    assert found.writable == folder
    assert found.tidy() == 1
    assert not old.exists()
    assert not torn.exists()
    assert recent.exists()
    assert ahead.exists()
    assert other.exists()
    kept(folder, "old", UNUSED_S + 60)
    assert found.tidy() == 0, "once a process"
    assert Places().tidy() == 1


def test_no_more_are_removed_at_once_than_take_a_moment(folder: Path) -> None:
    for number in range(MAX_REMOVED + 3):
        kept(folder, str(number), UNUSED_S + 60)
    assert Places().tidy() == MAX_REMOVED
    assert Places().tidy() == 3


def test_use_is_noted_at_most_daily(folder: Path) -> None:
    old, recent = kept(folder, "old", UNUSED_S + 60), kept(folder, "recent", 3600)
    before = recent.stat().st_mtime
    found = Places()
    found.used(old)
    found.used(recent)
    assert time.time() - old.stat().st_mtime < 60
    assert recent.stat().st_mtime == before
    assert found.tidy() == 0


def test_the_doctor_tells_how_much_is_kept_and_how_to_remove_it(tmp_path: Path) -> None:
    cache = tmp_path / "a cache" / "offramp"
    cache.mkdir(parents=True)
    for name in ("one", "other"):
        kept(cache, name, 0)
    code = "from offramp.cli.doctor import report; report()"
    told = start(tmp_path / "a cache", code).stdout
    assert f"2 sets of compiled kernels, 0.0 MB, in {cache}; unused ones go after 30 days" in told
    (line,) = (line for line in told.splitlines() if "rm -r" in line)
    subprocess.run(["sh", "-c", line.partition("all by: ")[2]], check=True)
    assert list(cache.iterdir()) == []


def test_a_start_keeps_what_it_uses(tmp_path: Path) -> None:
    """Another version's set goes when this one is compiled anew; its own, as old as that, stays."""
    tree, cache = small_tree(tmp_path / "tree"), tmp_path / "cache"
    start(cache, MANY, tree=tree)
    (own,) = (cache / "offramp").glob("kernels-*")
    for folder in (own, kept(cache / "offramp", "former", 0)):
        os.utime(folder, (time.time() - UNUSED_S - 60,) * 2)
    assert start(cache, MANY, tree=tree).stderr == ""
    assert time.time() - own.stat().st_mtime < 60
    assert (cache / "offramp/kernels-former").exists(), "a start that compiles nothing writes nothing else"
    start(cache, MANY, tree=tree, NUMBA_OPT="2")
    assert not (cache / "offramp/kernels-former").exists()
    assert own.exists()
