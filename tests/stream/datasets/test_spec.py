"""What a specification says wrong is told with key, what was expected and what was found; all keys are documented."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from offramp.errors import ConfigError
from offramp.stream.datasets.build import origins_of, whole_parts, without_copies
from offramp.stream.datasets.spec import Capacity, DatasetSpec, Source, Split, load_spec
from tests.support.places import ROOT

GOOD = """
[[sources]]
name = "s"
type = "captures"
files = ["a.pcap"]
part = "train"

[[sources.capacity]]
loads = [0.9]
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('part = "train"', 'part = "all"', r"source 's': part: .*'train'.*found 'all'"),
        ('part = "train"', "", "expected either part or split"),
        ('part = "train"', 'part = "train"\nnetworks = ["x"]', r"source 's': networks, entry 1: 'x' is a name"),
        ('part = "train"', 'split = { by = "time", train = 0.9 }', "must sum to 1"),
        ('name = "s"', 'name = "s@1"', "without @, # and :"),
        ('name = "s"', "", r"source, entry 1: name: is missing \(docs/data\.md\)"),
        ('"captures"', '"synthetic"', "a synthetic source has count and seconds"),
        ("loads = [0.9]", "", "expected one of rate, loads, trace"),
        ("loads = [0.9]", 'loads = [0.9]\nrate = "1 Mbit/s"', "give rate alone"),
        ("loads = [0.9]", 'rate = "1 Mfoo"', r"source 's': capacity, entry 1: rate: expected bits per second"),
        ("loads = [0.9]", "load = [0.9]", r"load: there is no such key; did you mean loads\? \(docs/data\.md\)"),
        ("[[sources]]", "horizons_ms = [55]\n[[sources]]", "horizons_ms: .*multiples of 10 ms"),
        ("[[sources]]", "[[sources]", "is no TOML"),
    ],
)
def test_errors_name_key_expected_and_found(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError, match=said):
        load_spec(path)


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(GOOD + GOOD)
    with pytest.raises(ConfigError, match="the same name"):
        load_spec(path)


@pytest.mark.parametrize("model", [DatasetSpec, Source, Split, Capacity])
def test_every_key_is_documented(model: type[DatasetSpec]) -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for key, field in model.model_fields.items():
        shown = "required" if field.is_required() else json.dumps(field.get_default())
        row = f"| `{key}` | {shown} | {field.description} |"
        assert row in page, f"docs/data.md lacks this row: {row}"


def test_the_examples_are_valid() -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    example = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert example is not None
    DatasetSpec.model_validate(tomllib.loads(example[1]))
    load_spec(ROOT / "samples" / "evaluation.toml")


SHARED = ROOT.parent / "shared"


@pytest.mark.skipif(not (SHARED / "pcaps").is_dir(), reason="needs the public captures in ../shared")
def test_no_two_captures_of_the_evaluation_share_a_hundredth_of_their_packets() -> None:
    spec = load_spec(ROOT / "samples" / "evaluation.toml")
    origins = [o for s in spec.sources if s.type == "captures" for o in origins_of(s, ROOT / "samples", SHARED)]
    assert len(origins) > 25
    kept, left_out = without_copies(origins, 0.01, lambda: None)
    assert left_out == []
    parts = whole_parts(spec, kept)
    whole = [o for o in kept if o.source.split is None or o.source.split.by == "origin"]
    assert set(parts) == {origin.name for origin in whole}
    for kind in {source.kind or source.name for source in spec.sources if source.part}:
        own = {source.part for source in spec.sources if source.kind == kind and source.part}
        assert {"train", "test"} <= own, f"{kind} is in training and in test"
