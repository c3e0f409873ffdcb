"""Where CI runs the tests, what it can run must run: a skip counts as a failure there. And fixtures that many share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from bench.namespace import Namespace
from tests.support.disks import SmallFiles
from tests.support.places import SHARED

BEYOND_CI = "beyond CI: "
"""Begins the reason of a skip that CI may make: what its machines do not have, such as a GPU."""


LAST_LONGEST = (
    "integration/test_fleet", "integration/test_topic_lives", "integration/test_least_rights",
    "integration/test_broker_away", "integration", "stream/refine/test_refiner", "cli/test_tap", "test_kernels",
)  # fmt: skip
"""Files that take longest: where files are shared out among processes, these begin first, and none is left alone at the
end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that last longest first."""

    def rank(item: pytest.Item) -> int:
        name = item.nodeid.removeprefix("tests/")
        return next((at for at, each in enumerate(LAST_LONGEST) if name.startswith(each)), len(LAST_LONGEST))

    items.sort(key=rank)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    SmallFiles().allow(None)  # the report may go to a file that is larger than a test's limit
    report = yield
    # hostile names are in the logs of what passed, too; a report travels from one process to another in UTF-8
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if BEYOND_CI not in reason and not ("../shared" in reason and not SHARED.is_dir()):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped, and CI must run it: {reason}"
    return report


@pytest.fixture
def small_files() -> Generator[SmallFiles, None, None]:
    """A disk that can be made to take no large files."""
    disk = SmallFiles()
    yield disk
    disk.allow(None)


@pytest.fixture
def own() -> Generator[Path, None, None]:
    """A folder that a tap may write to once it has become nobody, as it does where root starts it."""
    with tempfile.TemporaryDirectory(prefix="offramp-test-") as name:
        if os.geteuid() == 0:
            shutil.chown(name, "nobody")
        yield Path(name)


@pytest.fixture
def namespace() -> Generator[Namespace, None, None]:
    """A network namespace of its own, with a veth pair; skipped where none can be made."""
    from tests.support.live import new_namespace

    made = new_namespace()
    yield made
    made.close()
