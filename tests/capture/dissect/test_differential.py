"""The fast path equals tshark on the repo's samples and on 200 real captures, but for known differences."""

from __future__ import annotations

import shutil

import pytest

from tests.differential import Report, compare, print_report, sample
from tests.support.places import ROOT, SHARED

PCAPS = SHARED / "pcaps"

pytestmark = pytest.mark.skipif(
    shutil.which("tshark") is None, reason="tshark is not installed: nothing to compare with"
)


def assert_equal(report: Report) -> None:
    print_report(report, examples=1)
    assert report.examples == {}


@pytest.mark.long
def test_columns_of_200_captures(capsys: pytest.CaptureFixture[str]) -> None:
    if not PCAPS.is_dir():
        pytest.skip("no ../shared/pcaps: the comparison on 200 real captures is left out")
    with capsys.disabled():
        report = compare(sample(PCAPS, 230, largest=60_000))
        assert_equal(report)
    assert report.files >= 200
    assert report.rows >= 1000
    assert report.known.total() < 0.02 * report.compared.total()


@pytest.mark.parametrize("name", ["demo.pcap.zst"])
def test_columns_of_the_samples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    sampled = ROOT / "samples" / name
    if not sampled.exists():
        pytest.skip(f"samples/{name} is not there: its comparison is left out")
    with capsys.disabled():
        assert_equal(compare([sampled]))
