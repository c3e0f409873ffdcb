"""How partitions are shared out among workers, where a topic has others than they had of it."""

from __future__ import annotations

from types import SimpleNamespace

import faust
import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata

from offramp.stream.worker.unpaused_app import PresentPartitions


@pytest.mark.parametrize("partitions", range(1, 9))
@pytest.mark.parametrize("had", [[[0, 1, 2]], [[0, 2, 4], [1, 3, 5]], [[7], [3, 4]], [[], [0, 1, 2, 3, 4, 5, 6, 7]]])
def test_every_partition_that_is_there_is_given_to_one_worker(had: list[list[int]], partitions: int) -> None:
    """Fewer than they had or more: each once, none that is gone; Faust's own ends by an assertion for some of these."""
    members = {}
    for number, own in enumerate(had):
        standing = ClientAssignment(actives={"features": own}, standbys={"features": []})
        told = ClientMetadata(assignment=standing, url=f"http://{number}", changelog_distribution={})
        members[f"worker-{number}"] = ConsumerProtocolMemberMetadata(4, ["features"], told.dumps())
    cluster = SimpleNamespace(partitions_for_topic=lambda _: set(range(partitions)))
    assignor = PresentPartitions(faust.App("t", broker="memory://", store="memory://", autodiscover=False))
    given = assignor.assign(cluster, members)
    shared = [partition for each in given.values() for _, own in each.assignment for partition in own]
    assert sorted(shared) == list(range(partitions))
