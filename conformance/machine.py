"""Random programs of all operations, run on a backend and the oracle in lockstep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from hypothesis.strategies import SearchStrategy

from futurama.backend import Capabilities, Claim, Move, Query, Settlement, State
from futurama.conformance.base import Draw, plain_failures
from futurama.conformance.failure import LawBroken
from futurama.conformance.profile import profile, seeded
from futurama.conformance.scenes import IF_EXISTS
from futurama.conformance.shrinking import Recorder, shortest
from futurama.conformance.stage import Stage
from futurama.conformance.strategies import LOOK_ALIKES, OWNERS, START, TYPES, Values, values_for
from futurama.times import EARLIEST, LATEST

__all__ = ["run_programs"]

T = TypeVar("T")


def _perhaps(strategy: SearchStrategy[T]) -> SearchStrategy[T | None]:
    return st.one_of(st.none(), st.none(), st.none(), strategy)


_RECENT = 6
"""How many of the newest claims later steps choose from; most of them are stale."""

_PLAIN = ["a", "ab", "\uff5e", "\U0001f600"]
"""A program uses few ids, or its calls would hardly ever meet on the same event."""

_ALIKE = st.sampled_from(LOOK_ALIKES).flatmap(st.permutations).map(lambda ids: ids[:2] + _PLAIN[2:])
_STATES = st.lists(st.sampled_from(["dead", "lost", "claimed", "waiting"]), max_size=3)
_AGES = st.lists(st.integers(0, _RECENT - 1), min_size=1, max_size=2)
_BACK = st.integers(0, 3)
_IS_LOST = st.sampled_from([False] * 9 + [True])
_IS_TUPLE = st.sampled_from([False] * 5 + [True])
_MOSTLY = st.sampled_from([True] * 3 + [False])
_LIMITS = st.sampled_from([1, 2, 3, 4, 1000])
_ANY_TYPE = _perhaps(st.sampled_from(TYPES))
_ANY_STATE = _perhaps(st.sampled_from(State))
_OWNERS = st.sampled_from(OWNERS)

_OPERATIONS = [
    operation
    for operation, weight in {
        "add": 5,
        "again": 3,
        "claim": 8,
        "settle": 6,
        "cancel": 2,
        "reschedule": 3,
        "renew": 3,
        "requeue": 2,
        "purge": 1,
        "find": 3,
        "exceed": 1,
        "use": 2,
    }.items()
    for _ in range(2 * weight)
] + ["reopen"]
"""In one rule with weights of our own: of several rules hypothesis switches some off in each
program, but most laws take an add, a claim and a report at least."""


def run_programs(
    stage: Stage, capabilities: Capabilities, *, examples: int, instances: int
) -> None:
    """Run random programs, and make one that breaks a law as short as it gets.

    Args:
        stage: where they run.
        capabilities: which decide the values that are drawn.
        examples: how many programs in the usual profile.
        instances: how many instances of the stage take part.

    Raises:
        LawBroken: by a short program.
    """
    members = {"stage": stage, "values": values_for(capabilities), "instances": instances}
    programs: type[_Machine] = type("Machine", (_Machine,), members)
    settings = profile().settings(examples=examples, shrinks=False)
    try:
        with plain_failures(stage):
            for number in range(profile().times):  # one long run would fill the memory
                run_state_machine_as_test(seeded(programs, number), settings=settings)
    except LawBroken as broken:
        raise shortest(stage, programs.latest.recorder.steps, broken) from None


class _Machine(RuleBasedStateMachine):
    stage: ClassVar[Stage]
    values: ClassVar[Values]
    instances: ClassVar[int]
    latest: ClassVar[Self]

    def __init__(self) -> None:
        super().__init__()
        type(self).latest = self
        self.recorder = Recorder(self.stage.begin())
        self.model = self.recorder.run.model
        self.ids: Sequence[str] = _PLAIN
        self.claims: list[Claim] = []
        self.made: list[tuple[str, Sequence[Any], dict[str, Any]]] = []
        self._calls: Mapping[str, Callable[[Draw], None]] = {
            "add": self._add,
            "again": self._again,
            "cancel": self._cancel,
            "claim": self._claim,
            "exceed": self._exceed,
            "find": self._find,
            "purge": self._purge,
            "renew": self._renew,
            "reopen": self._reopen,
            "requeue": self._requeue,
            "reschedule": self._reschedule,
            "settle": self._settle,
            "use": self._use,
        }

    @initialize(ids=st.just(_PLAIN) | _ALIKE, states=_STATES)
    def start(self, ids: Sequence[str], states: Sequence[str]) -> None:
        self.ids = ids
        one_id = st.sampled_from(ids)
        self.one_id = one_id
        self.some_ids = st.lists(one_id, min_size=1, max_size=3)
        self.any_ids = _perhaps(st.lists(one_id, max_size=3))
        self.events = st.lists(
            self.values.events(ids=one_id, times=self.values.mostly_near), min_size=1, max_size=3
        )
        self.moves = st.lists(self.values.moves(one_id), min_size=1, max_size=2)
        for event_id, state in zip(ids, states, strict=False):
            self.claims += self.recorder.enter(state, event_id)

    @rule(operation=st.sampled_from(_OPERATIONS), data=st.data())
    def call(self, operation: str, data: st.DataObject) -> None:
        self._calls[operation](data.draw)

    def teardown(self) -> None:
        if not self.recorder.run.broken:
            self.recorder.call("finish")

    def _make(self, draw: Draw, operation: str, *args: Any, **kwargs: Any) -> None:
        """Make a call whose reply may get lost, and which may be repeated later.

        A batch is mostly a list, but any sequence will do.
        """
        is_tuple = draw(_IS_TUPLE)
        if args and is_tuple:
            args = (tuple(args[0]), *args[1:])
        self.made.append((operation, args, kwargs))
        if draw(_IS_LOST):
            self.recorder.call("lose_reply", operation, *args, **kwargs)
            return
        answer = self.recorder.call(operation, *args, **kwargs)
        if operation == "claim":
            self.claims += answer

    def _again(self, draw: Draw) -> None:
        """What was called before is called once more, whatever has happened since."""
        if self.made:
            recent = self.made[-4:]
            operation, args, kwargs = recent[-1 - draw(_BACK) % len(recent)]
            self._make(draw, operation, *args, **kwargs)

    def _add(self, draw: Draw) -> None:
        self._make(draw, "add", draw(self.events), if_exists=draw(IF_EXISTS))

    def _claim(self, draw: Draw) -> None:
        now = self._instant(draw)
        self._make(
            draw,
            "claim",
            now=now,
            due_before=now if draw(_MOSTLY) else self._instant(draw),
            lease_until=draw(self.values.lease_ends),
            limit=draw(_LIMITS),
            owner=draw(_OWNERS),
        )

    def _renew(self, draw: Draw) -> None:
        until = draw(self.values.lease_ends)
        claims = self._some_claims(draw)
        self._make(draw, "renew", claims, now=self._instant(draw), lease_until=until)

    def _settle(self, draw: Draw) -> None:
        reports = [draw(self.values.reports)(claim) for claim in self._some_claims(draw)]
        self._make(draw, "settle", reports, now=self._instant(draw))

    def _cancel(self, draw: Draw) -> None:
        self._make(draw, "cancel", draw(self.some_ids))

    def _reschedule(self, draw: Draw) -> None:
        self._make(draw, "reschedule", draw(self.moves))

    def _requeue(self, draw: Draw) -> None:
        dead = [e.id for e in self.model.in_order() if e.state is State.DEAD]
        ids = draw(self.some_ids)
        is_likely = draw(_MOSTLY)
        if dead and is_likely:
            ids = dead
        self._make(draw, "requeue", ids, now=self._instant(draw))

    def _purge(self, draw: Draw) -> None:
        self._make(draw, "purge", before=self._instant(draw))

    def _find(self, draw: Draw) -> None:
        def bound() -> datetime | None:
            return None if draw(_MOSTLY) else self._instant(draw)

        query = Query(
            ids=draw(self.any_ids),
            trigger_type=draw(_ANY_TYPE),
            state=draw(_ANY_STATE),
            due_from=bound(),
            due_until=bound(),
            limit=draw(_LIMITS),
        )
        self.recorder.call("find", query)

    def _exceed(self, draw: Draw) -> None:
        is_likely = draw(_MOSTLY)
        if self.claims and is_likely:
            claim = self._some_claims(draw)[0]
            report = Settlement.retry(claim, START, self.values.too_long)
            self.recorder.call("settle", [report], now=self._instant(draw))
            return
        move = Move(id=draw(self.one_id), payload=self.values.too_long)
        self.recorder.call("reschedule", [*draw(self.moves), move])

    def _use(self, draw: Draw) -> None:
        if self.instances > 1:
            self.recorder.call("use", draw(st.integers(0, self.instances - 1)))

    def _reopen(self, draw: Draw) -> None:
        del draw
        self.recorder.call("reopen")

    def _instant(self, draw: Draw) -> datetime:
        """Mostly one at which something happens, or a little earlier or later."""
        events = self.model.in_order()
        if not events or not draw(_MOSTLY):
            return draw(self.values.mostly_near)
        event = events[draw(_BACK) % len(events)]
        instant = event.died if event.due is None else event.due
        assert instant is not None, "an event has a due or is dead"
        return min(max(instant, _FIRST), _LAST) + draw(self.values.offsets)

    def _some_claims(self, draw: Draw) -> list[Claim]:
        """At least one, if there is any; the newest are the simplest to draw."""
        recent = self.claims[-_RECENT:][::-1]
        return [recent[age % len(recent)] for age in draw(_AGES)] if recent else []


_FIRST, _LAST = EARLIEST + timedelta(seconds=1), LATEST - timedelta(seconds=1)
"""A little earlier than the one is still in year 1, a little later than the other in year 9999."""
