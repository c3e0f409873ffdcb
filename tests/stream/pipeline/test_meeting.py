"""Where bins of links meet: nobody is waited for beyond reason, and what comes late is told of and counted."""

from __future__ import annotations

import numpy as np

from offramp.decision.site import Site
from offramp.stream.bins.packets import UDP, Packets, part_of
from offramp.stream.channels import BIN_NS, Counter
from offramp.stream.datasets.synthetic import START_NS, Flow, mark, merged
from offramp.stream.pipeline.meeting import Meeting, link_of
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.pipeline.timeline import LinkTimeline
from offramp.stream.windows.windows import ENDED, Windowed
from tests.support.fake_predictor import FakePredictor
from tests.support.pipelines import learned

PATH = {"name": "c", "capacity": "9 Mbit/s"}
SITE = Site.model_validate({"links": [{"name": name, "capacity": "8 Mbit/s", "paths": [PATH]} for name in "ab"]})


def packets(seconds: float) -> Packets:
    times = np.arange(int(seconds * 1_000)) / 1_000
    return merged([Flow(times, np.full(len(times), 900.0), False, 7, UDP, 6_000, mark(Counter.UDP))])


class Two:
    """Both links of a meeting, fed by hand."""

    def __init__(self) -> None:
        self.meeting, self.lines = Meeting(SITE, SITE.bundles[0]), dict[str, list[LinkTimeline]](a=[], b=[])
        self.links = {
            name: Pipeline(SITE, name, FakePredictor(), learned(), self.meeting, sink=self.lines[name].append)
            for name in "ab"
        }

    def feed(self, link: str, seen: Packets) -> None:
        windows = self.links[link].windows
        rows = windows.rows_of(windows.bins.update(seen))
        self.links[link].decide(Windowed(rows, closed_until=int(seen.time_ns[-1]) // BIN_NS))

    def told(self, link: str) -> int:
        return sum(len(line.time_ns) for line in self.lines[link])


def test_a_link_s_bins_wait_for_the_others_and_no_longer_than_is_said() -> None:
    two, seen = Two(), packets(5)
    two.feed("a", part_of(seen, 0, 2_000))
    assert (two.told("a"), two.meeting.waiting > 190) == (0, True)
    two.feed("b", part_of(seen, 0, 1_500))
    assert two.told("a") == two.told("b") > 140
    assert two.meeting.release(100) == []
    two.feed("a", part_of(seen, 2_000, 3_000))
    assert two.told("a") < 160
    two.meeting.release(100)
    assert two.told("a") > 290, "it is a second and a half behind: nobody waits"
    before = two.told("b")
    two.feed("b", part_of(seen, 1_500, 4_500))
    assert two.told("b") > before
    assert two.links["b"].ledger.behind > 140, "what was decided without it is told of, and counted"
    two.feed("a", part_of(seen, 3_000, 5_000))
    assert two.told("a") < 460, "it is waited for again"


def test_who_has_ended_is_not_waited_for() -> None:
    two, seen = Two(), packets(3)
    two.feed("a", part_of(seen, 0, 1_000))
    two.links["a"].close()
    two.feed("b", seen)
    assert two.told("a") == 100
    assert two.told("b") > 290
    assert two.meeting.seats["a"].reached == ENDED
    assert two.meeting.waiting == 0
    two.links["b"].close()
    assert two.meeting.release(100) == []


def test_scopes_name_their_link() -> None:
    assert [link_of(each) for each in ("link:a/b", "device:a/b/10.0.0.1", "device:x/fd00::1")] == ["a/b", "a/b", "x"]
    assert START_NS % BIN_NS == 0
