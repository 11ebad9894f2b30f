"""Triggers of one's own for an instance on the command line.

In the folder of this file, with a configuration like {"backend": "sqlite", "path": "events.db"}:

    futurama run custom_triggers:TRIGGERS --config queue.json
    futurama create greet +2s '{"name": "Leela"}' --config queue.json
    futurama create poll now '{"left": 3}' --config queue.json
"""

import asyncio
from datetime import timedelta

from futurama import Event, EventStatus, GiveUp, TriggerResult


def greet(event: Event) -> None:
    """A function: it runs in a thread, and may block. An exception means: try again later."""
    if not isinstance(event.data, dict) or "name" not in event.data:
        raise GiveUp(f"nobody to greet in {event.data!r}")  # to the dead letters, at once
    print(f"Hello, {event.data['name']}! (attempt {event.attempt})", flush=True)


async def poll(event: Event) -> TriggerResult | None:
    """A coroutine function: a thousand may wait at once. Comes back until nothing is left.

    For a few times: each counts as an attempt, of which there are 19 unless the configuration says otherwise.
    """
    await asyncio.sleep(0.1)
    left = event.data["left"] - 1
    print(f"polled, {left} left", flush=True)
    if not left:
        return None
    return TriggerResult(EventStatus.RETRY, timedelta(seconds=1), {"left": left})


TRIGGERS = {"greet": greet, "poll": poll}
