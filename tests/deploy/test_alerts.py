"""The alert rules: promtool takes them, each is told where it must be, and all that they name is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from offramp.stream.metrics.table import TABLE
from tests.support.places import ROOT

FOLDER = ROOT / "deploy/prometheus"
PROMTOOL = shutil.which("promtool")
RULES, TESTS = ((FOLDER / name).read_text(encoding="utf-8") for name in ("alerts.yml", "alerts_test.yml"))
ALERTS = re.findall(r"- alert: (\w+)", RULES)


def promtool(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *words], cwd=folder, capture_output=True, text=True, check=False)


needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool (Debian: prometheus)")


@needs_promtool
@pytest.mark.parametrize(
    "words", ["check rules alerts.yml", "check config prometheus.yml", "test rules alerts_test.yml"]
)
def test_promtool_takes_them(words: str) -> None:
    done = promtool(FOLDER, *words.split())
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("alert", ALERTS)
def test_a_rule_that_is_never_told_fails_its_test(alert: str, tmp_path: Path) -> None:
    """So what the tests say of a rule depends on that rule."""
    begin = RULES.index(f"- alert: {alert}\n")
    expression = re.compile(r"expr: (\|\n(?: {10}.*\n)+|.*\n)")
    changed = RULES[:begin] + expression.sub("expr: vector(1) > 2\n", RULES[begin:], count=1)
    (tmp_path / "alerts.yml").write_text(changed)
    (tmp_path / "alerts_test.yml").write_text(TESTS)
    done = promtool(tmp_path, "test", "rules", "alerts_test.yml")
    assert done.returncode == 1
    assert set(re.findall(r"alertname: ?(\w+),", done.stdout + done.stderr)) == {alert}


def test_each_rule_is_told_once_and_held_back_once() -> None:
    held = set(re.findall(r"alertname: (\w+), eval_time: \w+, exp_alerts: \[\]", TESTS))
    told = set(re.findall(r"alertname: (\w+)\n\s+eval_time", TESTS))
    assert held == told == set(ALERTS)


def test_what_rules_ask_for_is_there_and_documented() -> None:
    known = {metric.name: set(metric.labels) for metric in TABLE}
    for name in set(re.findall(r"offramp_[a-z_]+", RULES)):
        assert name in known, name
    for labels, name in re.findall(r"sum by \(([\w, ]+)\) \((?:rate|increase)\((offramp_\w+)", RULES):
        assert set(labels.split(", ")) <= known[name] | {"instance"}, name
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(Offramp\w+)` \|", page, re.MULTILINE) == ALERTS
    jobs = re.findall(r"job_name: (\S+)", (FOLDER / "prometheus.yml").read_text())
    assert set(re.findall(r'job="([\w-]+)"', RULES)) <= set(jobs)
    assert all(job.startswith("offramp-") for job in jobs)
