"""Instances that die, stand still, come and go."""

from __future__ import annotations

import time

import attrs

from tests.faults.client import Plan
from tests.faults.scenario import Circumstances, scenario
from tests.faults.stage import LEASE_SECONDS, Outcome

ALL = ("mysql", "postgresql", "redis", "sqlite")

_BETWEEN_KILLS_SECONDS = 0.5


@scenario(fault="none", how="three instances share the events", backends=ALL)
def nothing(given: Circumstances) -> Outcome:
    """Every event is called once, and nothing explains a repeat."""
    with given.any_store() as store, given.stage(store) as stage:
        with stage.load(given.plan()):
            pass
        return stage.outcome()


@scenario(
    fault="instances crash",
    how="SIGKILL of one of three every 0.5 s under load; a new one takes its place",
    backends=ALL,
)
def crashing_instances(given: Circumstances) -> Outcome:
    """Whatever a dead instance held is called within a lease."""
    with given.any_store() as store, given.stage(store) as stage:
        with stage.load(given.plan()) as load:
            while load.is_running:
                place = stage.chance.choice(sorted(stage.places))
                stage.kill(place)
                stage.launch(place)
                time.sleep(_BETWEEN_KILLS_SECONDS)
                stage.wait_until_ready()
        return stage.outcome()


@scenario(
    fault="an instance stands still",
    how="SIGSTOP of one of three for three leases at a random moment, twice, then SIGCONT",
)
def zombies(given: Circumstances) -> Outcome:
    """It must not begin what others have taken over, and what it reports changes nothing."""
    return _paused(given, given.plan(seconds=8 * LEASE_SECONDS))


@scenario(
    fault="an instance stands still inside of calls",
    how="all calls take 0.3 s; SIGSTOP of one of three for three leases while it is calling, twice",
)
def zombies_in_calls(given: Circumstances) -> Outcome:
    """The interrupted calls are repeated elsewhere; their ends are refused."""
    events = given.events // 4
    outcome = _paused(given, given.plan(events=events, seconds=8 * LEASE_SECONDS, call_seconds=0.3))
    return outcome.needs(outcome.judgement.repeats, "no call was interrupted")


def _paused(given: Circumstances, plan: Plan) -> Outcome:
    """Under this load two of three instances stand still for three leases, one after the other."""
    with given.any_store() as store, given.stage(store) as stage:
        with stage.load(plan):
            time.sleep(2.0)
            for place in ("a", "b"):
                with stage.paused(place):
                    time.sleep(3 * LEASE_SECONDS)
        stage.wait_until_finished()
        lost = sum(instance.stats()["lost"] for instance in stage.instances)
        outcome = stage.outcome()
    outcome = outcome.needs(lost, "they held nothing when they were stopped")
    return attrs.evolve(outcome, figures={**outcome.figures, "claims lost": lost})


@scenario(
    fault="a new version is rolled out",
    how="each of three instances in turn is stopped in order and replaced, under load",
    backends=ALL,
)
def rolling_restart(given: Circumstances) -> Outcome:
    """Nothing is repeated: what was not called is given back."""
    with given.any_store() as store, given.stage(store) as stage:
        with stage.load(given.plan()):
            for place in sorted(stage.places):
                stage.retire(place)
                stage.launch(place)
                stage.wait_until_ready()
        return stage.outcome()
