"""Asking for metrics as Prometheus does."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

Scraped = dict[tuple[str, ...], float]
"""Values by name and labels' values in the order of the labels' names."""


def scrape(url: str) -> Scraped:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - of ours
        assert answer.headers["Content-Type"].startswith("text/plain")
        text = answer.read().decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(scraped: Scraped, name: str) -> float:
    """The sum over all labels."""
    found = [value for key, value in scraped.items() if key[0] == name]
    assert found, f"{name} is not there"
    return sum(found)


def url_in(told: Callable[[], str] | Path, seconds: float = 90.0) -> str:
    """Wait until a program has said where its metrics are."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        text = told.read_text() if isinstance(told, Path) else told()
        found = re.search(r"metrics on (http://\S+)", text)
        if found:
            return found[1]
        time.sleep(0.05)
    raise AssertionError("nothing was said about metrics")


def scrape_until(url: str, condition: Callable[[Scraped], bool], seconds: float = 90.0) -> Scraped:
    deadline = time.monotonic() + seconds
    while True:
        scraped = scrape(url)
        if condition(scraped):
            return scraped
        assert time.monotonic() < deadline, scraped
        time.sleep(0.2)
