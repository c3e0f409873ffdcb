"""What a command is about: the flows or the device that it moves or gives back, and the time that it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offramp.decision.acceptance import time_ns
from offramp.decision.address import address_of
from offramp.errors import InputError
from offramp.toml import shown


@dataclass(frozen=True, slots=True)
class Subject:
    """Matches of flows, or the address of a device; from `start_ns` on and before `end_ns`, ns since the epoch.

    Where neither is known it is about all packets of that time.
    """

    matches: tuple[Mapping[str, Any], ...]
    device: str
    start_ns: int
    end_ns: int

    @property
    def known(self) -> bool:
        """Whether it is known which packets it is about."""
        return bool(self.matches or self.device)


def subject_of(command: Mapping[str, Any], loop: Sequence[Mapping[str, Any]]) -> Subject:
    """Return what a command is about; of what one gives back, the command of its loop before it tells.

    Raises InputError for an address that is none.
    """
    reason = command["reason"]
    before = action_before(command, loop)
    action = command["action"] if command["action"]["type"] != "clear" else before
    changed = reason.get("moved", ())
    matches = [*action.get("flows", ()), *(each["match"] for each in changed if "match" in each)]
    matches += gone(before, action)
    unlike = [match for number, match in enumerate(matches) if match not in matches[:number]]
    device = action.get("device") or next((each["device"] for each in changed if "device" in each), "")
    addresses = [value for match in unlike for name, value in match.items() if name.startswith("ipv")]
    for address in [*addresses, *([device] if device else [])]:
        _require(command, address)
    return Subject(tuple(unlike), device, time_ns(reason["window_start"]), time_ns(reason["window_end"]))


def _require(command: Mapping[str, Any], address: str) -> None:
    """Raise InputError for what is no address: the contract lets any text stand there."""
    try:
        address_of(address)
    except ValueError as error:
        raise InputError(f"{command['decision_id']}: {shown(address)} is no address") from error


def action_before(command: Mapping[str, Any], loop: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return what the loop's last command before this one asked for, empty where that is not known."""
    earlier = [each["action"] for each in loop if each["sequence"] < command["sequence"]]
    return next((action for action in reversed(earlier) if action["type"] != "clear"), {})


def gone(before: Mapping[str, Any], action: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the flows of an action that a later one of its loop does not name any more."""
    return [match for match in before.get("flows", ()) if match not in action.get("flows", ())]
