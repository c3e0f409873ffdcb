"""`offramp replay --refine`: challengers in a process of their own, events in the folder, the same commands twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from tests.support.places import ROOT


def replayed(folder: Path, *more: str) -> tuple[list[dict[str, object]], str]:
    command = [
        sys.executable, "-c", "from offramp.cli.commands import main; main()", "replay", "samples/demo.pcap.zst",
        "--site", "samples/site.toml", "--format", "jsonl", "--out", str(folder / "commands.jsonl"), *more,
    ]  # fmt: skip
    environment = {**os.environ, "TZ": "UTC"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    lines = (folder / "commands.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], done.stderr


@pytest.mark.long
def test_a_replay_tries_challengers_and_names_the_model_in_every_command(tmp_path: Path) -> None:
    commands, told = replayed(tmp_path, "--refine", str(tmp_path / "refined"), "--refine-every", "60")
    events = [json.loads(line) for line in (tmp_path / "refined" / "uplink" / "events.jsonl").read_text().splitlines()]
    kinds = [event["type"].split(".")[2] for event in events]
    assert "refinement, uplink" in told
    assert {"swapped", "refused"} & set(kinds)
    served = {load_artifact(DEFAULT_ARTIFACT).sha}
    served |= {event["data"]["to"] for event in events if event["type"] == "offramp.model.swapped.v1"}
    assert commands
    assert {command["reason"]["model_sha"] for command in commands} <= served  # type: ignore[index]


@pytest.mark.parametrize("backend", ["onnx"])
def test_another_backend_serves_a_replay(backend: str, tmp_path: Path) -> None:
    compiled, _ = replayed(tmp_path)
    found, _ = replayed(tmp_path, "--backend", backend)
    assert [(each["action"], each["scope"]) for each in found] == [(each["action"], each["scope"]) for each in compiled]


def test_refinement_by_another_backend_is_refused(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        replayed(tmp_path, "--backend", "onnx", "--refine", str(tmp_path / "x"))
    assert caught.value.returncode == 2
    assert "--refine" in caught.value.stderr
