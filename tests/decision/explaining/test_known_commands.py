"""Commands are found by the beginning of their id, or of their loop's; what is none is refused."""

from __future__ import annotations

import json

import pytest

from offramp.decision.explaining.known_commands import KnownCommands
from offramp.errors import ContractError, InputError
from tests.support.commands import as_bytes, changed, example, moved

ONSET = example()
UPDATE = moved(ONSET, 1_700_000_001_000_000_000, sequence=2, phase="update")
OTHER = changed(ONSET, scope="link:other", loop_id="0" * 8 + ONSET["loop_id"][8:])


def known(*bodies: dict[str, object]) -> KnownCommands:
    found = KnownCommands()
    for body in bodies:
        found.add(as_bytes(body))
    return found


def test_an_id_may_be_shortened_to_its_beginning() -> None:
    commands = known(UPDATE, ONSET)
    for length in (8, 13, 36):
        assert commands.find(UPDATE["decision_id"][:length].upper(), "here").command == UPDATE
    assert commands.find(f" {ONSET['decision_id']}\n", "here").command == ONSET


def test_a_command_comes_with_its_loop_in_order_each_once() -> None:
    commands = known(UPDATE, ONSET, UPDATE, OTHER)
    assert len(commands) == 3
    assert commands.find(UPDATE["decision_id"], "here").loop == (ONSET, UPDATE)


def test_a_loop_whose_onset_is_not_there_is_found_by_its_id() -> None:
    found = known(UPDATE).find(ONSET["loop_id"], "here")
    assert (found.command, found.loop) == (UPDATE, (UPDATE,))


def test_what_fits_several_is_told_with_some_of_them() -> None:
    """Of forty ids some begin with the same digit."""
    several = [changed(ONSET, scope=f"link:l{number}") for number in range(40)]
    ids = [ONSET["loop_id"], *(each["decision_id"] for each in several)]
    start = max("0123456789abcdef", key=lambda digit: sum(each[0] == digit for each in ids))
    fitting = sorted(each for each in ids if each[0] == start)
    with pytest.raises(InputError) as raised:
        known(*several).find(start, "f")
    text = str(raised.value)
    assert text.startswith(f"{start}: {len(fitting)} commands in f begin so: {fitting[0][:13]} (")
    assert text.endswith("give more of the id")
    assert "\n" not in text
    assert len(text) < 300


@pytest.mark.parametrize("text", ["", "zz", "-1", "x" * 40, "9" * 37, "94777b5b;", "\x1b[2J"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected the id"):
        known(ONSET).find(text, "here")


def test_an_id_that_is_not_there_is_told() -> None:
    with pytest.raises(InputError, match="none of the 1 commands in here"):
        known(ONSET).find("ffffffff", "here")
    with pytest.raises(InputError, match="there is no command in here"):
        known().find("ffffffff", "here")


@pytest.mark.parametrize("line", [b"", b"{", b"null", b"[]", b"[" * 100_000, b"\xff", json.dumps({"a": 1}).encode()])
def test_what_is_no_command_is_refused(line: bytes) -> None:
    with pytest.raises(ContractError):
        KnownCommands().add(line)
