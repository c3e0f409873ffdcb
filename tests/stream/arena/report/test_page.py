"""The page of a contest: whole, safe whatever its names are, and readable at the width of a desk and of a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from offramp.stream.arena.contest import Contest
from offramp.stream.arena.episode import BOUND, play
from offramp.stream.arena.report.charts import changes
from offramp.stream.arena.report.page import page
from offramp.stream.arena.report.svg import Axis, nice, thinned
from offramp.stream.arena.scenario import Scenario, TrafficSource, load_scenario
from tests.support.browser import Browser, chromium
from tests.support.places import ROOT

PROGRAM = chromium()
POLICIES = ("none", "static", "threshold", BOUND)
NASTY = """</title><script>throw 1</script><img src=x onerror="throw 2">'&amp;"""
RUN = {"command": f"offramp arena {NASTY}"}
TAGS = """html head body nav table thead tbody tr th td div figure figcaption svg text line circle polyline polygon p b
    ul li h1 h2 h3 dl dt dd code a details summary meta style title"""


def scenario(**changed: object) -> Scenario:
    found = load_scenario(ROOT / "samples/arena/jobs.toml")
    return found.model_copy(update={"seconds": 8.0, **changed})


@pytest.fixture(scope="module")
def html() -> str:
    traffic = (TrafficSource.model_validate({"model": "jobs", "count": 2, "class": NASTY}), *scenario().traffic)
    first = Contest(scenario(name=NASTY, about=NASTY, traffic=traffic), POLICIES, 2, 3)
    return page([first, Contest(scenario(), ("none",), 1)], RUN)


class Elements(HTMLParser):
    """What a browser would make of a page: elements and their attributes, and whether each that is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_names_are_words_and_nothing_is_loaded(html: str) -> None:
    elements = Elements()
    elements.feed(html)
    assert elements.open == []
    assert {tag for tag, _ in elements.found} <= set(TAGS.split())
    for _, attributes in elements.found:
        assert not any(name.startswith("on") for name in attributes)
        assert not {"src", "style"} & attributes.keys()
        assert str(attributes.get("href", "#")).startswith("#")
    assert html.count("&lt;script&gt;throw 1") >= 4  # name, sentence, class, command


def test_every_policy_class_and_trial_is_on_it(html: str) -> None:
    text = re.sub(r"<[^>]*>", " ", html)
    for policy in POLICIES:
        assert text.count(policy) > 8, policy
    assert "All 10 trials" in text
    assert "sensors" in text
    for bad in ("nan", "None", "inf ", "{'"):
        assert bad not in text, bad
    numbers = re.findall(r'(?:x|y|cx|cy|x1|y1|x2|y2)="(-?[\d.]+)"', html)
    assert len(numbers) > 500
    assert all(-1 <= float(each) <= 1_000 for each in numbers), "what is drawn is in the picture"


def test_the_same_contest_is_the_same_page() -> None:
    pages = [page([Contest(scenario(), ("none", "threshold"), 1)], RUN) for _ in range(2)]
    assert pages[0] == pages[1]
    assert "fewer than 30" in pages[0]


def test_changes_of_place_are_what_the_executor_counted() -> None:
    found = play(scenario(), 1, "threshold")
    _, away = changes(found)
    assert 0 < int(away.sum()) <= found.counts.moved
    assert 0 < int((~away).sum()) <= found.counts.returned


def test_what_is_thinned_keeps_its_peaks() -> None:
    values = np.zeros((1_000, 2), np.float32)
    values[333, 1], values[999, 0] = 7.0, 9.0
    found = thinned(values, 60)
    assert found.shape == (60, 2)
    assert found.max(0).tolist() == [9.0, 7.0]
    assert thinned(values, 2_000) is values


@pytest.mark.parametrize("axis", [Axis(0, 0.004, 0, 100), Axis(0, 7_300, 0, 100), Axis(0.01, 99, 0, 1, log=True),
                                  Axis(3, 4, 0, 1, log=True), Axis(0.4, 6e5, 0, 1, log=True)])  # fmt: skip
def test_an_axis_has_a_few_round_numbers(axis: Axis) -> None:
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 16
    assert all(axis.low <= tick <= axis.high * 1.001 for tick in ticks)
    assert axis.at(axis.low - 1) == axis.begin
    assert axis.at(axis.high) == pytest.approx(axis.end)


def test_nice_numbers() -> None:
    assert [nice(value) for value in (0.011, 1.0, 1.1, 3, 7, 80)] == pytest.approx([0.02, 1, 2, 5, 10, 100])


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if PROGRAM is None:
        pytest.skip("beyond CI: no chromium to show a page (Debian: chromium)")
    with Browser(PROGRAM, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("width", [1280, 400])
def test_it_fits_a_desk_and_a_phone(width: int, html: str, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(html)
    browser.complaints.clear()
    browser.asked.clear()
    browser.show(tmp_path / "report.html", width)
    assert browser.run("window.innerWidth") == width
    assert browser.run("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    assert browser.run("document.querySelectorAll('svg').length") == 7
    assert min(browser.run("[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().width)")) > 600
    links = browser.run("[...document.querySelectorAll('nav a')].map(a => !!document.querySelector(a.hash))")
    assert links == [True] * 4
    assert browser.complaints == []
    assert all(address.startswith("file:") for address in browser.asked)
