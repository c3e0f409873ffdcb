"""Tell which interface a packet captured on `any` came by: cooked headers (SLL2) hold the interface's number.

Format: LINKTYPE_LINUX_SLL2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from offramp.capture.block import Interface, PacketBlock
from offramp.capture.sources.live.packet_filter import SLL2

INDEX_AT = 4
"""Where in the header the interface's number stands, 32 bits, most significant byte first."""


class InterfacesOfAny:
    """The interfaces seen in packets of `any`, in the order first seen, so that an interface's index never changes.

    name_of: returns an interface's name by its number, raising OSError where it is gone.
    """

    def __init__(self, name_of: Callable[[int], str], snaplen: int) -> None:
        self.table: tuple[Interface, ...] = ()
        self._name_of, self._snaplen = name_of, snaplen
        self._place: dict[int, int] = {}

    def told_apart(self, block: PacketBlock) -> PacketBlock:
        """Return a block of cooked packets with the interface of each set."""
        if not len(block):
            return replace(block, interfaces=self.table)
        numbers = np.zeros(len(block), np.int64)
        for byte in range(4):
            numbers = numbers << 8 | block.data[block.offset + INDEX_AT + byte]
        met, inverse = np.unique(numbers, return_inverse=True)
        places = np.array([self._of(number) for number in met.tolist()], np.int32)
        return replace(block, interface=places[inverse], interfaces=self.table)

    def _of(self, number: int) -> int:
        if number not in self._place:
            try:
                name = self._name_of(number)
            except OSError:
                name = f"if{number}"  # gone since
            self._place[number] = len(self.table)
            self.table += (Interface(name, SLL2, self._snaplen),)
        return self._place[number]
