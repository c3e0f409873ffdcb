"""Random conversations: messages cut into segments that are lost, repeated, early, overlapping or cut short."""

from __future__ import annotations

from random import Random

from tests.support.conversations import WORD, Conversation
from tests.support.messages import random_dns, random_http, random_modbus, random_mqtt

GAPS = [0.0001, 0.001, 0.002, 0.01, 0.05, 0.4]


class Script:
    """The segments of a conversation in order, before anything happens to them."""

    def __init__(self, random: Random, said: list[tuple[int, bytes]], smallest: int, following: list[int]) -> None:
        self.segments: list[tuple[int, int, bytes]] = []
        self.following = list(following)
        small = random.random() < 0.6
        at = 0
        while at < len(said):
            side, data = said[at]
            at += 1
            while at < len(said) and said[at][0] == side and random.random() < 0.5:
                data += said[at][1]
                at += 1
            while data:
                size = random.choice([1, 2, 5, 20, 100, 500, 1460]) if small else len(data)
                size = min(max(size, smallest), len(data))
                self.segments.append((side, self.following[side], data[:size]))
                self.following[side] = (self.following[side] + size) & WORD
                data = data[size:]


def random_conversation(random: Random, client: int, start: float) -> Conversation:
    """Return one conversation of a random protocol on which random things happen."""
    make = random.choice([random_http, random_http, random_http, random_mqtt, random_modbus, random_dns])
    asked, answered, server = make(random)
    talk = Conversation(client, server, start=start, gap=0.002, handshake=random.random() < 0.8)
    said: list[tuple[int, bytes]] = []
    for at in range(max(len(asked), len(answered))):
        said += [(0, asked[at])] if at < len(asked) else []
        said += [(1, answered[at])] if at < len(answered) else []
    if random.random() < 0.3:
        said = [(0, one) for one in asked] + [(1, one) for one in answered]
    # a Modbus segment of fewer bytes than a header is taken by other protocols' guesses in tshark
    script = Script(random, said, 24 if make is random_modbus else 1, talk.following)
    Disturbance(random, talk, script).run()
    return talk


class Disturbance:
    """Sends a script's segments, and lets happen what networks do to them."""

    def __init__(self, random: Random, talk: Conversation, script: Script) -> None:
        self.random = random
        self.talk = talk
        self.script = script
        self.acknowledged = [talk.following[1], talk.following[0]]
        kind = random.random()
        self.disturbed = kind < 0.7
        self.cut = kind < 0.05

    def run(self) -> None:
        """Send all segments, and maybe the ends of both sides."""
        segments, random = self.script.segments, self.random
        at = 0
        while at < len(segments):
            chance = random.random()
            if self.disturbed and chance < 0.03:
                at += 1
                continue
            if self.disturbed and chance < 0.1 and at + 3 < len(segments):
                segments.insert(at + random.randint(1, 3), segments.pop(at))
            side, sequence, payload = segments[at]
            cut = random.randint(1, len(payload)) if self.cut and chance > 0.9 else 0
            self.emit(side, sequence, payload, "PA" if chance < 0.95 else "A", cut)
            if sequence + len(payload) > self.acknowledged[1 - side] or random.random() < 0.1:
                self.acknowledged[1 - side] = max(self.acknowledged[1 - side], sequence + len(payload))
            if self.disturbed:
                self.repeat(chance, at)
            if random.random() < 0.4:
                self.emit(1 - side, self.acknowledged[side], b"", "A")
            at += 1
        if random.random() < 0.6:
            side = random.randint(0, 1)
            self.emit(side, self.script.following[side], b"", "FA")
            self.emit(1 - side, self.script.following[1 - side], b"", "FA")

    def repeat(self, chance: float, at: int) -> None:
        """Repeat a segment, whole, with more behind it or as a keep-alive, or acknowledge it thrice."""
        side, sequence, payload = self.script.segments[at]
        if 0.9 < chance < 0.93:
            self.emit(side, sequence, payload)
        elif 0.93 < chance < 0.95:
            self.emit(*self.random.choice(self.script.segments[: at + 1]))
        elif 0.95 < chance < 0.96:
            self.emit(side, sequence + len(payload) - 1, b"\0", "A")
        elif 0.96 < chance < 0.97:
            self.emit(side, sequence, payload + b"NEW")
        elif 0.97 < chance < 0.99:
            for _ in range(3):
                self.emit(1 - side, self.script.following[1 - side], b"", "A")

    def emit(self, side: int, sequence: int, payload: bytes, flags: str = "PA", cut: int = 0) -> None:
        """Send one segment after a random while."""
        after = self.random.choice(GAPS)
        self.talk.segment(
            side, payload, flags, sequence=sequence, acknowledged=self.acknowledged[side], after=after, cut=cut
        )
