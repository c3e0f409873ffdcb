"""Energy by paper eq. 16 and 17: what stays costs its device, what is moved also whoever carries it."""

from __future__ import annotations

import numpy as np
import pytest

from offramp.stream.arena.energy import spent_nj
from offramp.stream.arena.scenario import load_scenario
from offramp.stream.arena.traffic import arrivals_of
from tests.support.places import ROOT


@pytest.mark.parametrize(("known_nj", "path_nj"), [(None, 1.0), (7.0, 3.0)])
def test_a_bit_costs_its_device_and_whoever_carries_it(known_nj: float | None, path_nj: float) -> None:
    scenario = load_scenario(ROOT / "samples/arena/web.toml")
    arrivals = arrivals_of(scenario, 1, ROOT, None)
    link = scenario.link.model_copy(
        update={"paths": (scenario.link.paths[0].model_copy(update={"energy_nj_per_bit": path_nj}),)}
    )
    if known_nj is not None:
        device = {"address": "10.0.0.0/24", "energy_nj_per_bit": known_nj}
        link = type(link).model_validate({**link.model_dump(), "known": [device]})
    site = scenario.site.model_copy(update={"links": (link,)})
    size, flow = arrivals.packets.size, arrivals.flow
    bits = size.sum() * 8.0
    up = size[~arrivals.down[flow]].sum() * 8.0
    own = up * (1.0 if known_nj is None else known_nj)
    stays, goes = np.zeros(len(size), np.int64), np.ones(len(size), np.int64)
    assert 0 < up < bits
    assert spent_nj(site, arrivals, arrivals.flow, size, stays) == pytest.approx(own)
    assert spent_nj(site, arrivals, arrivals.flow, size, goes) == pytest.approx(own + bits * path_nj)
