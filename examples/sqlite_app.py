"""An application that schedules events in an SQLite file and calls them itself.

Kill it and start it again before the egg is done: what was scheduled is in the file.
"""

import threading
from datetime import timedelta

from futurama import Config, Event, Queue

all_done = threading.Event()


def remind(event: Event) -> None:
    """Say what it is time for; called in a thread of the queue, at the time of the event."""
    print(f"{event.trigger_time.astimezone():%H:%M:%S.%f}: {event.data['text']}", flush=True)
    if event.data.get("last"):
        all_done.set()


def main() -> None:
    """Cook an egg."""
    config = Config(backend="sqlite", path="egg.db")
    with Queue({"remind": remind}, config) as queue:
        # With ids of its own, starting the program again schedules nothing twice.
        queue.create(
            "remind", timedelta(seconds=1), {"text": "put it in"}, id="in", if_exists="keep"
        )
        queue.create(
            "remind",
            timedelta(seconds=3),
            {"text": "take it out", "last": True},
            id="out",
            if_exists="keep",
        )
        hungry = queue.create("remind", timedelta(seconds=2), {"text": "look whether it is done"})
        print("cancel:", queue.cancel(hungry).value)
        all_done.wait()


if __name__ == "__main__":
    main()
