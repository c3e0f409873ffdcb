"""A command told in sentences: what it asks of whom, why, what was not taken, and what became of its loop."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from offramp.decision.acceptance import own_id
from offramp.decision.explaining.known_commands import TOLD, Found
from offramp.decision.explaining.subject import action_before, gone
from offramp.decision.explaining.words import after, count, flow, milliseconds, moment, percent, rate, unit
from offramp.decision.policies.assignment import FURTHER

Body = Mapping[str, Any]

SHOWN_FLOWS = 16
"""Of an action, in sentences; --json has all."""
QUEUES_OF_NOW = re.compile(r"(?:reactive|threshold|priority)-[0-9a-f]{12}")
"""Versions of the policies that look at no forecast."""
SWAYED = re.compile(r"optimiser-[0-9a-f]{12}")
"""Of the one whose price a forecast lowers."""
NETWORKS = {
    "supposed": "Loads and queues are of the supposed network: as if all that was told before were carried out.",
    "applied": "Loads and queues are of the network as it is, with what was carried out before.",
}
STAYS = {
    "is heavy": "gives way to all other traffic, as it is heavy",
    "need not give way": "need not give way any more",
}
BACK = {
    "saves delay": "that is better",
    "has ended": "it sent nothing for two seconds",
    "fits again": "the link has had room for all that was moved",
    "on trial": "it is not seen where it is, so it is tried whether it still sends",
}
LEFT = {
    "no room in moves": "the site's limit of open moves was reached",
    "may not be moved": "the site says that it may not be moved",
    "in flight": "a command about it was still on its way",
    "path closed": "that path or node takes nothing more",
    "next look": "a look makes only so many changes in a direction; the next one sees what these bring",
}


class Section(NamedTuple):
    """Sentences under a title; what is listed below a sentence begins with two blanks."""

    title: str
    lines: tuple[str, ...]


def story(found: Found) -> list[Section]:
    """Return what there is to tell of a command, section by section."""
    command, reason = found.command, found.command["reason"]
    sections = [
        Section("What", (*_asked(found), *_obliges(command))),
        Section("Why", (*_loads(reason), *_rule(reason))),
        Section("Moved", tuple(_moved(reason))),
        Section("Not moved", tuple(_candidates(reason))),
        Section("Forecast", tuple(_forecast(reason))),
        Section("Data", (_quality(reason["quality"]),)),
        Section("Loop", tuple(_loop(found))),
    ]
    return [section for section in sections if section.lines]


def headline(found: Found) -> str:
    """Return which command it is."""
    command = found.command
    return (
        f"{command['decision_id']}: {command['phase']} on {_scope(command['scope'])} "
        f"at {moment(command['not_before'], day=True)} UTC"
    )


def _asked(found: Found) -> list[str]:
    """Return what a command asks for."""
    command, action = found.command, found.command["action"]
    before = action_before(command, found.loop)
    lines = []
    if action["type"] == "clear":
        lines.append("All that this loop did is to be undone" + (":" if before else "."))
        lines += _listed(before) if before else ()
        if not before:
            lines.append("What that was is not told: no earlier command of the loop is among those read.")
        return lines
    again = command["phase"] == "update"
    lines += [f"{_demand(action, goes_on=again)}:", *_listed(action)]
    back = gone(before, action) if again else []
    if back:
        lines += [f"{count(len(back), 'flow')} that it moved before {'goes' if len(back) == 1 else 'go'} back:"]
        lines += _flows(back)
    return lines


def _demand(action: Body, *, goes_on: bool) -> str:
    """Return the demand of an action as a sentence without its end."""
    goes = "goes on" if goes_on else "is to go"
    if action["type"] == "offload":
        verb = "stays served" if goes_on else "is to be served"
        return f"One device {verb} by {action['to']} instead of over {action['from']}"
    if action["type"] == "limit":
        return f"One device {'keeps' if goes_on else 'gets'} at most {rate(action['rate_bps'])}"
    many = len(action["flows"])
    if action["type"] == "mark":
        return f"{count(many, 'flow')} {'keep' if goes_on else 'get'}{'s' if many == 1 else ''} DSCP {action['dscp']}"
    if many > 1:
        goes = "go on" if goes_on else "are to go"
    return f"{count(many, 'flow')} {goes} over path {action['path']}"


def _listed(action: Body) -> list[str]:
    return [f"  {action['device']}"] if "device" in action else _flows(action.get("flows", ()))


def _flows(matches: Sequence[Body]) -> list[str]:
    lines = [f"  {flow(match)}" for match in matches[:SHOWN_FLOWS]]
    return lines + ([f"  and {len(matches) - SHOWN_FLOWS:,} more"] if len(matches) > SHOWN_FLOWS else [])


def _obliges(command: Body) -> list[str]:
    """Return who is to do what with a command, and until when."""
    begins, ends = command["not_before"], command["expires_at"]
    clear = command["action"]["type"] == "clear"
    if command["mode"] == "enforce":
        lines = ["Mode enforce: the controller is to carry it out."]
    else:
        lines = ["Mode dry_run: it is told, and nobody is to carry it out."]
    if clear:
        lines.append(f"It is void after {moment(ends)}.")
    else:
        lines.append(
            f"It holds from {moment(begins)} until {moment(ends)} ({after(begins, ends)}), then the controller undoes "
            "it by itself, unless an update has come; a clear of the loop undoes it at once."
        )
    if command["decision_id"] != own_id(command):
        lines.append("Its id is not that of its content: somebody changed it, and a controller refuses it.")
    return lines


def _loads(reason: Body) -> list[str]:
    """Return load against capacity and the queue of each direction."""
    lines = []
    for name in ("up", "down") if "directions" in reason else ():
        side = reason["directions"][name]
        load, capacity = side["load_bps"], side["capacity_bps"]
        share = f" ({percent(load / capacity)})" if capacity else ""
        over = f": {rate(load - capacity)} more than it carries has to leave" if load > capacity > 0 else ""
        what = "before this command's changes, " if name == "up" else ""
        lines.append(
            f"{name.capitalize()}: {what}a load of {rate(load)} on {rate(capacity)}{share}{over}; "
            f"a queue of {milliseconds(side['queue_ms'])}."
        )
    if "network" in reason:
        lines.append(NETWORKS[reason["network"]])
    return lines


def _rule(reason: Body) -> list[str]:
    start, end = reason["window_start"], reason["window_end"]
    lines = [
        f"Rule: {reason['rule']}.",
        f"The queue was {milliseconds(reason['delay_now_ms'])} at the end of the window that it rests on, "
        f"{moment(start)} to {moment(end)}.",
    ]
    if "price_ms" in reason:
        price = reason["price_ms"]
        lines.append(
            f"The first change of a direction had to save more than {milliseconds(price)} of its mean delay and the "
            f"site's price_share of it, each further one {milliseconds(FURTHER * price)}, a device twice that."
        )
    return lines


def _moved(reason: Body) -> list[str]:
    """Return what each flow had that is moved or comes back."""
    lines = []
    for each in reason.get("moved", ()):
        if each["why"] in STAYS:
            lines.append(f"  {unit(each)} had {rate(each['rate_bps'])} and {STAYS[each['why']]}")
            continue
        saved = f"that saves {milliseconds(each['saved_ms'])}" if "saved_ms" in each else BACK[each["why"]]
        moves = f"had {rate(each['rate_bps'])} and goes from {each['from']} to {each['to']}"
        lines.append(f"  {unit(each)} {moves}: {saved}")
    return lines


def _candidates(reason: Body) -> list[str]:
    """Return what was not moved, and why not."""
    lines = []
    for each in reason.get("candidates", ()):
        saved, place = each["saved_ms"], f"on {each['to']} instead of {each['from']}"
        better = f"{place} it would save {milliseconds(saved)}"
        if each["why"] in LEFT:
            told = f"{LEFT[each['why']]} ({better if saved > 0 else f'{place} it would cost {milliseconds(-saved)}'})"
        elif each["why"] == "below price":
            told = f"{better}, which is below the price"
        else:
            told = f"no better there: {place} it would cost {milliseconds(-saved)}"
        lines.append(f"  {unit(each)} with {rate(each['rate_bps'])}: {told}")
    if "candidates" in reason and not lines:
        lines.append("Nothing else was large enough to be worth a move.")
    return lines


def _forecast(reason: Body) -> list[str]:
    """Return what was foreseen, and by which model."""
    shares, delays = reason["probabilities"], reason["delay_ms"]
    foreseen = ", ".join(f"{name} {percent(shares[name])}" for name in ("High", "Medium", "Normal"))
    limits = ", ".join(f"{milliseconds(delays[f'q{share}'])} with {share} %" for share in (50, 90, 99))
    lines = [
        f"Model {reason['model']} ({reason['model_sha'][:TOLD]}) foresaw for the next {reason['horizon_ms']:,} ms: "
        f"{foreseen}; a queueing delay of at most {limits} probability."
    ]
    if QUEUES_OF_NOW.fullmatch(reason["policy_version"]):
        lines.append(f"Policy {reason['policy_version']} did not look at that: it decides by the queues of now.")
    elif SWAYED.fullmatch(reason["policy_version"]):
        lines.append(
            f"Policy {reason['policy_version']} decides by the queues of now; the surer High is foreseen, the less a "
            "change has to save."
        )
    else:
        lines.append(f"Policy {reason['policy_version']} decided by that.")
    return lines


def _quality(shares: Body) -> str:
    """Return how much of the traffic is known."""
    return (
        f"Of the packets of the last seconds {percent(shares['decoded'])} were decoded, {percent(shares['shed'])} shed "
        f"and {percent(shares['dropped'])} dropped."
    )


def _loop(found: Found) -> list[str]:
    """Return what the commands of the loop did, before and after; those that only renew are told together."""
    loop, lines = found.loop, list[str]()
    first, last = loop[0], loop[-1]
    number = 0
    while number < len(loop):
        end = number
        while end + 1 < len(loop) and _renews(loop, number) and _renews(loop, end + 1) and found.command not in (
            loop[number], loop[end + 1],
        ):  # fmt: skip
            end += 1
        lines.append(_step(found, number, end))
        number = end + 1
    if first["sequence"] > 1:
        lines.insert(0, f"  {count(first['sequence'] - 1, 'command')} before these are not among those read")
    if last["phase"] != "abated":
        lines.append(f"  no later command is among those read: without one it ended at {moment(last['expires_at'])}")
    return [f"Loop {first['loop_id'][:TOLD]}, {count(len(loop), 'command')}:", *lines]


def _renews(loop: Sequence[Body], number: int) -> bool:
    """Return whether a command changes nothing but the time at which the move ends."""
    return number > 0 and loop[number]["phase"] == "update" and loop[number]["action"] == loop[number - 1]["action"]


def _step(found: Found, number: int, end: int) -> str:
    """Return a line of what commands of the loop, one or several that only renew, did."""
    loop = found.loop
    each, last = loop[number], loop[end]
    when = f"{moment(each['not_before'])} (+{after(loop[0]['not_before'], each['not_before'])})"
    here = " <- this one" if each is found.command or each == found.command else ""
    if end > number:
        return (
            f"  {when}: {count(end - number + 1, 'update')} that renew it, the last until {moment(last['expires_at'])}"
        )
    return f"  {when}: {each['phase']}, {_deed(loop, number)}; {each['reason']['rule']}{here}"


def _deed(loop: Sequence[Body], number: int) -> str:
    """Return in words what a command of the loop did."""
    each = loop[number]
    action = each["action"]
    if action["type"] == "clear":
        return "all goes back" + _whys(each)
    if _renews(loop, number):
        return f"renews it until {moment(each['expires_at'])}"
    back = gone(action_before(each, loop), action) if each["phase"] == "update" else []
    if back:
        left = len(action.get("flows", ()))
        return f"{count(len(back), 'flow')} of {left + len(back)} back{_whys(each)}"
    return _short(action)


def _whys(command: Body) -> str:
    """Return why flows come back, where the reason tells it."""
    words = dict.fromkeys(each["why"] for each in command["reason"].get("moved", ()))
    return f" ({', '.join(words)})" if words else ""


def _short(action: Body) -> str:
    """Return an action in a few words."""
    if "device" in action:
        return f"{action['type']} {action['device']}"
    many = count(len(action["flows"]), "flow")
    return f"{many} to {action['path']}" if action["type"] == "reroute" else f"{many} marked"


def _scope(scope: str) -> str:
    kind, _, name = scope.partition(":")
    return f"{kind} {name}"
