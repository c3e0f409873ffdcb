"""The pages of docs/ tell what the code does: every key of site.toml, every field of the command contract."""

from __future__ import annotations

import json
import re
import tomllib

import pytest

from offramp.decision.command import SCHEMA_FILE, validate
from offramp.decision.rules import OptimiserRules, PriorityRules, StaticRules, ThresholdRules
from offramp.decision.site import AltPath, Device, Limits, Link, Node, Rules, Site
from offramp.decision.tables import Strict
from tests.support.doc_rows import rows
from tests.support.places import ROOT

DOCS = ROOT / "docs"
TABLES: dict[str, type[Strict]] = {
    "top": Site,
    "[[links]]": Link,
    "[[links.paths]]": AltPath,
    "[[links.nodes]]": Node,
    "[[links.known]]": Device,
    "[policy]": Rules,
    "[policy.threshold]": ThresholdRules,
    "[policy.optimiser]": OptimiserRules,
    "[policy.priority]": PriorityRules,
    "[policy.static]": StaticRules,
    "[limits]": Limits,
}


@pytest.mark.parametrize("title", TABLES)
def test_every_key_of_the_site_is_documented(title: str) -> None:
    page = (DOCS / "site.md").read_text(encoding="utf-8")
    for row in rows(TABLES[title]):
        assert row in page, f"docs/site.md lacks this row of {title}: {row}"


def test_the_example_site_is_valid() -> None:
    page = (DOCS / "site.md").read_text(encoding="utf-8")
    example = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert example is not None
    Site.model_validate(tomllib.loads(example[1]))


def test_every_field_of_the_contract_is_documented_and_its_example_valid() -> None:
    page = (DOCS / "decisions-contract.md").read_text(encoding="utf-8")
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    reason = schema["properties"]["reason"]["properties"]
    for name in [*schema["properties"], *reason]:
        assert f"| `{name}` |" in page
    examples = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert examples
    for example in examples:
        validate(json.loads(example))
