"""`offramp arena`: policies in a closed loop, on a simulated site."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offramp.cli.options import ModelFolder, SiteFile
from offramp.errors import ConfigError, InputError, OfframpError, writing

if TYPE_CHECKING:
    from offramp.stream.arena.contest import Contest
    from offramp.stream.arena.episode import Model
    from offramp.stream.arena.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class ArenaOptions:
    """What `offramp arena` was asked for."""

    scenarios: Annotated[
        tuple[str, ...],
        typer.Argument(metavar="SCENARIO.toml...", help="each a site, its network and its traffic (docs/arena.md)"),
    ] = ()
    policies: Annotated[
        tuple[str, ...], typer.Option("--policy", metavar="NAME", help="one of --list, again for more; all of them")
    ] = ()
    capture: Annotated[
        Path | None, typer.Option("--capture", help="one's own traffic, on the first link of --site, beside scenarios")
    ] = None
    site: SiteFile = None
    seeds: Annotated[int, typer.Option("--seeds", help="episodes of each scenario", min=1, max=10_000)] = 30
    command_ms: Annotated[
        float | None,
        typer.Option("--latency", help="ms until a command is carried out; none: the scenario's", min=0, max=10_000),
    ] = None
    tune: Annotated[
        int,
        typer.Option("--tune", help="settings that each policy is tuned by, on seeds of their own", min=0, max=10_000),
    ] = 0
    untuned: Annotated[
        tuple[str, ...],
        typer.Option("--untuned", metavar="NAME", help="a policy that --tune leaves as it is set, again for more"),
    ] = ()
    root: Annotated[Path | None, typer.Option("--root", help="the folder that $ROOT/ means in scenarios")] = None
    model: ModelFolder = None
    classes: Annotated[bool, typer.Option("--classes", help="a row for each class of traffic, too")] = False
    timeline: Annotated[
        Path | None,
        typer.Option("--timeline", metavar="DIR", help="write the first episode as a file, of policies that forecast"),
    ] = None
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="DIR", help="write a page with pictures here, and its numbers"),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="one JSON line a scenario and policy")] = False
    list_them: Annotated[bool, typer.Option("--list", help="name the policies and end")] = False


def arena(options: ArenaOptions) -> None:
    """Play scenarios under policies, commands carried out on the way, and compare what users would have felt.

    Example: offramp arena samples/arena/web.toml --seeds 12; or --capture week.pcap --site site.toml
    """
    from offramp.decision.policies.table import POLICIES
    from offramp.kernels import announce_compiling
    from offramp.stream.arena.episode import BOUND
    from offramp.stream.arena.scenario import load_scenario

    known = {name: row.about for name, row in POLICIES.items()} | {BOUND: "the bound: knows every packet to come"}
    if options.list_them:
        width = max(map(len, known)) + 2
        for name, about in known.items():
            print(f"{name:<{width}}{about}")
        return
    if not options.scenarios and options.capture is None:
        raise ConfigError("expected a scenario, such as samples/arena/web.toml, or --list (docs/arena.md)")
    for option, names in (("--policy", options.policies), ("--untuned", options.untuned)):
        for name in names:
            if name not in known:
                raise ConfigError(f"{option} {name}: expected one of {', '.join(known)}")
    scenarios = [(Path(name), load_scenario(Path(name))) for name in options.scenarios]
    if options.capture is not None:
        scenarios.append((options.capture, _own(options.capture, options.site)))
    announce_compiling()
    policies = options.policies or tuple(known)
    model = _model(options) if any(_needs_model(name) for name in policies) else None
    for folder in (options.report, options.timeline):
        if folder is not None:
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
    contests: list[Contest] = []
    for path, scenario in scenarios:
        if options.command_ms is not None:
            network = scenario.network.model_copy(update={"command_ms": options.command_ms})
            scenario = scenario.model_copy(update={"network": network})
        if contests and not options.as_json:
            print()
        contests.append(_play(options, path, scenario, policies, model))
        if options.timeline is not None and model is not None:
            _write_timelines(options.timeline, contests[-1], model)
    if options.report is not None:
        _write_report(options.report, contests, model)


def _write_report(folder: Path, contests: Sequence[Contest], model: Model | None) -> None:
    """Write the page and its numbers, and say where they are."""
    from offramp.stream.arena.report.page import page

    run = {
        "command": shlex.join(["offramp", *sys.argv[1:]]),
        "versions": ", ".join(f"{name} {version(name)}" for name in ("offramp", "numpy", "numba")),
    }
    if model is not None:
        run["model"] = f"{model.predictor.name}, sha256 {model.predictor.sha}"
    rows = [contest.row(policy) for contest in contests for policy in contest.policies]
    with writing(folder):
        (folder / "results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        (folder / "report.html").write_text(page(contests, run), encoding="utf-8")
    print(f"report: {folder / 'report.html'}", file=sys.stderr)


def _write_timelines(folder: Path, contest: Contest, model: Model) -> None:
    """Play the first episode of each policy that needs a forecast once more, and write its timeline."""
    from offramp.cli.show.timeline import open_timeline
    from offramp.stream.arena.episode import play
    from offramp.stream.arena.places import enforcing
    from offramp.stream.arena.traffic import arrivals_of
    from offramp.stream.arena.tuning import with_settings

    for policy in filter(_needs_model, contest.policies):
        one = with_settings(contest.scenario, policy, contest.standing(policy).settings)
        site = enforcing(one, policy, arrivals_of(one, 1, contest.here, contest.root).scale)
        name = "".join(letter if letter.isalnum() or letter in "._" else "-" for letter in contest.scenario.name)
        path = folder / f"{name}-{policy}.parquet"
        timeline = open_timeline(path, site, model.predictor)
        if timeline is not None:
            play(one, 1, policy, model=model, here=contest.here, root=contest.root, sink=timeline.update)
            timeline.close()
            if timeline.failure:
                raise OfframpError(timeline.failure)
            print(f"timeline: {path}", file=sys.stderr)


def _own(capture: Path, site: Path | None) -> Scenario:
    """Return the scenario of a user's own capture and site."""
    from offramp.decision.site import load_site
    from offramp.stream.arena.scenario import of_capture
    from offramp.stream.arena.traffic import packets_of

    if site is None:
        raise ConfigError("--capture: needs --site, whose paths and nodes are where its flows could go (docs/site.md)")
    packets = packets_of(capture.absolute())
    if not len(packets.time_ns):
        raise InputError(f"{capture}: no packet with a time")
    return of_capture(capture, load_site(site), float(packets.time_ns[-1] - packets.time_ns[0]) / 1e9 + 0.01)


def _needs_model(policy: str) -> bool:
    from offramp.decision.policies.table import POLICIES
    from offramp.decision.site import default_site

    site = default_site()
    return policy in POLICIES and POLICIES[policy].make(site, site.links[0].name).needs_forecast


def _model(options: ArenaOptions) -> Model:
    from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
    from offramp.inference.serving.table import open_backend
    from offramp.stream.arena.episode import Model

    artifact = load_artifact(options.model or DEFAULT_ARTIFACT)
    return Model(artifact, open_backend("compiled", artifact))


def _play(
    options: ArenaOptions, path: Path, scenario: Scenario, policies: Sequence[str], model: Model | None
) -> Contest:
    """Play one scenario under all policies, print what came of it, and return it."""
    from offramp.capture.sources.source import Progress
    from offramp.cli.show.arena_table import print_tables
    from offramp.cli.show.progress import console_bar
    from offramp.stream.arena.contest import Contest

    seeds = options.seeds if scenario.varies else 1
    if options.tune and not scenario.varies:
        raise ConfigError(
            f"{path}: --tune: its traffic is the same for all seeds; tune on another scenario (docs/arena.md)"
        )
    contest = Contest(scenario, policies, seeds, options.tune, options.untuned, model, path.parent, options.root)
    with console_bar(Progress(), "playing", unit="episodes") as bar:
        done, whole = 0, len(policies) * seeds * (2 if options.tune else 1)

        def played() -> None:
            nonlocal done
            done += 1
            bar.steps(done, max(whole, done))

        contest.played = played
        if options.as_json:
            for policy in policies:
                print(json.dumps(contest.row(policy)), flush=True)
        else:
            print_tables(contest, by_class=options.classes)
    return contest
