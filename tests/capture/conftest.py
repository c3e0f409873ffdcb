from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.capture.disks import SmallFiles


@pytest.fixture
def small_files() -> Iterator[SmallFiles]:
    disk = SmallFiles()
    yield disk
    disk.allow(None)
