"""What is built is whole, takes one name in a user's environment, and decides as the checkout does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.places import ROOT
from tests.support.strangers import stranger

REPLAY = ("replay", str(ROOT / "samples/demo.pcap.zst"), "--site", str(ROOT / "samples/site.toml"), "--format", "jsonl")


def run(words: Sequence[str | Path], cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    return subprocess.run([sys.executable, *words], check=True, capture_output=True, cwd=cwd, env=kept)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("built")
    run(("-m", "hatchling", "build", "-t", "sdist", "-d", out), ROOT)
    (sdist,) = out.glob("*.tar.gz")
    run(("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, sdist), out)
    (wheel,) = out.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's wheel."""
    out = tmp_path_factory.mktemp("client")
    run(("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, ROOT / "deploy/client"), out)
    (wheel,) = out.glob("*.whl")
    return wheel


def tracked(*folders: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", *folders], check=True, capture_output=True, text=True, cwd=ROOT)
    return {name for name in listed.stdout.split() if not (ROOT / name).is_symlink()}


def test_the_wheel_has_one_name_and_every_file_of_the_package(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == {"offramp"}
    stages = tracked("capture", "stream", "inference", "decision")
    assert set(names) == {f"offramp/{name}" for name in stages} | tracked("offramp")
    assert "offramp/py.typed" in names


def test_the_sdist_has_all_that_tests_and_docs_need(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = tracked("deploy", "tests", "bench", "docs", "samples", "Makefile", "requirements.lock", "CHANGELOG.md")
    assert wanted <= names


@pytest.mark.long  # an environment of its own; the client and the whole in one are the short way
def test_beside_a_package_that_owns_inference_it_replays_the_sample_to_the_same_bytes(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    site = tmp_path / "site"
    run(("-m", "pip", "install", "-q", "--no-deps", "--target", site, built[1]), tmp_path)
    (site / "inference").mkdir()
    (site / "inference/__init__.py").write_text("raise ImportError('of another project')\n")
    where = run(
        ("-c", "import offramp.stream.local.replay as found; print(found.__file__)"), tmp_path, PYTHONPATH=str(site)
    )
    assert where.stdout.decode().strip() == str(site / "offramp/stream/local/replay.py")
    shown = run(("-m", "offramp", "--version"), tmp_path, PYTHONPATH=str(site)).stdout
    assert shown.startswith(b"offramp ")
    installed = run(("-m", "offramp", *REPLAY), tmp_path, PYTHONPATH=str(site))
    here = run(("-m", "offramp", *REPLAY), ROOT, PYTHONPATH=str(ROOT))
    assert len(here.stdout.splitlines()) == 11
    assert installed.stdout == here.stdout
    typed = "from offramp.decision.client import DecisionClient\n\n"
    typed += "def told(client: DecisionClient) -> None:\n    reveal_type(client.hops)\n"
    (tmp_path / "user.py").write_text(typed)
    told = run(
        ("-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir", tmp_path / "mypy", "user.py"),
        tmp_path,
        MYPYPATH=str(site),
    )
    assert b"Any" not in told.stdout.splitlines()[0]


BOTH = """
import sys
import offramp_client
heavy = ("numpy", "numba", "llvmlite", "pyarrow", "keras", "pydantic", "offramp")
print([name for name in heavy if name in sys.modules])
import offramp.decision.client as whole
from offramp_client import DecisionClient, KafkaAccessError, validate
print(offramp_client.__file__, whole.__file__, DecisionClient is whole.DecisionClient)
try:
    validate({"decision_id": "one"})
except offramp_client.ContractError as error:
    print(error)
try:
    DecisionClient("127.0.0.1:1", controller="mine").open()
except KafkaAccessError as error:
    print(error)
"""


def test_the_client_and_the_whole_live_in_one_environment(
    built: tuple[Path, Path], client: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    run(("-m", "pip", "install", "-q", "--no-deps", "--target", site, built[1], client), tmp_path)
    contents = [set(zipfile.ZipFile(each).namelist()) for each in (built[1], client)]
    assert {name.split("/")[0] for name in contents[1] if ".dist-info/" not in name} == {"offramp_client"}
    assert not contents[0] & contents[1]
    told = run(("-c", BOTH), tmp_path, PYTHONPATH=str(site)).stdout.decode().splitlines()
    assert told[:2] == ["[]", f"{site}/offramp_client/__init__.py {site}/offramp/decision/client.py False"]
    assert "one: decision_id: " in told[2] or "one: (body): " in told[2]
    assert "127.0.0.1:1" in told[3]
    typed = "from offramp_client import DecisionClient\n\n"
    typed += "def told(client: DecisionClient) -> None:\n    reveal_type(client.hops)\n"
    (tmp_path / "user.py").write_text(typed)
    words = ("-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir", tmp_path / "mypy", "user.py")
    assert b"Any" not in run(words, tmp_path, MYPYPATH=str(site)).stdout.splitlines()[0]


def test_the_client_brings_one_library_and_its_version_is_ours(client: Path) -> None:
    with zipfile.ZipFile(client) as archive:
        (about,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("METADATA"))
    needed = [line for line in about.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert [line.split()[1].split("<")[0].split(">")[0] for line in needed] == ["crc32c", "kafka-python"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"Version: {version}\n" in about


# with kernels


def kernel_wheel(kernels: Path, out: Path) -> Path:
    words = ("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, ROOT)
    run(words, out, OFFRAMP_KERNELS=str(kernels))
    (wheel,) = out.glob("*.whl")
    return wheel


def test_a_wheel_takes_kernels_and_says_for_which_python_they_are(built: tuple[Path, Path], tmp_path: Path) -> None:
    kernels, out = tmp_path / "kernels", tmp_path / "out"
    (kernels / "kernels-one-0123").mkdir(parents=True)
    out.mkdir()
    (kernels / "kernels-one-0123/one.kernel").write_bytes(b"code")
    (kernels / "set.json").write_text(json.dumps({"processor": "x86-64-v3", "python": "cpython-312"}))
    wheel = kernel_wheel(kernels, out)
    assert wheel.name.endswith("-cp312-cp312-manylinux_2_28_x86_64.whl")
    with zipfile.ZipFile(wheel) as archive, zipfile.ZipFile(built[1]) as plain:
        added = set(archive.namelist()) - set(plain.namelist())
        assert b"Root-Is-Purelib: false" in archive.read(next(n for n in archive.namelist() if n.endswith("/WHEEL")))
    assert added == {f"offramp/kernel_sets/{name}" for name in ("kernels-one-0123/one.kernel", "set.json")}
    (kernels / "set.json").write_text(json.dumps({"processor": "native", "python": "cpython-312"}))
    with pytest.raises(subprocess.CalledProcessError) as refused:
        kernel_wheel(kernels, out)
    assert b"kernels for native and cpython-312; expected x86-64-v3" in refused.value.stdout + refused.value.stderr


@pytest.mark.long
def test_with_the_wheel_s_kernels_a_stranger_with_nothing_compiles_nothing(tmp_path: Path) -> None:
    """Another user, no home, a folder that may only be read: first use, the same bytes, and no compiler."""
    kernels, out, site = tmp_path / "kernels", tmp_path / "out", tmp_path / "site"
    run(("-m", "offramp", "kernels", "--processor", "x86-64-v3", "--out", kernels), ROOT, PYTHONPATH=str(ROOT))
    out.mkdir()
    wheel = kernel_wheel(kernels, out)
    run(("-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", site, wheel), tmp_path)
    for path in (site, *site.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    nobody = {"PYTHONPATH": str(site), "HOME": "/proc/nowhere", "XDG_CACHE_HOME": "", "PYTHONDONTWRITEBYTECODE": "1"}
    env = os.environ | nobody | {"TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    words = [(*REPLAY, "--out", "commands"), ("features", REPLAY[1], "-o", "out.csv"), ("doctor",)]
    (tmp_path / "work").mkdir()
    told = [
        subprocess.run(
            [*stranger(), sys.executable, "-m", "offramp", *each], capture_output=True, text=True, check=True,
            cwd=tmp_path / "work", env=env,
        )
        for each in words
    ]  # fmt: skip
    for each in told:
        assert "compil" not in each.stderr
    assert not list((tmp_path / "tmp").rglob("*.kernel"))
    assert "they came with offramp" in told[2].stdout
    here = run(("-m", "offramp", *REPLAY), ROOT, PYTHONPATH=str(ROOT)).stdout
    assert (tmp_path / "work/commands").read_bytes() == here
    assert here.count(b"\n") == 11
