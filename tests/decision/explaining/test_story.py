"""A command in sentences: of every action, phase and mode, with and without what the optimiser adds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from offramp.decision.command import SCHEMA_FILE, validate
from offramp.decision.explaining.known_commands import Found
from offramp.decision.explaining.story import BACK, LEFT, STAYS, headline, story
from offramp.decision.explaining.subject import subject_of
from offramp.errors import InputError
from tests.support.commands import changed, example, moved

START_NS = 1_700_000_000_070_000_000
STEP_NS = 1_000_000_000
FLOW = {"eth_type": 2048, "ip_proto": 17, "ipv4_src": "10.0.0.2", "ipv4_dst": "10.1.0.2", "udp_src": 9, "udp_dst": 53}
OTHER = example()["action"]["flows"][0]
TOLD = {
    "directions": {
        "up": {"load_bps": 9_000_000, "capacity_bps": 8_000_000, "queue_ms": 60.0},
        "down": {"load_bps": 100_000, "capacity_bps": 8_000_000, "queue_ms": 0.0},
    },
    "moved": [
        {"match": OTHER, "rate_bps": 3_000_000, "from": "wan", "to": "fast", "saved_ms": 8.5, "why": "saves delay"}
    ],
    "candidates": [],
    "price_ms": 3.09,
    "network": "supposed",
}  # fmt: skip


def told(command: dict[str, Any], *loop: dict[str, Any]) -> dict[str, str]:
    """Return what is told of a command, by title."""
    validate(command)
    found = Found(command, tuple(sorted([command, *loop], key=lambda each: int(each["sequence"]))))
    return {section.title: "\n".join(section.lines) for section in story(found)}


def with_reason(body: dict[str, Any], **members: Any) -> dict[str, Any]:
    return changed(body, reason=body["reason"] | members)


def test_an_onset_tells_what_until_when_and_why() -> None:
    body = example()
    sections = told(body)
    assert list(sections) == ["What", "Why", "Forecast", "Data", "Loop"]
    assert "1 flow is to go over path fast:\n  TCP 10.0.0.1:40000 > 10.1.0.1:5201" in sections["What"]
    assert "dry_run" in sections["What"]
    assert "until 22:13:21.070 (1 s)" in sections["What"]
    assert body["reason"]["rule"] in sections["Why"]
    assert "8.1 ms" in sections["Why"]
    assert "High 90 %, Medium 0 %, Normal 10 %" in sections["Forecast"]
    assert "31.5 ms with 90 %" in sections["Forecast"]
    assert "decided by that" in sections["Forecast"]
    assert "100 % were decoded" in sections["Data"]
    assert "no later command is among those read: without one it ended at 22:13:21.070" in sections["Loop"]
    found = Found(body, (body,))
    assert headline(found).endswith("onset on link wan at 2023-11-14 22:13:20.070 UTC")


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ({"type": "offload", "device": "10.0.0.9", "from": "wan", "to": "edge"}, "served by edge instead of over wan"),
        ({"type": "mark", "dscp": 1, "flows": [FLOW, OTHER]}, "2 flows get DSCP 1"),
        ({"type": "mark", "dscp": 1, "flows": [FLOW]}, "1 flow gets DSCP 1"),
        ({"type": "limit", "device": "10.0.0.9", "rate_bps": 1e6}, "One device gets at most 1 Mbit/s"),
        ({"type": "reroute", "path": "fast", "flows": [FLOW, OTHER]}, "2 flows are to go over path fast"),
        (
            {"type": "reroute", "path": "fast", "flows": [{**FLOW, "udp_src": port} for port in range(99)]},
            "and 83 more",
        ),
    ],
)
def test_every_action_has_its_sentence(action: dict[str, Any], words: str) -> None:
    body = changed(example(), action=action, mode="enforce")
    sections = told(body)
    assert words in sections["What"]
    assert "Mode enforce" in sections["What"]
    assert told(moved(body, START_NS, sequence=2, phase="update"))["What"] != sections["What"]
    subject = subject_of(body, [body])
    assert subject.device == action.get("device", "")
    assert list(subject.matches) == action.get("flows", [])


def test_an_update_tells_what_goes_back_and_a_clear_what_it_undoes() -> None:
    onset = changed(example(), action={"type": "reroute", "path": "fast", "flows": [FLOW, OTHER]})
    loop = {"loop_id": onset["decision_id"], "rollback": {"type": "clear", "loop_id": onset["decision_id"]}}
    onset |= loop
    fewer = {"type": "reroute", "path": "fast", "flows": [FLOW]}
    same = moved(onset, START_NS + STEP_NS, sequence=2, phase="update")
    again = moved(onset, START_NS + 2 * STEP_NS, sequence=3, phase="update")
    less = moved(onset, START_NS + 3 * STEP_NS, sequence=4, phase="update", action=fewer)
    clear = {"type": "clear", "loop_id": onset["decision_id"]}
    end = moved(onset, START_NS + 4 * STEP_NS, sequence=5, phase="abated", action=clear)
    everything = [onset, same, again, less, end]

    sections = told(less, onset, same, again, end)
    assert "1 flow goes on over path fast:\n  UDP 10.0.0.2:9" in sections["What"]
    assert "1 flow that it moved before goes back:\n  TCP 10.0.0.1:40000" in sections["What"]
    lines = sections["Loop"].splitlines()
    assert lines[0].endswith("5 commands:")
    assert [line.split(": ", 1)[1].partition(";")[0] for line in lines[1:]] == [
        "onset, 2 flows to fast", "2 updates that renew it, the last until 22:13:23.070", "update, 1 flow of 2 back",
        "abated, all goes back",
    ]  # fmt: skip
    assert [line.endswith("<- this one") for line in lines[1:]] == [False, False, True, False]
    assert set(map(str, subject_of(less, everything).matches)) == {str(FLOW), str(OTHER)}

    sections = told(end, onset, same, again, less)
    assert "to be undone:\n  UDP 10.0.0.2:9" in sections["What"]
    assert "TCP" not in sections["What"]
    assert list(subject_of(end, everything).matches) == [FLOW]

    sections = told(end)
    assert "no earlier command of the loop is among those read" in sections["What"]
    assert "4 commands before these are not among those read" in sections["Loop"]
    assert not subject_of(end, [end]).known


def test_what_the_optimiser_adds_is_told() -> None:
    sections = told(with_reason(example(), **TOLD))
    assert "a load of 9 Mbit/s on 8 Mbit/s (112.5 %): 1 Mbit/s more than it carries has to leave" in sections["Why"]
    assert "a queue of 60.0 ms" in sections["Why"]
    assert "Down: a load of 100 kbit/s on 8 Mbit/s (1.2 %)" in sections["Why"]
    assert "supposed network" in sections["Why"]
    assert "had to save more than 3.1 ms of its mean delay" in sections["Why"]
    assert "each further one 0.31 ms" in sections["Why"]
    assert "had 3 Mbit/s and goes from wan to fast: that saves 8.5 ms" in sections["Moved"]
    assert "Nothing else was large enough" in sections["Not moved"]
    assert "as it is" in told(with_reason(example(), **TOLD | {"network": "applied"}))["Why"]


def test_a_device_is_told_of_and_its_clear_is_about_it() -> None:
    device = {"device": "10.0.0.9", "rate_bps": 3e6, "from": "wan", "to": "edge", "saved_ms": 8.5, "why": "saves delay"}
    left = device | {"device": "10.0.0.8", "why": "below price"}
    sections = told(with_reason(example(), moved=[device], candidates=[left]))
    assert "  device 10.0.0.9 had 3 Mbit/s and goes from wan to edge: that saves 8.5 ms" in sections["Moved"]
    assert "  device 10.0.0.8 with 3 Mbit/s: on edge instead of wan it would save" in sections["Not moved"]
    clear = with_reason(example(), moved=[device])
    clear = changed(clear, phase="abated", sequence=2, action={"type": "clear", "loop_id": clear["loop_id"]})
    assert subject_of(clear, [clear]).device == "10.0.0.9"


def test_every_word_of_the_schema_has_its_sentence() -> None:
    words = json.loads(SCHEMA_FILE.read_text())["$defs"]
    assert {*BACK, *STAYS} == set(words["moved"]["properties"]["why"]["enum"])
    for why in words["moved"]["properties"]["why"]["enum"]:
        back = {"match": FLOW, "rate_bps": 0, "from": "fast", "to": "wan", "why": why}
        assert (BACK | STAYS)[why] in told(with_reason(example(), moved=[back]))["Moved"]
    for why in words["candidate"]["properties"]["why"]["enum"]:
        for saved in (2.0, -2.0):
            left = {"match": FLOW, "rate_bps": 5e5, "from": "wan", "to": "fast", "saved_ms": saved, "why": why}
            text = told(with_reason(example(), candidates=[left]))["Not moved"]
            assert "UDP 10.0.0.2:9 > 10.1.0.2:53 with 500 kbit/s" in text
            assert LEFT.get(why, "price" if why == "below price" else "no better there") in text
            assert "2.0 ms" in text


def test_a_policy_that_looks_at_no_forecast_says_so() -> None:
    for version in ("reactive-0123456789ab", "threshold-0123456789ab", "priority-0123456789ab"):
        assert "did not look at that" in told(with_reason(example(), policy_version=version))["Forecast"]
    swayed = told(with_reason(example(), policy_version="optimiser-0123456789ab"))["Forecast"]
    assert "the surer High is foreseen, the less a change has to save" in swayed


def test_a_command_that_somebody_changed_is_told_so() -> None:
    assert "somebody changed it" not in told(example())["What"]
    assert "somebody changed it" in told(example() | {"scope": "link:other"})["What"]


@pytest.mark.parametrize("address", ["", "10.0.0.1) || (tcp", "plc.example", "10.0.0.256"])
def test_what_is_no_address_is_refused(address: str) -> None:
    body = changed(example(), action={"type": "reroute", "path": "fast", "flows": [FLOW | {"ipv4_dst": address}]})
    validate(body)
    with pytest.raises(InputError, match="is no address"):
        subject_of(body, [body])
