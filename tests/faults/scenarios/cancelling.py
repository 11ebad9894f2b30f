"""Events that are cancelled and moved when they are about to be called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import attrs

from futurama.conformance.account import Account
from futurama.events import CancelOutcome, RescheduleOutcome
from tests.faults.scenario import Circumstances, scenario
from tests.faults.stage import Outcome, Stage

_BESIDE_US = 5000
"""So far before or after its time an event is asked for."""

_EARLIER_US = 150_000
"""Half of the questions come so much before that, when the event has just been claimed: on a busy machine
hardly any of the others comes before its time."""


@scenario(
    fault="events are cancelled and moved at the last moment",
    how="from two instances, each within 5 ms of its time, or of 150 ms before",
    backends=("mysql", "postgresql", "redis", "sqlite"),
)
def cancel_storm(given: Circumstances) -> Outcome:
    """What was CANCELLED is not called, and all others are: the answer tells which."""
    with given.any_store() as store, given.stage(store, instances=2) as stage:
        with stage.load(given.plan(cancelled=0.0, moved=0.0)) as load:
            for instance, plan in zip(stage.instances, _plans(stage, load.dues), strict=True):
                instance.start_asking(plan)
        for instance in stage.instances:
            instance.wait_until_asked()
        outcome = stage.outcome()
    answers = Counter(answer.outcome for answer in outcome.account.answers)
    for wanted in (CancelOutcome.CANCELLED, CancelOutcome.IN_FLIGHT, RescheduleOutcome.RESCHEDULED):
        outcome = outcome.needs(answers[wanted], f"no answer was {wanted.name}")
    figures = {
        **outcome.figures,
        "answers": {f"{type(each).__name__[:-7]} {each.value}": answers[each] for each in answers},
        "in flight and never called": _never_called(outcome.account),
    }
    return attrs.evolve(outcome, figures=figures)


def _plans(stage: Stage, dues: Mapping[str, int]) -> list[Path]:
    """Files for the instances: each event is in one of them; two of three are cancelled, the rest moved."""
    chance = stage.chance
    lines: list[list[str]] = [[] for _ in stage.instances]
    for event_id, due_us in dues.items():
        at_us = due_us - chance.choice((0, _EARLIER_US)) + chance.randint(-_BESIDE_US, _BESIDE_US)
        to_us = due_us + chance.randint(-_BESIDE_US, 500_000)
        is_cancelled = chance.random() < 2 / 3
        chance.choice(lines).append(f"{at_us} {event_id}{'' if is_cancelled else f' {to_us}'}")
    plans = [stage.folder / f"{instance.name}.plan" for instance in stage.instances]
    for plan, some in zip(plans, lines, strict=True):
        plan.write_text("\n".join(some))
    return plans


def _never_called(account: Account) -> int:
    called = {call.event_id for call in account.calls}
    in_flight = {
        answer.event_id for answer in account.answers if answer.outcome is CancelOutcome.IN_FLIGHT
    }
    return len(in_flight - called)
