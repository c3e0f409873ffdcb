"""The report of `offramp evaluate` in a real browser, at the width of a desk and of a phone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from offramp.inference.evaluation.tables import TABLE_2
from tests.support.browser import Browser, chromium
from tests.support.made_datasets import made_dataset
from tests.support.places import ROOT

PROGRAM = chromium()
MODELS = ("hybrid", "svm", "ewma", "persistence")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="beyond CI: no chromium to show a page (Debian: chromium)")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    made_dataset(folder / "data", links=10, seconds=14)
    words = ["evaluate", str(folder / "data"), "-o", str(folder / "out"), "--quick", "--no-curves"]
    for name in MODELS:
        words += ["--models", name]
    environment = {**os.environ, "TZ": "UTC", "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "offramp", *words], check=True, capture_output=True, cwd=ROOT, env=environment
    )
    return folder / "out"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert PROGRAM is not None
    with Browser(PROGRAM, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_whole_and_fits(width: int, report: Path, browser: Browser) -> None:
    browser.complaints.clear()
    browser.asked.clear()
    browser.show(report / "report.html", width)
    assert browser.run("window.innerWidth") == width
    assert browser.run("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    images = browser.run("[...document.images].map(i => [i.complete, i.naturalWidth, i.alt.length])")
    assert len(images) == len(list((report / "figures").glob("*.png")))
    assert all(whole and pixels > 300 and described > 10 for whole, pixels, described in images)
    links = browser.run("[...document.querySelectorAll('nav a')].map(a => !!document.querySelector(a.hash))")
    assert len(links) > 8
    assert all(links)
    assert browser.complaints == []
    assert all(address.startswith(("file:", "data:")) for address in browser.asked)
    sides = "[...document.querySelectorAll('p,h1,h2,dl,nav,figcaption')].map(e => e.getBoundingClientRect().right)"
    assert max(browser.run(sides)) <= width


def test_tables_have_every_model_and_nothing_that_is_no_number(report: Path, browser: Browser) -> None:
    browser.show(report / "report.html", 1280)
    heads = browser.run("[...document.querySelectorAll('#classes ~ .wrap table')[0].querySelectorAll('th')]"
                        ".map(c => c.innerText)")  # fmt: skip
    assert heads == ["model", *(label for _, label in TABLE_2)]
    names = browser.run("[...document.querySelectorAll('#classes ~ .wrap table')[0].querySelectorAll('tbody tr')]"
                        ".map(r => r.cells[0].innerText)")  # fmt: skip
    results = json.loads((report / "results.json").read_text())
    assert names == [model["title"] for model in results["models"].values()]
    ragged = browser.run(
        "[...document.querySelectorAll('table')].filter(t => new Set([...t.tBodies[0].rows,"
        "[...t.tHead.rows].pop()].map(r => r.cells.length)).size > 1).length"
    )
    assert ragged == 0
    text = browser.run("document.body.innerText")
    for bad in ("nan", "None", "undefined", "{'"):
        assert bad not in text, bad


def test_the_browser_sees_what_is_wrong(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(
        "<body><img src='missing.png'><p style='width:2000px'>x</p><script>console.error('told'); throw 1</script>"
    )
    browser.complaints.clear()
    browser.show(tmp_path / "bad.html", 390)
    assert browser.run("document.documentElement.scrollWidth") > 390
    assert browser.run("document.images[0].naturalWidth") == 0
    assert len(browser.complaints) >= 3
