"""Children of the suite that die, fail or hang are told apart."""

from __future__ import annotations

from multiprocessing.connection import Connection

import pytest

from futurama.backend import EventBackend
from futurama.backends.memory import MemoryBackend
from futurama.conformance import LawBroken
from futurama.conformance.processes import ChildFailedError, child

MORE_THAN_A_PIPE_HOLDS = 1 << 24


def speak(backend: EventBackend, pipe: Connection) -> None:
    """Say something that nobody listens to."""
    pipe.send("ready")
    pipe.send_bytes(bytes(MORE_THAN_A_PIPE_HOLDS))


def find_fault(backend: EventBackend, pipe: Connection) -> None:
    """Find a broken law."""
    raise LawBroken("claim.limit", expected="one", actual="two")


def test_child_killed_in_the_middle_of_a_message_has_ended() -> None:
    """What it wanted to say is lost, as if it had not begun to."""
    with child(MemoryBackend, speak) as running:
        running.receive()
        assert running._pipe.poll(30)
        running.kill()
        with pytest.raises(EOFError):
            running.receive()


def test_finding_of_a_child_is_told() -> None:
    """It keeps its law, and what was expected."""
    with child(MemoryBackend, find_fault) as running, pytest.raises(ChildFailedError) as caught:
        running.receive()
    assert caught.value.broken is not None
    assert (caught.value.broken.law, caught.value.broken.expected) == ("claim.limit", "one")
