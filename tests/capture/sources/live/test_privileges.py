"""What is left to a process that captures: in one that was started as root, as far as this system lets us."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from offramp.capture.sources.live import landlock
from offramp.capture.sources.live.privileges import MEND, service_user
from offramp.errors import ConfigError
from tests.support.places import ROOT

ONLY_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

CONFINED = """
import os, subprocess, sys, threading
from pathlib import Path
from offramp.capture.sources.live.privileges import Confinement, become, capabilities, confine, service_user
own, other, asked = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
user = service_user(asked)
confine(Confinement(user, (own,), (), asked == "programs"))
waiting = threading.Event()
threading.Thread(target=waiting.wait, daemon=True).start()
become(user)
(own / "packets").write_text("x")
held = []
def tried(what, work):
    try:
        work()
    except OSError:
        held.append(what)
tried("beside", lambda: (other / "x").write_text("x"))
tried("into", lambda: (other / "there").write_text("x"))
tried("away", lambda: (other / "there").unlink())
tried("moved", lambda: (own / "packets").rename(other / "packets"))
tried("linked", lambda: (own / "link").symlink_to("/etc/shadow"))
tried("program", lambda: subprocess.run(["/bin/true"]))
tried("root", lambda: os.setuid(0))
statuses = [path.read_text() for path in Path("/proc/self/task").glob("*/status")]
users = {line for text in statuses for line in text.splitlines() if line.startswith(("Uid", "CapPrm", "NoNewPrivs"))}
waiting.set()
print(os.getuid(), capabilities(), len(statuses), sorted(held), sorted(users), oct((own / "packets").stat().st_mode))
"""


def confined(own: Path, other: Path, asked: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    return subprocess.run(
        [sys.executable, "-c", CONFINED, str(own), str(other), asked], cwd="/", env=environment, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that everybody may enter; pytest closes those of its own anew whenever another one starts."""
    with tempfile.TemporaryDirectory(prefix="offramp-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def other(open_place: Path) -> Path:
    """A folder that everybody may write to, with a file."""
    made = open_place / "other"
    made.mkdir()
    made.chmod(0o777)
    (made / "there").write_text("y")
    (made / "there").chmod(0o666)
    return made


@ONLY_ROOT
def test_what_root_started_is_nobody_and_writes_below_its_own_folder_alone(other: Path) -> None:
    """Though the other folder is everybody's: Landlock holds it. Its own is made for it, its files are its alone."""
    if landlock.version() < landlock.TRUNCATE_FROM:
        pytest.skip(f"Landlock of this kernel is version {landlock.version()}, which does not hold all of it")
    own = other.parent / "own"
    done = confined(own, other, SUDO_UID="")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(" ", 3)[:3] == ["65534", "0", "2"]
    assert "['away', 'beside', 'into', 'linked', 'moved', 'program', 'root']" in done.stdout
    assert "'CapPrm:\\t0000000000000000', 'NoNewPrivs:\\t1', 'Uid:\\t65534\\t65534\\t65534\\t65534'" in done.stdout
    assert done.stdout.rstrip().endswith("0o100600")
    assert (own.stat().st_uid, own.stat().st_mode & 0o777) == (65534, 0o700)
    assert (other / "there").read_text() == "y"


@ONLY_ROOT
def test_a_home_that_is_closed_to_others_is_written_to_and_loaded_from(open_place: Path) -> None:
    """By the user whose it is, though root without its powers cannot enter it; root reads until it is that user."""
    home, shut = open_place / "home", open_place / "shut"
    for folder, user in ((home, 1), (shut, 2)):
        folder.mkdir()
        (folder / "module").write_text("x")
        os.chown(folder, user, user)
        folder.chmod(0o700)
    code = (
        "import sys; from pathlib import Path; from offramp.capture.sources.live.privileges import *\n"
        "user = service_user('daemon'); "
        "home, shut = map(Path, sys.argv[1:]); confine(Confinement(user, (home / 'spool',))); "
        "print((home / 'module').read_text(), (shut / 'module').read_text()); become(user); "
        "(home / 'spool' / 'lock').write_text('x'); print(capabilities()); (shut / 'module').read_text()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(home), str(shut)], cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.stdout == "x x\n0\n", done.stderr
    assert "PermissionError" in done.stderr.splitlines()[-1]
    assert "shut" in done.stderr.splitlines()[-1]


@ONLY_ROOT
def test_who_called_sudo_is_whom_it_becomes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "1")
    found = service_user()
    assert found is not None
    assert (found.uid, found.name) == (1, "daemon")
    assert service_user("nobody") != found
    assert service_user("root") is None
    monkeypatch.setenv("SUDO_UID", "0")
    assert service_user() is None
    for wrong in ("no such user", "4000000000", "-1", "9" * 30):
        with pytest.raises(ConfigError, match="no such user"):
            service_user(wrong)


@ONLY_ROOT
def test_a_folder_that_the_user_could_not_write_to_is_told_before_anything_is_taken(other: Path) -> None:
    own = other.parent / "roots"
    own.mkdir(0o755)
    done = confined(own, other, SUDO_UID="")
    assert done.returncode != 0
    assert f"{own}: user nobody" in done.stderr
    assert "--user" in done.stderr


@ONLY_ROOT
def test_root_that_may_become_nobody_else_is_told_what_to_do() -> None:
    """As in a container without those capabilities. Where it is not asked to, it goes on as root without any."""
    code = (
        "import sys; from offramp.capture.sources.live.privileges import *; user = service_user(sys.argv[1]); "
        "confine(Confinement(user)); become(user); print(os.getuid(), capabilities())"
    )
    words = ["setpriv", "--bounding-set=-setuid,-setgid", sys.executable, "-c", code]
    done = subprocess.run([*words, "nobody"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "ConfigError: root cannot become user nobody here" in done.stderr
    assert "with --user root" in done.stderr.splitlines()[-1]
    for asked in ("", "root"):
        done = subprocess.run([*words, asked], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        assert done.stdout == "0 0\n"
        assert "stays root, without any capability" in done.stderr


def test_who_is_not_root_stays_who_he_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert service_user() is None
    with pytest.raises(ConfigError, match="only root"):
        service_user("nobody")


@ONLY_ROOT
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
@pytest.mark.parametrize("told", [MEND, (ROOT / "docs/tap.md").read_text(encoding="utf-8")], ids=["error", "page"])
def test_the_command_that_is_told_leaves_the_one_right_and_no_group_of_root(told: str) -> None:
    """What it shows is run for nobody: without --regid the files that are written were of root's group."""
    options = re.findall(r"--(?:reuid|regid|init-groups|inh-caps|ambient-caps)\S*(?: -g\))?", told)
    assert len(options) == 5
    command = " ".join(["setpriv", *options, "cat", "/proc/self/status"]).replace("(id -g)", "(id -g nobody)")
    done = subprocess.run(
        ["bash", "-c", command], env={**os.environ, "USER": "nobody"}, capture_output=True, text=True, check=True
    )
    found = dict(line.split(":\t", 1) for line in done.stdout.splitlines() if ":\t" in line)
    assert set(found["Uid"].split()) == {"65534"}
    assert "0" not in {*found["Gid"].split(), *found["Groups"].split()}
    assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == 1 << 13  # CAP_NET_RAW
