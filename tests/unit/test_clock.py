"""The backend's clock, carried forward by a local timer: never ahead, whatever local clocks do."""

from __future__ import annotations

import logging
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from futurama.clock import BackendClock
from futurama.testing import VirtualTime
from futurama.times import from_us, to_us
from tests.unit.support import LAWS, START, unavailable

START_US = to_us(START)


class Machine(VirtualTime):
    """A machine whose wall clock shows what it likes, and a server that takes time to answer.

    Attributes:
        wall_offset_us: how wrong this machine's clock is.
        delays_us: how long the next questions take until the server looks at its clock, and back.
        server_offset_us: how the server's clock differs from true time.
    """

    def __init__(self) -> None:
        super().__init__(START)
        self.wall_offset_us = 0
        self.server_offset_us = 0
        self.delays_us: list[tuple[int, int]] = []

    def wall_us(self) -> int:
        return super().wall_us() + self.wall_offset_us

    def server_us(self) -> int:
        """The server's clock, this instant."""
        return self._now_us + self.server_offset_us

    def ask_server(self) -> datetime:
        """What ``backend.now`` does."""
        there, back = self.delays_us.pop(0) if self.delays_us else (0, 0)
        self._now_us += there
        answer = self.server_us()
        self._now_us += back
        return from_us(answer)

    def pass_us(self, us: int) -> None:
        """Let time pass."""
        self._now_us += us


DELAYS = st.lists(
    st.tuples(st.integers(0, 5_000_000), st.integers(0, 5_000_000)), min_size=3, max_size=3
)


@given(DELAYS, st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
@LAWS
def test_never_ahead(
    delays: list[tuple[int, int]], wall_offset_us: int, server_offset_us: int
) -> None:
    """P2: whatever the delays and the clocks, it is never ahead of the server's clock, and behind
    by no more than the quickest way back."""
    machine = Machine()
    machine.wall_offset_us, machine.server_offset_us = wall_offset_us, server_offset_us
    machine.delays_us = list(delays)
    clock = BackendClock(machine.ask_server, machine)
    clock.sample()
    machine.pass_us(3_000_000)
    behind_us = machine.server_us() - clock.now_us()
    assert 0 <= behind_us <= min(back for _, back in delays)


def test_the_wall_clock_means_nothing() -> None:
    """P2: a local clock that jumps by hours, forth or back, moves nothing."""
    machine = Machine()
    clock = BackendClock(machine.ask_server, machine)
    clock.sample()
    for jump_us in (-7_200_000_000, 7_200_000_000):
        machine.wall_offset_us = jump_us
        assert clock.now() == START
    clock.sample()
    assert clock.now() == START


def test_a_failed_sample_keeps_the_old_offset() -> None:
    """P9: while the backend is away the clock goes on."""
    machine = Machine()
    answers = [machine.ask_server] * 10

    def ask() -> datetime:
        if not answers:
            raise unavailable()
        return answers.pop()()

    clock = BackendClock(ask, machine)
    clock.sample()
    machine.pass_us(1_000_000)
    with pytest.raises(type(unavailable())):
        clock.sample()
    assert clock.now_us() == START_US + 1_000_000


def test_a_moved_server_clock_is_followed() -> None:
    """After the next sample the clock shows what the server shows, be it earlier."""
    machine = Machine()
    clock = BackendClock(machine.ask_server, machine)
    clock.sample()
    machine.server_offset_us = -60_000_000
    clock.sample()
    assert clock.now_us() == machine.server_us()


def test_large_skew_is_worth_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A skew above a second is reported once, and again only after it was right meanwhile."""
    machine = Machine()
    clock = BackendClock(machine.ask_server, machine)
    caplog.set_level(logging.WARNING)
    for wall_offset_us in (0, 900_000, -3_000_000, -3_000_000, 0, 5_000_000):
        machine.wall_offset_us = wall_offset_us
        clock.sample()
    assert [record.args for record in caplog.records] == [(3.0,), (-5.0,)]
    assert clock.skew_us == -5_000_000


def test_a_slow_answer_is_no_skew(caplog: pytest.LogCaptureFixture) -> None:
    """What may be due to the round trip is not called a skew."""
    machine = Machine()
    machine.delays_us = [(0, 3_000_000)] * 3
    BackendClock(machine.ask_server, machine).sample()
    assert not caplog.records


@pytest.mark.parametrize("jump_us", [3_600_000_000, -3_600_000_000, 1_100_000])
def test_a_jump_of_the_server_is_worth_a_warning(
    caplog: pytest.LogCaptureFixture, jump_us: int
) -> None:
    """A server clock that was set, or another server's, is told of once for each jump."""
    machine = Machine()
    clock = BackendClock(machine.ask_server, machine)
    clock.sample()
    machine.pass_us(10_000_000)
    machine.wall_offset_us = machine.server_offset_us = jump_us
    clock.sample()
    clock.sample()
    assert [record.args for record in caplog.records] == [(jump_us / 1e6,)]
    assert "has jumped" in caplog.text
    assert clock.jumps == 1


def test_what_is_no_jump(caplog: pytest.LogCaptureFixture) -> None:
    """Neither slow answers, nor a drift, nor this machine's own clock make the server's seem to jump."""
    machine = Machine()
    clock = BackendClock(machine.ask_server, machine)
    machine.delays_us = [(0, 3_000_000)] * 3
    clock.sample()
    clock.sample()
    machine.delays_us = [(0, 3_000_000)] * 3
    clock.sample()
    machine.pass_us(86_400_000_000)
    machine.server_offset_us = machine.wall_offset_us = 8_640_000
    clock.sample()
    assert clock.jumps == 0
    assert not caplog.records
    machine.wall_offset_us += 3_600_000_000
    clock.sample()
    assert clock.jumps == 0


def test_whole_seconds_do_not_jump() -> None:
    """A server that knows no fractions of a second seems to move by less than one."""
    machine = Machine()
    clock = BackendClock(lambda: machine.ask_server().replace(microsecond=0), machine)
    for _ in range(50):
        clock.sample()
        machine.pass_us(10_123_456)
    assert clock.jumps == 0
