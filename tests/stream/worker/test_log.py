"""What a worker tells: once that Kafka is away, once that it is back; of the libraries' storm nothing."""

from __future__ import annotations

import io
import logging
import threading
from dataclasses import dataclass

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError

from offramp.reach import Reach
from offramp.stream.worker.ending import Ending
from offramp.stream.worker.log import OneLine, Selection, tell_retry
from offramp.stream.worker.other_sites import OTHERS_S, OtherSites


@dataclass
class Taken:
    messages: int = 0
    other_site: int = 0
    last_other_site: str = "Lab"


def test_reach_tells_once_when_kafka_goes_and_once_when_it_is_back() -> None:
    told: list[str] = []
    reach = Reach("worker", told.append, away_s=0.0)
    for _ in range(3):
        reach.missed("no answer")
    assert (reach.connected, told) == (False, ["worker: no answer; trying again until it does"])
    reach.answered()
    reach.answered()
    assert reach.connected
    assert [text.partition(",")[0] for text in told[1:]] == ["worker: Kafka answers again"]
    patient = Reach("worker", told.append, away_s=3600.0)
    patient.missed("a slow answer")
    assert (patient.connected, len(told)) == (True, 2)
    assert patient.silent_s >= 0


def test_of_the_libraries_only_what_nobody_else_tells_is_told() -> None:
    out, selection = io.StringIO(), Selection()
    handler = logging.StreamHandler(out)
    handler.setFormatter(OneLine("%(levelname)s %(name)s: %(message)s"))
    handler.addFilter(selection)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        foreign, own = logging.getLogger("aiokafka.consumer.fetcher"), logging.getLogger("offramp.worker")
        foreign.error("Unable connect to node with id %s", 1)
        for error in (KafkaConnectionError("gone"), OSError(111, "refused"), TimeoutError()):
            foreign.error("Failed fetch messages", exc_info=error)
        for _ in range(3):
            tell_retry("sending to decisions", KafkaConnectionError("gone"))
            tell_retry("sending to decisions", TopicAuthorizationFailedError("decisions"))
        own.warning("link %s: up to date", "a")
        own.warning("link %s: up to date", "a")
        try:
            raise KeyError("a\nb")
        except KeyError:
            foreign.exception("Unexpected error in a coroutine")
        selection.ending = True
        foreign.error("Task was destroyed", exc_info=KeyError("x"))
    finally:
        root.removeHandler(handler)
    told = out.getvalue().splitlines()
    assert len(told) == 4, told
    assert "sending to decisions" in told[0]
    assert told[0].endswith("trying again")
    assert "KeyError" in told[3]
    assert "test_log.py:" in told[3]


def test_only_others_messages_are_told_once_until_one_of_ours_comes() -> None:
    sites, taken = OtherSites("lab"), Taken()
    assert sites.look(0, taken) == ""
    assert sites.look(100 * OTHERS_S, taken) == ""  # nothing comes at all
    taken = Taken(messages=3, other_site=3)
    assert sites.look(1_000 * OTHERS_S, taken) == ""
    told = sites.look(1_001 * OTHERS_S, Taken(messages=9, other_site=9))
    assert told.startswith("for 30 s only messages of other sites came, 9 of them, the last of site 'Lab'")
    assert "'lab'" in told
    assert sites.look(1_002 * OTHERS_S, Taken(messages=10, other_site=10)) == ""
    mixed = Taken(messages=12, other_site=11)
    assert sites.look(1_003 * OTHERS_S, mixed) == ""
    assert sites.look(2_000 * OTHERS_S, mixed) == ""  # one of ours came, none of others since
    sites.look(2_001 * OTHERS_S, Taken(messages=13, other_site=12))
    assert sites.look(2_002 * OTHERS_S, Taken(messages=13, other_site=12)) != ""


def test_the_account_is_told_once_whoever_ends_first(capsys: pytest.CaptureFixture[str]) -> None:
    hook = threading.excepthook
    try:
        ending = Ending(lambda: ["ledger", "  messages 3"], lambda: "", lambda: None)
        ending.report()
        ending.report()
    finally:
        threading.excepthook = hook
    assert capsys.readouterr().err == "ledger\n  messages 3\n"


def test_a_standard_error_that_is_gone_keeps_nobody_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def write(self, _: str) -> int:
            raise BrokenPipeError

        flush = write

    left: list[int] = []
    monkeypatch.setattr("sys.stderr", Gone())
    monkeypatch.setattr("os._exit", left.append)
    Ending(lambda: ["ledger"], lambda: "stands still", lambda: None).leave()
    Reach("worker", away_s=0.0).missed("no answer")
    assert left == [1]
