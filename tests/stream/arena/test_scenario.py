"""Scenario files: those in the repo load, their keys are documented, and what is wrong is one line."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from offramp.errors import ConfigError, InputError
from offramp.stream.arena.episode import BOUND, play
from offramp.stream.arena.measures import measures
from offramp.stream.arena.scenario import (
    SENDERS,
    Clairvoyance,
    Network,
    Outage,
    RecordedCapacity,
    Scenario,
    TrafficSource,
    load_scenario,
)
from offramp.stream.arena.traffic import MODELS
from tests.support.doc_rows import rows
from tests.support.places import ROOT, SHARED

FILES = sorted((ROOT / "samples/arena").glob("*.toml"))
PAGE = ROOT / "docs/arena.md"
SMALL = """
name = "small"
seconds = 2
[[site.links]]
name = "a"
capacity = "8 Mbit/s"
devices = ["10.0.0.0/24"]
[[traffic]]
model = "web"
"""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_scenario_loads(path: Path) -> None:
    assert load_scenario(path).name == path.stem


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_scenario_plays(path: Path) -> None:
    scenario = load_scenario(path)
    if "$ROOT/" in path.read_text() and not SHARED.is_dir():
        pytest.skip("its recordings are others', and not beside this checkout (../shared)")
    one = scenario.model_copy(update={"seconds": 1.0})
    for policy in ("none", "static", "threshold", BOUND):
        found = play(one, 1, policy, here=path.parent, root=SHARED)
        assert len(found.time_ns) > 0, policy
        assert np.isfinite(found.delay_ms).any(), policy
        found_ = measures([found], one.network.lost_ms, one.link.budget_ms)
        assert 0 < found_.mean_ms < one.network.lost_ms + 60_000, policy


@pytest.mark.parametrize("model", [*MODELS, *SENDERS])
def test_every_model_gives_an_episode(tmp_path: Path, model: str) -> None:
    path = tmp_path / "one.toml"
    path.write_text(
        SMALL.replace('model = "web"', f'model = "{model}"\ncount = 3') + '[[traffic]]\nmodel = "sensors"\n'
    )
    found = play(load_scenario(path), 1, "none")
    assert len(found.time_ns) > 0
    assert found.time_ns.max() < 2e9


def test_every_key_is_documented() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for kind in (Scenario, Network, RecordedCapacity, Outage, Clairvoyance, TrafficSource):
        for row in rows(kind):
            assert row in page, f"docs/arena.md lacks this row: {row}"


def test_the_example_of_the_page_plays(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    assert len(example[1].strip().splitlines()) <= 14
    tomllib.loads(example[1])
    (tmp_path / "mine.toml").write_text(example[1])
    assert len(play(load_scenario(tmp_path / "mine.toml"), 1, "threshold").time_ns) > 100


def test_the_other_blocks_of_the_page_play_too(tmp_path: Path) -> None:
    first, *others = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(others) >= 2
    for block in others:
        head, traffic = first[: first.index("[[traffic]]")], first[first.index("[[traffic]]") :]
        nodes = block[: block.index("[[traffic]]")]
        text = head + nodes + traffic + block[len(nodes) :]
        (tmp_path / "mine.toml").write_text(text.replace('name = "mine"', 'name = "mine"\nseconds = 5'))
        found = play(load_scenario(tmp_path / "mine.toml"), 1, "threshold")
        assert found.requests is not None or len(np.unique(found.kind[found.flow])) > 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('model = "web"', 'model = "wep"', "traffic"),
        ('model = "web"', 'model = "packet_times"', "expected a file"),
        ('model = "web"', 'model = "web"\nfile = "x"', "expected no file"),
        ("seconds = 2", "seconds = 0", "seconds"),
        ('name = "small"', 'name = "small"\nspeed = 3', "speed"),
        ('model = "web"', 'model = "web"\ndeadline_ms = 11', "no deadline_ms"),
        ('model = "web"', 'model = "web"\nsize_bytes = 9', "no size_bytes, which is of tcp_files and tcp_pages"),
        ('model = "web"', 'model = "tcp_long"\npause_s = 2', "no pause_s"),
        ('model = "web"', 'model = "packet_times"\nfile = "x"\nanswer_bytes = 9', "a deadline_ms beside answer_bytes"),
        (
            'model = "web"',
            "\n[[traffic]]\n".join(['model = "packet_times"\nfile = "x"\ndeadline_ms = 9'] * 2),
            "device",
        ),
        ('model = "web"', 'model = "xr_frames"\ncomputed_by = "edge"', "expected a node of its link (it has none)"),
        ('model = "web"', 'model = "xr_frames"\nanswer_bytes = 9_000_000', "answer_bytes"),
        ('model = "web"', 'model = "video"\ndirection = "left"', "direction"),
        ('model = "web"', 'model = "tcp_files"\nsize_bytes = 0', "size_bytes"),
        ("[[traffic]]", '[[site.links.nodes]]\nname = "n"\nload = 1.0\n[[traffic]]', "load"),
        ("[[traffic]]", '[[site.links.nodes]]\nname = "n"\ncompute = 0\n[[traffic]]', "compute"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(SMALL.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_scenario(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "times.toml"
    path.write_text(SMALL.replace('model = "web"', 'model = "packet_times"\nfile = "$ROOT/none.txt"'))
    with pytest.raises(ConfigError, match="needs the option --root"):
        play(load_scenario(path), 1, "none")
    with pytest.raises(InputError, match="not a packet trace"):
        play(load_scenario(path), 1, "none", root=tmp_path)


@pytest.mark.parametrize("seconds", [1, 2, 4])
def test_packet_times_may_last_as_long_as_an_episode_or_less(tmp_path: Path, seconds: int) -> None:
    (tmp_path / "times.txt").write_text("\n".join(f"{at / 100} 986" for at in range(201)))
    text = SMALL.replace('model = "web"', 'model = "packet_times"\nfile = "times.txt"\nstart_s = 7\nstep_s = 1')
    (tmp_path / "times.toml").write_text(text.replace("seconds = 2", f"seconds = {seconds}"))
    found = play(load_scenario(tmp_path / "times.toml"), 2, "none", here=tmp_path)
    assert len(found.time_ns) >= min(seconds, 2) * 100


@pytest.mark.parametrize("text", ["", "1\n2\n", "1 2 3\n", "1 -2\n", "one two\n"])
def test_what_is_no_list_of_packet_times_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "times.txt").write_text(text)
    (tmp_path / "times.toml").write_text(SMALL.replace('model = "web"', 'model = "packet_times"\nfile = "times.txt"'))
    with pytest.raises(InputError, match=r"times\.txt"):
        play(load_scenario(tmp_path / "times.toml"), 1, "none", here=tmp_path)


def test_packet_times_are_scaled_to_the_load_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "times.txt").write_text("\n".join(f"{at / 1000} 986" for at in range(10_000)))
    text = SMALL.replace('model = "web"', 'model = "packet_times"\nfile = "times.txt"\nstep_s = 1')
    (tmp_path / "times.toml").write_text(text + "[network]\nload = 0.5\n")
    found = play(load_scenario(tmp_path / "times.toml"), 1, "none", here=tmp_path)
    # 1,000 packets of 1,000 bytes a second are 8 Mbit/s, so the link has 16: half a ms a packet, and no queue
    assert found.delay_ms[:1_000].tolist() == pytest.approx([1.5] * 1_000, rel=1e-3)
