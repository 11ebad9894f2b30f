"""Events whose claims were lost: what kills is found, and its neighbours live."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

import pytest

from futurama import Event, RetryPolicy
from futurama.backend import Claim, SettlementKind, State
from futurama.events import CancelOutcome
from futurama.suspects import Suspects
from futurama.testing import VirtualQueue
from futurama.triggers import bind
from tests.unit.support import SECOND, START, World, fails, new_claim, unavailable

LEASE = timedelta(seconds=31)
LEASE_US = 31_000_000


class Desk:
    """Suspects that are told what is held."""

    def __init__(self, *, look_ahead: timedelta = SECOND) -> None:
        self.held: list[Claim] = []
        self.dues: dict[str, timedelta] = {}
        self.now_us = 0
        self._suspects = Suspects(
            bind({"note": print}, {}, RetryPolicy()),
            holds=lambda claim: claim in self.held,
            look_ahead=look_ahead,
            lease_us=LEASE_US,
        )

    def take(self, claims: Sequence[Claim], *, after: float = 0.0) -> list[Claim]:
        """What is held of these; the dues of what was put back are counted from now on."""
        self.now_us += int(after * 1e6)
        now = START + timedelta(microseconds=self.now_us)
        chosen, put_back = self._suspects.choose(claims, now=now, timer_us=self.now_us)
        assert {each.kind for each in put_back} <= {SettlementKind.RELEASE}
        assert len(chosen) + len(put_back) == len(claims)
        self.dues = {each.claim.id: each.due - now for each in put_back if each.due is not None}
        self.held += chosen
        return list(chosen)

    def dues_ms(self) -> list[float]:
        """The same in milliseconds."""
        return [due / timedelta(milliseconds=1) for due in self.dues.values()]

    def is_quiet(self, *, after: float = 0.0) -> bool:
        """Whether more may be claimed."""
        self.now_us += int(after * 1e6)
        return not self._suspects.are_being_called(self.now_us)

    def look_ahead(self, *, after: float = 0.0) -> timedelta:
        """How far ahead to claim."""
        self.now_us += int(after * 1e6)
        return self._suspects.look_ahead(self.now_us)

    def end(self, claims: Sequence[Claim]) -> None:
        """Their calls were made and reported."""
        self.held = [claim for claim in self.held if claim not in claims]


def suspects(count: int, *, attempt: int = 3) -> list[Claim]:
    """Claims on events that were lost before."""
    return [new_claim(attempt=attempt, lost_before=True) for _ in range(count)]


def test_their_number_doubles() -> None:
    """Each time that all have ended, twice as many are held."""
    desk = Desk()
    sizes = []
    for _ in range(6):
        held = desk.take(suspects(100), after=1)
        sizes.append(len(held))
        desk.end(held)
    assert sizes == [1, 2, 4, 8, 16, 32]


def test_nothing_is_claimed_while_one_may_kill() -> None:
    """What would have to be put back would die with it; but slow calls are not waited for."""
    desk = Desk()
    ahead = new_claim(due=START + SECOND / 2, attempt=2, lost_before=True)
    other = suspects(1)
    desk.take([ahead, *other])
    assert desk.is_quiet()
    desk.take(other, after=0.39)
    assert [desk.is_quiet(after=after) for after in (0, 0.06, 0.2, 0.1)] == [1, 0, 0, 1]
    desk.end([ahead])
    desk.take(suspects(3))
    assert not desk.is_quiet(after=0.15)
    desk.end(desk.held)
    assert desk.is_quiet()


def test_nobody_waits_for_a_few() -> None:
    """Where nothing had to be put back, claims go on while suspects are called."""
    desk = Desk()
    desk.take(suspects(1))
    assert desk.is_quiet()


def test_no_more_while_they_are_held() -> None:
    """The first is alone until it has ended, however often somebody asks."""
    desk = Desk()
    assert len(desk.take(suspects(5))) == 1
    assert desk.take(suspects(5), after=1) == []


@pytest.mark.parametrize(
    "unsuspected",
    [
        new_claim(attempt=17),
        new_claim(attempt=20, lost_before=True),
        new_claim(attempt=9, lost_before=True, trigger_type="of others"),
    ],
    ids=["never lost", "to be buried", "without a trigger"],
)
def test_all_others_are_held_at_once(unsuspected: Claim) -> None:
    """What has failed, but was never lost, or is not called here, waits for nobody."""
    desk = Desk()
    [suspect] = desk.take(suspects(1))
    assert desk.take([*suspects(1), unsuspected]) == [unsuspected]
    assert desk.held == [suspect, unsuspected]


def test_a_last_attempt_is_made_alone() -> None:
    """It waits until no suspect is held, and then others wait for it, however many are allowed."""
    desk = Desk()
    for _ in range(4):
        desk.end(desk.take(suspects(100)))
    others = desk.take(suspects(3))
    assert len(others) == 3
    last = suspects(2, attempt=19)
    assert desk.take(last) == []
    desk.end(others)
    assert desk.take([*last, *suspects(3)]) == last[:1]
    assert desk.take(suspects(3), after=1) == []
    desk.end(last)
    assert len(desk.take(suspects(3))) == 3


def test_each_is_put_back_until_it_may_be_its_turn() -> None:
    """As many come back with each pause as will be allowed if all goes well; last attempts one by one, after them."""
    desk = Desk()
    first, *others = suspects(8)
    desk.take([first, *others])
    assert desk.dues_ms() == [100, 200, 200, 300, 300, 300, 300]
    for later in [320, 340, 360], [380, 400]:
        desk.take(suspects(len(later), attempt=19))
        assert desk.dues_ms() == later


@pytest.mark.parametrize("attempt", [3, 19])
def test_none_is_put_back_to_before_its_time(attempt: int) -> None:
    """P2: what was claimed ahead of its time is not called earlier because it waits for others."""
    desk = Desk()
    early = new_claim(due=START + 0.9 * SECOND, attempt=attempt, lost_before=True)
    desk.take([*suspects(1), early, *suspects(1, attempt=19)])
    assert desk.dues_ms() == [900, 920]
    assert desk.look_ahead(after=0.9) == timedelta(milliseconds=10)


def test_little_is_claimed_ahead_while_some_wait() -> None:
    """So whoever has its turn is held no longer than its call takes; without a look-ahead it stays so."""
    desk = Desk()
    assert desk.look_ahead() == SECOND
    desk.end(desk.take(suspects(2)))
    assert desk.look_ahead() == timedelta(milliseconds=10)
    assert desk.look_ahead(after=0.39) == timedelta(milliseconds=10)
    assert desk.look_ahead(after=0.02) == SECOND
    impatient = Desk(look_ahead=timedelta())
    impatient.take(suspects(2))
    assert impatient.look_ahead() == timedelta()


def test_slow_ones_keep_the_others_waiting_longer() -> None:
    """While one is held for long, what waits for it is looked at ever more seldom."""
    desk = Desk()
    desk.take(suspects(1))
    waiting = suspects(1)
    desk.take(waiting)
    looks = 1
    while desk.now_us < 28_000_000:
        desk.take(waiting, after=desk.dues[waiting[0].id].total_seconds())
        looks += 1
    assert looks < 12


def test_one_that_hangs_is_not_waited_for_longer_than_a_lease() -> None:
    """P9: others go on although it is still held."""
    desk = Desk()
    desk.take(suspects(1))
    assert desk.take(suspects(1, attempt=19), after=30) == []
    assert len(desk.take(suspects(1, attempt=19), after=2)) == 1


def test_after_a_lease_without_any_all_begins_anew() -> None:
    """That those of one crash were harmless says nothing of those of the next one."""
    desk = Desk()
    for _ in range(4):
        desk.end(desk.take(suspects(100), after=1))
    assert len(desk.take(suspects(100), after=32)) == 1


# -- instances -------------------------------------------------------------------------------------


class _DeathError(BaseException):
    """The process has ended in the middle of a call."""


class Victims:
    """Instances that poison kills, each of which is replaced at once.

    Attributes:
        deaths: how often each poison event has killed.
    """

    def __init__(
        self, world: World, poison: Collection[str], *, instances: int = 1, **config: Any
    ) -> None:
        self.deaths: Counter[str] = Counter()
        self._world = world
        self._poison = poison
        self._config = config
        self.alive = [self._launch() for _ in range(instances)]

    def _launch(self) -> VirtualQueue:
        def trigger(event: Event) -> None:
            if event.id in self._poison:
                self.deaths[event.id] += 1
                self._world.kill(queue)
                self.alive.remove(queue)
                raise _DeathError
            self._world.note(event)

        queue = self._world.queue({"note": trigger}, **{**self._config, "retry_cap_sec": 1.0})
        return queue

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        end = self._world.time.now() + by
        while self._world.time.now() < end:
            try:
                self._world.time.advance_to(end)
            except _DeathError:
                self.alive.append(self._launch())


def lose_all(world: World, count: int, *, times: int = 1, trigger_type: str = "note") -> list[str]:
    """Store events and claim all of them as instances would that die with them."""
    ids = world.queue({}).create_many([(trigger_type, timedelta())] * count)
    assert len(world.claim_as_another(limit=count, lease=SECOND)) == count
    world.advance(seconds=1)
    return ids


def released(world: World) -> int:
    """How many claims were given back uncalled."""
    return sum(each.kind is SettlementKind.RELEASE for each in world.backend.settled)


@pytest.mark.parametrize("max_retry", [1, 3, 18])
@pytest.mark.parametrize("place", [0, 500, 999])
def test_poison_dies_alone(world: World, place: int, max_retry: int) -> None:
    """P7: of 1,000 events that were lost together again and again, only the one that kills is buried."""
    ids = [f"{number:03}" for number in range(1000)]
    victims = Victims(world, {ids[place]}, max_retry=max_retry)
    for event_id in ids:
        victims.alive[0].create("note", SECOND, id=event_id)
    victims.advance((max_retry + 2) * 2 * LEASE + 400 * SECOND)
    assert victims.deaths == {ids[place]: max_retry + 1}
    assert set(world.called_ids) == {*ids} - {ids[place]}
    assert world.memory.count() == {State.WAITING: 0, State.CLAIMED: 0, State.DEAD: 1}


def test_poison_among_several_instances(world: World) -> None:
    """P7: the same with three instances and five events that kill."""
    ids = [f"{number:03}" for number in range(300)]
    poison = set(ids[7::60])
    victims = Victims(world, poison, instances=3, max_retry=3, consumer_sleep_msec=100)
    for event_id in ids:
        victims.alive[0].create("note", SECOND, id=event_id)
    victims.advance(40 * LEASE)
    assert set(victims.deaths) == poison
    assert max(victims.deaths.values()) <= 4
    assert set(world.called_ids) == {*ids} - poison
    assert world.memory.count() == {State.WAITING: 0, State.CLAIMED: 0, State.DEAD: len(poison)}


def test_after_a_crash_all_goes_on_soon(world: World) -> None:
    """P9: what was lost is called within seconds, and most of it is never put back."""
    ids = lose_all(world, 10_000)
    world.queue()
    world.advance(seconds=10)
    assert sorted(world.called_ids) == sorted(ids)
    assert released(world) < 1_000


@pytest.mark.parametrize("instances", [1, 3])
@pytest.mark.parametrize("look_ahead", [0.25, 5.0])
def test_last_attempts_follow_each_other(world: World, instances: int, look_ahead: float) -> None:
    """P9: if none kills, each waits only until the one before has ended, however far ahead one looks."""
    ids = lose_all(world, 500)
    for _ in range(instances):
        world.queue(consumer_time_window_sec=look_ahead, max_retry=1)
    world.advance(seconds=15)
    assert sorted(world.called_ids) == sorted(ids)
    assert released(world) < 3 * len(ids)


def test_first_of_many_is_slow(world: World) -> None:
    """P9: what has waited for it in vain comes back soon after it has ended."""
    first, *others = lose_all(world, 2_000)

    def trigger(event: Event) -> None:
        world.note(event)
        if len(world.calls) == 1:
            world.advance(seconds=10)

    world.queue({"note": trigger})
    world.advance(seconds=25)
    assert sorted(world.called_ids) == sorted([first, *others])


def test_slow_suspects_do_not_stand_before_others(world: World) -> None:
    """P9: while one of a thousand suspects takes its time, fresh events are called in time."""
    lose_all(world, 1000, trigger_type="slow")
    slow = []

    def take_long(event: Event) -> None:
        slow.append(event)
        world.advance(seconds=10)

    queue = world.queue({"slow": take_long, "note": world.note}, consumer_select_limit=100)
    fresh = [queue.create("note", number * SECOND) for number in range(2, 10)]
    queue.advance(9 * SECOND)
    assert [event.id for when, event in world.calls if when == event.trigger_time] == fresh
    assert len(slow) == 1
    assert released(world) < 10_000


def test_what_cannot_be_put_back_is_put_back_later(world: World) -> None:
    """P9: if the backend fails just then, nothing is charged an attempt for that."""
    ids = lose_all(world, 20)
    world.queue(consumer_lock_timeout_sec=10)
    world.backend.plan("settle", *[fails(unavailable())] * 3)
    world.advance(seconds=9)
    assert {event.id: event.attempt for _, event in world.calls} == dict.fromkeys(ids, 2)


def test_a_suspect_that_waits_can_be_cancelled(world: World) -> None:
    """P6: it is removed and not called; but an earlier call may still be under way."""
    ids = lose_all(world, 3)
    other = world.queue({})
    queue = world.queue()
    world.backend.plan("settle", fails(unavailable()))
    queue.advance(timedelta(0))
    [called] = world.called_ids
    answers = [by.cancel(each) for by, each in zip([queue, other], {*ids} - {called}, strict=True)]
    assert answers == [CancelOutcome.IN_FLIGHT] * 2
    queue.advance(LEASE)
    assert world.called_ids == [called]
