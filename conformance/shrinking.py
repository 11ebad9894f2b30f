"""From a long random program that breaks a law to a short one, in few runs of the backend.

Hypothesis shrinks what it drew, which takes thousands of runs: too many for a database. Here calls,
and items of their batches, are left out as long as some law stays broken: the simplest fault names
itself best.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Final

import attrs

from futurama.backend import Claim, Move, NewEvent, Query, Settlement
from futurama.conformance.failure import LawBroken
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.scenes import enter
from futurama.conformance.stage import Stage
from futurama.conformance.strategies import LOOK_ALIKES

__all__ = ["Recorder", "shortest"]

_SECONDS: Final = 30.0
"""How long it is worth while to look for a shorter program."""


_LOOKED_AT: Final = 3
"""What is stored is looked at after every so many calls; in between the answers have to do."""


@attrs.frozen
class _Held:
    """A claim in a program that is run anew: what a certain step was given on a certain event."""

    step: int
    event_id: str


@attrs.frozen
class _Report:
    """A settlement in such a program: like this one, but of the claim of that name."""

    held: _Held
    like: Settlement


@attrs.frozen
class _Step:
    """One call of a method of :class:`Lockstep`, or of a scene.

    Attributes:
        number: its place in the program as it was found.
        method: its name.
        args, kwargs: its arguments, with :class:`_Held` in the place of claims, and
            :class:`_Report` in that of settlements.
    """

    number: int
    method: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]


class Recorder:
    """Makes calls on a lockstep and remembers them; looks at what they did now and then.

    Attributes:
        run: the lockstep.
        steps: the calls made so far.
    """

    def __init__(self, run: Lockstep) -> None:
        self.run = run
        self.steps: list[_Step] = []
        self._held: dict[Claim, _Held] = {}

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Make one call."""
        step = _Step(len(self.steps), method, _named(args, self._held), _named(kwargs, self._held))
        self.steps.append(step)
        is_looked_at = method == "finish" or len(self.steps) % _LOOKED_AT == 0
        with nullcontext() if is_looked_at else self.run.set_up():
            answer = getattr(self.run, method)(*args, **kwargs)
        if method == "claim":
            self._remember(step, answer)
        return answer

    def enter(self, state: str, event_id: str) -> list[Claim]:
        """Bring a new event into a state, see ``scenes``; return the claims that this took."""
        step = _Step(len(self.steps), "enter", [state, event_id], {})
        self.steps.append(step)
        claim = enter(self.run, state, event_id)
        claims = [] if claim is None else [claim]
        self._remember(step, claims)
        return claims

    def _remember(self, step: _Step, claims: Sequence[Claim]) -> None:
        for claim in claims:
            self._held[claim] = _Held(step.number, claim.id)


def shortest(stage: Stage, steps: Sequence[_Step], broken: LawBroken) -> LawBroken:
    """A broken law by as few steps as can be found soon.

    Args:
        stage: where to run programs.
        steps: the program that breaks the law.
        broken: what it found.
    """
    deadline = time.monotonic() + _SECONDS
    stage.careful = True
    broken = _broken_by(stage, steps) or broken
    is_shorter = True
    while is_shorter:
        is_shorter = False
        for fewer in _shorter(steps):
            if time.monotonic() > deadline:
                return broken
            found = _broken_by(stage, fewer)
            if found is not None:
                steps, broken, is_shorter = fewer, found, True
                break
    return broken


def _broken_by(stage: Stage, steps: Sequence[_Step]) -> LawBroken | None:
    run = stage.begin()
    claims: dict[_Held, Claim] = {}
    try:
        for step in steps:
            args, kwargs = _filled(step.args, claims), _filled(step.kwargs, claims)
            if step.method == "enter":
                claim = enter(run, *args)
                answer = [] if claim is None else [claim]
            else:
                answer = getattr(run, step.method)(*args, **kwargs)
            if step.method in {"claim", "enter"}:
                claims.update({_Held(step.number, claim.id): claim for claim in answer})
    except LawBroken as broken:
        return broken
    except (_GoneError, ValueError):  # it cannot be run without the step that was left out
        return None
    return None


def _shorter(steps: Sequence[_Step]) -> Iterator[Sequence[_Step]]:
    """The program without one of its steps, the later ones first, one lost reply, or one item.

    Before that, the program with plain ids; on the way, with simpler beginnings of events.
    """
    plain = [
        attrs.evolve(step, args=_plain(step.args), kwargs=_plain(step.kwargs)) for step in steps
    ]
    if plain != steps:
        yield plain
    for index in reversed(range(len(steps))):
        yield [*steps[:index], *steps[index + 1 :]]
    for index in reversed(range(len(steps))):
        step = steps[index]
        if step.method == "lose_reply":
            method, *args = step.args
            answered = attrs.evolve(step, method=method, args=args)
            yield [*steps[:index], answered, *steps[index + 1 :]]
        if step.method == "enter":
            state, event_id = step.args
            for simpler in _SIMPLER[state]:
                entered = attrs.evolve(step, args=[simpler, event_id])
                yield [*steps[:index], entered, *steps[index + 1 :]]
        if step.method != "enter":
            for shorter in _shorter_batches(step.args):
                yield [*steps[:index], attrs.evolve(step, args=shorter), *steps[index + 1 :]]


def _shorter_batches(args: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The arguments with a list for a tuple, or without one item of a batch."""
    for index, batch in enumerate(args):
        before, after = args[:index], args[index + 1 :]
        if isinstance(batch, tuple):
            yield [*before, list(batch), *after]
        if isinstance(batch, list | tuple) and len(batch) > 1:
            for item in range(len(batch)):
                fewer = type(batch)(one for place, one in enumerate(batch) if place != item)
                yield [*before, fewer, *after]


_SIMPLER: Final[Mapping[str, Sequence[str]]] = {
    "dead": ["waiting", "claimed"],
    "lost": ["waiting", "claimed"],
    "claimed": ["waiting"],
    "waiting": [],
}
"""Into which states an event is brought with fewer calls."""

_PLAIN_IDS: Final = {
    event_id: "abcdefghi"[number] for group in LOOK_ALIKES for number, event_id in enumerate(group)
}
"""What an id is called unless it matters that it looks like another one."""


def _plain(value: Any) -> Any:
    """``value`` with plain ids."""
    match value:
        case str():
            return _PLAIN_IDS.get(value, value)
        case list() | tuple():
            return type(value)(_plain(item) for item in value)
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case NewEvent() | Move():
            return attrs.evolve(value, id=_plain(value.id))
        case Query() if value.ids is not None:
            return attrs.evolve(value, ids=_plain(value.ids))
        case _Report():
            return attrs.evolve(value, held=_plain(value.held))
        case _Held():
            return attrs.evolve(value, event_id=_plain(value.event_id))
    return value


class _GoneError(Exception):
    """A claim is needed that nobody made."""


def _named(value: Any, held: Mapping[Claim, _Held]) -> Any:
    """``value`` with names in the place of claims."""
    match value:
        case Claim():
            return held[value]
        case Settlement():
            return _Report(held[value.claim], value)
        case list() | tuple():
            return type(value)(_named(item, held) for item in value)
        case dict():
            return {key: _named(item, held) for key, item in value.items()}
    return value


def _filled(value: Any, claims: Mapping[_Held, Claim]) -> Any:
    """``value`` with claims in the place of their names."""
    match value:
        case _Held():
            if value not in claims:
                raise _GoneError
            return claims[value]
        case _Report():
            return attrs.evolve(value.like, claim=_filled(value.held, claims))
        case list() | tuple():
            return type(value)(_filled(item, claims) for item in value)
        case dict():
            return {key: _filled(item, claims) for key, item in value.items()}
    return value
