"""Find what makes the dissector work hardest: `python -m tests.fuzz.costs --seconds 600` climbs, for each protocol, to
inputs that take ever more steps a byte, and ends with exit code 1 where one takes more than LIMIT.

An input is a beginning, then up to three parts, each a few words of the protocol's grammar repeated to a share of the
size, carried as datagrams, fragments, segments or bare frames. The words are those whose cost another part can raise:
pointers, lengths, options, lines. Steps are counted by the kernels, so the numbers are the same on every machine.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from offramp.capture.block import PacketBlock
from offramp.capture.dissect.dissector import Dissector
from tests.fuzz.grammars import GRAMMARS, Grammar
from tests.fuzz.mutations import block_of, datagram, ethernet, ipv4, segment

MAX_COST = 64.0
"""Steps a byte received that no input may take."""

SIZES = (60, 200, 512, 1472, 8000, 30_000, 64_000)
STEPS = (1, 2, 5, 9, 40, 536, 1460, 16_000)
PACKETS = 3000
"""Packets of an input at most: what costs more with every packet shows in as many."""


@dataclass(frozen=True)
class Part:
    """Words of a grammar, repeated to a share of an input."""

    words: tuple[bytes, ...]
    share: float


@dataclass(frozen=True)
class Input:
    """One input of a grammar: its parts, bytes in all, and how many of them are carried in one packet."""

    grammar: Grammar
    parts: tuple[Part, ...]
    size: int
    step: int

    def body(self) -> bytes:
        """Return what is carried."""
        total = sum(part.share for part in self.parts)
        out = self.grammar.begin
        for part in self.parts:
            words, room = b"".join(part.words), int((self.size - len(self.grammar.begin)) * part.share / total)
            out += words * (max(room, 0) // max(len(words), 1))
        return self.grammar.close(out)

    def packets(self) -> list[bytes]:
        """Return the frames that carry it."""
        return CARRIERS[self.grammar.carrier](self)[:PACKETS]


def _datagrams(one: Input) -> list[bytes]:
    return [ethernet(ipv4(datagram(one.body()[:65_000], one.grammar.port, 4000), 17))] * 3


def _fragments(one: Input) -> list[bytes]:
    whole, step, out = datagram(one.body()[:65_000], one.grammar.port, 4000), max(8, one.step & ~7), []
    for at in range(0, len(whole), step):
        more = 0x2000 if at + step < len(whole) else 0
        out.append(ethernet(ipv4(whole[at : at + step], 17, offset=more | at // 8)))
    return out


def _segments(one: Input) -> list[bytes]:
    body, port = one.body(), one.grammar.port
    out, at = [segment(b"", port, 0, 2, 4000)], 0
    if one.step < 40:  # most of it at once, then what is left in small segments
        at = max(0, len(body) - one.step * 400)
        out += [
            segment(body[start : min(at, start + 1460)], port, 1 + start, 0x18, 4000) for start in range(0, at, 1460)
        ]
    out += [segment(body[i : i + one.step], port, 1 + i, 0x18, 4000) for i in range(at, len(body), one.step)]
    return [ethernet(ipv4(each, 6)) for each in out]


def _frames(one: Input) -> list[bytes]:
    return [one.body()] * 3


CARRIERS: dict[str, Callable[[Input], list[bytes]]] = {
    "datagrams": _datagrams,
    "fragments": _fragments,
    "segments": _segments,
    "frames": _frames,
}


def steps_a_byte(blocks: list[PacketBlock]) -> float:
    """Return how many steps a fresh dissector takes for each byte of blocks."""
    dissector = Dissector("stream", batch_rows=512)
    for block in blocks:
        for filled in dissector.fill(block):
            dissector.build(filled)
    return dissector.steps / max(1, sum(int(block.caplen.sum()) for block in blocks))


def cost(one: Input) -> float:
    """Return the steps a byte of an input."""
    return steps_a_byte([block_of(one.packets(), linktype=one.grammar.linktype)])


def drawn(grammar: Grammar, rng: random.Random) -> Input:
    """Return a random input."""
    parts = tuple(_part(grammar, rng) for _ in range(rng.choice((1, 1, 2, 3))))
    return Input(grammar, parts, rng.choice(SIZES), rng.choice(STEPS))


def _part(grammar: Grammar, rng: random.Random) -> Part:
    return Part(
        tuple(_word(grammar, rng) for _ in range(rng.choice((1, 1, 2, 3, 5)))), rng.choice((1.0, 1.0, 3.0, 9.0))
    )


def _word(grammar: Grammar, rng: random.Random) -> bytes:
    word = rng.choice(grammar.words)
    if rng.random() < 0.1 and word:
        at = rng.randrange(len(word))
        word = (
            word[:at] + bytes([rng.choice((0, 1, 2, 8, 13, 10, 0x3F, 0x7F, 0xFF, rng.randrange(256)))]) + word[at + 1 :]
        )
    return word


def changed(one: Input, rng: random.Random) -> Input:
    """Return an input with one thing changed."""
    kind, parts = rng.random(), list(one.parts)
    if kind < 0.2:
        return replace(one, size=rng.choice(SIZES))
    if kind < 0.35:
        return replace(one, step=rng.choice(STEPS))
    at = rng.randrange(len(parts))
    if kind < 0.45 and len(parts) < 3:
        parts.insert(at, _part(one.grammar, rng))
    elif kind < 0.5 and len(parts) > 1:
        del parts[at]
    elif kind < 0.6:
        parts[at] = replace(parts[at], share=rng.choice((0.1, 1.0, 3.0, 9.0)))
    else:
        words = list(parts[at].words)
        place = rng.randrange(len(words))
        words[place : place + rng.choice((0, 1, 1))] = [_word(one.grammar, rng)]
        parts[at] = replace(parts[at], words=tuple(words[:8]))
    return replace(one, parts=tuple(parts))


def climb(grammar: Grammar, rng: random.Random, tries: int) -> tuple[float, Input]:
    """Return the dearest input found in so many tries: half of them drawn, half changes of the dearest so far."""
    best, found = -1.0, drawn(grammar, rng)
    for number in range(tries):
        one = drawn(grammar, rng) if number < tries // 4 or rng.random() < 0.2 else changed(found, rng)
        steps = cost(one)
        if steps > best:
            best, found = steps, one
    return best, found


def main() -> int:
    """Climb for a time; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    end, turn = time.monotonic() + options.seconds, 0
    dearest: dict[str, tuple[float, Input]] = {}
    while time.monotonic() < end and all(best <= MAX_COST for best, _ in dearest.values()):
        grammar = GRAMMARS[turn % len(GRAMMARS)]
        found = climb(grammar, random.Random(options.seed + turn), 200)
        dearest[grammar.name] = max(found, dearest.get(grammar.name, found), key=lambda each: each[0])
        turn += 1
    for name, (best, one) in sorted(dearest.items(), key=lambda item: -item[1][0]):
        print(f"{best:6.1f} steps a byte  {name:24} {one.size} bytes in steps of {one.step}, {one.parts}")
    print(
        f"{turn * 200} inputs, the dearest {max(best for best, _ in dearest.values()):.1f} of {MAX_COST:g} steps a byte"
    )
    return int(any(best > MAX_COST for best, _ in dearest.values()))


if __name__ == "__main__":
    sys.exit(main())
