"""Every number on the command line has a least and a most, so that no slip of the hand ends in a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_type_hints

import pytest
import typer
from typer.models import OptionInfo

from offramp.cli.commands import app
from tests.support.places import ROOT

UNBOUNDED = {"seed"}
"""Any whole number is a seed."""


def commands(of: typer.Typer) -> Iterator[Callable[..., Any]]:
    yield from (each.callback for each in of.registered_commands if each.callback is not None)
    for group in of.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance)


def numbers() -> Iterator[tuple[str, OptionInfo]]:
    for command in commands(app):
        for name, hint in get_type_hints(command, include_extras=True).items():
            kind, *more = get_args(hint) or (hint,)
            if kind in (int, float):
                yield f"{command.__name__} {name}", next(each for each in more if isinstance(each, OptionInfo))


def test_every_number_has_both_ends() -> None:
    found = dict(numbers())
    assert len(found) > 25
    for name, option in found.items():
        if name.split()[1] not in UNBOUNDED:
            assert None not in (option.min, option.max), name
            assert option.min < option.max, name  # type: ignore[operator]


@pytest.mark.parametrize(
    "arguments",
    [
        ("tap", "lo", "--duration", "inf"),
        ("tap", "lo", "--every", "inf"),
        ("tap", "lo", "--every", "nan"),
        ("tap", "lo", "--snaplen", "99999999999"),
        ("tap", "lo", "--ring-size", "99999999999999"),
        ("replay", "x.pcap", "--pace", "0.0000000000000000001x"),
        ("replay", "x.pcap", "--pace", "1" * 400 + "x"),
        ("replay", "x.pcap", "--pace", "\u0661x"),
        ("worker", "--kafka", "127.0.0.1:1", "--checkpoint", "inf"),
        ("train", "--synthetic", "1", "--horizon", "99999999999999"),
        ("train", "--synthetic", "1", "--horizon", "55"),
        ("train", "--synthetic", "1", "--seed", "-1"),
        ("topics", "create", "--kafka", "127.0.0.1:1", "--partitions", "999999999999"),
    ],
    ids=" ".join,
)
def test_absurd_numbers_are_wrong_usage(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "offramp", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert arguments[-2] in done.stderr
