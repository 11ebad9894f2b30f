"""A unit test of code that schedules events: a week passes in a second."""

from datetime import timedelta
from typing import Any

from futurama import CancelOutcome, Event, Queue
from futurama.testing import VirtualQueue


class Reminders:
    """The code under test: reminds of an invitation unless it is answered."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def invite(self, queue: Queue, guest: str) -> None:
        """Remember to remind."""
        queue.create("remind", timedelta(days=7), {"guest": guest}, id=f"remind-{guest}")

    def answered(self, queue: Queue, guest: str) -> CancelOutcome:
        """Nothing to remind of."""
        return queue.cancel(f"remind-{guest}")

    def remind(self, event: Event) -> None:
        """The trigger."""
        if event.attempt == 1:
            raise ConnectionError("the mail server is away")
        self.sent.append(event.data["guest"])


def test_only_who_does_not_answer_is_reminded() -> None:
    """A week later, and after a second attempt, the silent guest has been reminded."""
    reminders = Reminders()
    with VirtualQueue({"remind": reminders.remind}) as queue:
        reminders.invite(queue, "fry")
        reminders.invite(queue, "leela")
        queue.advance(timedelta(days=6))
        assert reminders.answered(queue, "leela") is CancelOutcome.CANCELLED
        queue.advance(timedelta(hours=23))
        assert reminders.sent == []
        queue.advance(timedelta(hours=2))
        assert reminders.sent == ["fry"]
