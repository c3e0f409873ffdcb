"""What a disk does to refinement as a service."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from offramp.decision.site import default_site
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.refinement.challenger import InProcess
from offramp.stream.refine.refiners import Refiners
from offramp.stream.refine.service import RefineService
from offramp.stream.topics.model_message import encode_model
from tests.support.disks import SmallFiles


def test_a_model_that_the_disk_does_not_take_is_left_aside(
    tmp_path: Path, small_files: SmallFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    site, artifact = default_site(), load_artifact(DEFAULT_ARTIFACT)
    link = site.links[0].name
    refiners = Refiners(artifact, tmp_path, site.name, wait=True, trainer=InProcess())
    service = RefineService(site, artifact, DEFAULT_ARTIFACT, refiners, SimpleNamespace(), {})  # type: ignore[arg-type]
    service._of(link)
    key, value, headers = encode_model(site.name, link, DEFAULT_ARTIFACT, artifact.sha, artifact.sha, "federated", 0)
    record = SimpleNamespace(topic="models", partition=0, offset=7, key=key, value=value, headers=headers, timestamp=0)
    small_files.allow(1_000)
    service.note(record)
    small_files.allow(None)
    assert "cannot be written: File too large" in capsys.readouterr().err
    service.note(record)
    assert "taken up" in capsys.readouterr().err
