"""Fuzz checkpoints for a time: `python -m tests.fuzz.states --seconds 60 [--seed N]`.

A link's real state is changed in parts and bytes, taken up where a worker would, and good messages follow. Whatever it
is, it is taken up or refused, every message after it is worked on, and no kernel leaves its arrays: run it with
OFFRAMP_BOUNDSCHECK=1 (compiled) or NUMBA_DISABLE_JIT=1 (interpreted) to have each access checked.
"""

from __future__ import annotations

import argparse
import logging
import pickle
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from offramp.decision.site import load_site
from offramp.errors import ContractError
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.stream.links.bundle_consumer import BundleConsumer
from offramp.stream.links.link_consumers import LinkConsumers
from offramp.stream.pipeline.pipeline import Pipeline, predictions_of
from offramp.stream.worker.checkpoint import decode_checkpoint, encode_checkpoint
from offramp.stream.worker.message_batch import MessageBatch
from tests.fuzz.messages import Message, Mutator, stock
from tests.support.fake_predictor import FakePredictor
from tests.support.places import SITE

LINK = "uplink"
ODD: list[Any] = [
    None, True, False, -1, 0, 1, 2**31, 2**62, 2**63 - 1, 2**63, -(2**63), 10**300, 0.5, 1e308, float("inf"),
    float("nan"), "", "x", "x" * 5_000, "2", [], [1], [[]], {}, {"a": 1}, np.zeros(3), np.zeros((0, 5)), np.int64(3),
]  # fmt: skip


class Case:
    """The site, and a fresh set of links for each state."""

    def __init__(self, messages: list[Message] | None = None) -> None:
        """Build it; messages: those of the sample, if there are some already."""
        self.site, self.scale = load_site(SITE), load_artifact(DEFAULT_ARTIFACT).normaliser
        self.messages = messages or [
            replace(each, key=LINK.encode(), offset=at) for at, each in enumerate(stock(250)["uplink1"])
        ]

    def links(self) -> LinkConsumers:
        """Return links without a state."""

        def make(link: str, sink: Any) -> BundleConsumer:
            predictor: Any = FakePredictor()
            return BundleConsumer.of(
                self.site,
                link,
                lambda name, meeting: Pipeline(self.site, name, predictor, self.scale, meeting, sink=sink),
            )

        return LinkConsumers({LINK: LINK}, make)

    def work(self, links: LinkConsumers, messages: list[Message]) -> list[str]:
        """Let links take messages; return why each was refused, if it was."""
        batch = MessageBatch(messages, links, "lab", horizon_ms=500)
        steps = batch.to_steps()
        batch.apply(predictions_of(steps))
        return [outcome.refused for outcome in batch.outcomes]

    def states(self) -> list[dict[str, Any]]:
        """Return real states: at the beginning, amid the congestion with moves open, at the end."""
        links, out = self.links(), []
        for at, message in enumerate(self.messages):
            assert self.work(links, [message]) == [""]
            if at % 16 == 1 or (at % 4 == 1 and links.consumers[LINK].pipeline.policy.open_moves):
                out.append(decode_checkpoint(encode_checkpoint(links.bundles[LINK].state())))
        return out


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where every part of a state is."""
    inner: Any = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, each in inner for place in places(each, (*path, name)))]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    """Return the part of a state at a place."""
    for name in path:
        value = value[name]
    return value


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a state with another part at a place; GONE: without it."""
    if not path:
        return new
    name, *rest = path
    if isinstance(value, list):
        return [changed(each, tuple(rest), new) if number == name else each for number, each in enumerate(value)]
    out = {key: changed(each, tuple(rest), new) if key == name else each for key, each in value.items()}
    if out[name] is GONE:
        del out[name]
    return out


GONE = object()


def mutated(mutator: Mutator, state: dict[str, Any]) -> dict[str, Any]:
    """Return a state with one part changed, or some, arrays mostly within their shape."""
    rng = mutator.rng
    for _ in range(int(mutator.one([1, 1, 1, 2, 3]))):
        path = mutator.one(places(state)[1:])
        found = at(state, path)
        if isinstance(found, np.ndarray) and rng.random() < 0.9:
            new = found.copy()
            limits: Any = np.finfo(found.dtype) if found.dtype.kind == "f" else np.iinfo(found.dtype)
            extremes = [limits.min, limits.max, 0, 1, 3, 127, 128, 33, 32]
            extremes += [float("nan"), float("inf"), -1.0, 1e-300, 1e18, 1e30] if found.dtype.kind == "f" else []
            near = mutator.one(found.reshape(-1)) if found.size else 0
            with np.errstate(all="ignore"):
                number = np.array(mutator.one([*extremes, near, near + 1, near - 1, near * 2])).astype(found.dtype)
            if rng.random() < 0.3:
                new[...] = number
            elif new.size:
                new.reshape(-1)[rng.integers(new.size, size=int(rng.integers(1, 4)))] = number
        else:
            new = mutator.one([*ODD, GONE])
        state = changed(state, path, new)
    return state


def damaged(mutator: Mutator, value: bytes) -> bytes:
    """Return a checkpoint's bytes with some flipped or cut, as they are or within the compression."""
    rng = mutator.rng
    inside = rng.random() < 0.7
    data = bytearray(zstandard.ZstdDecompressor().decompress(value) if inside else value)
    for _ in range(int(rng.integers(1, 8))):
        data[int(rng.integers(min(len(data), mutator.one([40, 5_000, len(data)]))))] = int(rng.integers(256))
    if rng.random() < 0.2:
        del data[int(rng.integers(len(data))) :]
    return zstandard.ZstdCompressor(level=1).compress(bytes(data)) if inside else bytes(data)


def run(case: Case, states: list[dict[str, Any]], seed: int, count: int) -> Counter[str]:
    """Take up so many states of others; return how many were taken up, refused, unreadable."""
    mutator, told = Mutator(seed), Counter[str]()
    for _ in range(count):
        state = mutator.one(states)
        begin = int(state["next_offset"])
        try:
            if mutator.rng.random() < 0.7:
                value = encode_checkpoint(mutated(mutator, state))
            else:
                value = damaged(mutator, encode_checkpoint(state))
        except (TypeError, ValueError, OverflowError):
            continue  # no bytes can say this
        links = case.links()
        try:
            links.states[LINK] = decode_checkpoint(value)
        except ContractError:
            told["unreadable"] += 1
        following = case.messages[begin : begin + 3] or case.messages[-1:]
        assert case.work(links, following) == [""] * len(following), "a message after it was not worked on"
        told["refused"] += links.states_refused
        told["taken up"] += links.restored
        encode_checkpoint(links.consumers[LINK].state())
    return told


def main() -> int:
    """Fuzz until the time is over; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="number of the first round")
    parser.add_argument("--count", type=int, default=100, help="states of a round")
    parser.add_argument("--keep", type=Path, help="write the real messages and states to a file")
    parser.add_argument(
        "--stock", type=Path, help="read them from there: made by compiled kernels, used by checked ones"
    )
    options = parser.parse_args()
    logging.getLogger("offramp.worker").setLevel(logging.CRITICAL)
    if options.stock:
        messages, states = pickle.loads(options.stock.read_bytes())  # noqa: S301 - our own
        case = Case(messages)
    else:
        case = Case()
        states = case.states()
        options.keep and options.keep.write_bytes(pickle.dumps((case.messages, states)))
    end, seed = time.monotonic() + options.seconds, options.seed
    while time.monotonic() < end:
        print(f"round {seed}: ", end="", flush=True)  # a crash leaves the number
        print(dict(run(case, states, seed, options.count)), flush=True)
        seed += 1
    print("nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
