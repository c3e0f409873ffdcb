"""What the tests of a worker's partition share."""

from __future__ import annotations

import pytest

from tests.support.partitions import Message, demo_messages


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    """The demo's messages of 300 rows, as an agent of a live link sends them."""
    return demo_messages()
