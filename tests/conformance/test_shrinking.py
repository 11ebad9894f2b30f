"""A random program that breaks a law is cut down to the calls that matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from futurama.backend import Move, NewEvent, Query, Settlement
from futurama.backends.memory import MemoryBackend
from futurama.conformance import LawBroken
from futurama.conformance.scenes import at, event
from futurama.conformance.shrinking import Recorder, shortest
from futurama.conformance.stage import Stage
from tests.conformance.samples import making, suite
from tests.mutants import adding, answers, changing, settling


def shrunk(backend: type[MemoryBackend], program: Callable[[Recorder], Any]) -> LawBroken:
    """The finding after the program was cut down."""
    with Stage(suite(make_backend=making(backend))) as stage:
        recorder = Recorder(stage.begin())
        with pytest.raises(LawBroken) as caught:
            to_the_end(program, recorder)
        return shortest(stage, recorder.steps, caught.value)


def to_the_end(program: Callable[[Recorder], Any], recorder: Recorder) -> None:
    """Run a program, and compare everything when it is over."""
    program(recorder)
    recorder.call("finish")


def calls(broken: LawBroken) -> list[str]:
    """The names of the operations in the program."""
    lines = [line.strip() for line in broken.program if "backend." in line]
    names = [line.partition("backend.")[2].partition("(")[0] for line in lines]
    return [name for name in names if name not in {"make_backend", "open", "backend"}]


def test_calls_that_do_not_matter_are_left_out() -> None:
    """What another event went through is not part of the program."""

    def program(call: Recorder) -> None:
        call.enter("dead", "ẞ")
        call.enter("lost", "b")
        claims = call.enter("claimed", "SS")
        call.call("find", Query())
        call.call("renew", claims, now=at(call.run, 1), lease_until=at(call.run, 20))
        call.call("cancel", ["b", "SS"])

    broken = shrunk(changing.CancelsTheClaimed, program)
    assert broken.law == "cancel.claimed"
    assert calls(broken) == ["add", "claim", "cancel"]
    assert "SS" not in "".join(broken.program)


def test_claims_are_followed_into_the_shorter_program() -> None:
    """A report names the claim that the shorter program was given."""

    def program(call: Recorder) -> None:
        call.enter("waiting", "b")
        call.call("reschedule", [Move(id="b", payload=b"2")])
        (claim,) = call.enter("claimed", "a")
        call.call("settle", [Settlement.release(claim)], now=at(call.run, 1))

    broken = shrunk(settling.ReleasesAreCharged, program)
    assert broken.law == "settle.release"
    assert calls(broken) == ["add", "claim", "settle", "find"]
    assert "Settlement.release(batch1.claims[0])" in "".join(broken.program)


def test_items_and_lost_replies_that_do_not_matter_are_left_out() -> None:
    """Batches get shorter too, and a reply is lost only if that shows the fault."""

    def new(call: Recorder, event_id: str) -> NewEvent:
        return event(call.run, event_id, payload=b"" if event_id == "b" else b"1")

    def program(call: Recorder) -> None:
        events = [new(call, event_id) for event_id in "abc"]
        call.call("lose_reply", "add", events, if_exists="keep")

    broken = shrunk(adding.DislikesEmptyPayloads, program)
    assert broken.law == "errors"
    assert "the reply is lost" not in "".join(broken.program)
    assert "".join(broken.program).count("NewEvent(") == 1


def test_look_alikes_stay_where_they_matter() -> None:
    """An id keeps its odd name if a plain one would not show the fault."""

    class DislikesSpace(MemoryBackend):
        def _cancel(self, event_id: str) -> Any:
            if event_id != event_id.strip():
                raise ValueError("no spaces, please")
            return super()._cancel(event_id)

    def program(call: Recorder) -> None:
        call.enter("waiting", "A")
        call.call("cancel", ["A", "a "])

    broken = shrunk(DislikesSpace, program)
    assert broken.program[-1].strip() == "backend.cancel(['a '])"


@pytest.mark.parametrize(
    ("backend", "given"),
    [(settling.ReleasesAreCharged, "settle([S"), (answers.WantsLists, "renew((batch1.claims[0],)")],
)
def test_batch_is_a_list_unless_that_matters(backend: type[MemoryBackend], given: str) -> None:
    """Of the sequences that a batch may be, the one that people expect is shown."""

    def program(call: Recorder) -> None:
        claims = (*call.enter("claimed", "a"), *call.enter("claimed", "b"))
        call.call("renew", claims, now=at(call.run, 1), lease_until=at(call.run, 9))
        reports = tuple(Settlement.release(claim) for claim in claims)
        call.call("settle", reports, now=at(call.run, 1))

    assert given in "".join(shrunk(backend, program).program)
