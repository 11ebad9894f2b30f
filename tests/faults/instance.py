"""One instance as a process: ``python -m tests.faults.instance RECORD CONFIG``.

Says ``ready`` when it has started. Obeys lines on its standard input: ``cancel FILE`` cancels the
events that a file lists, each at its time, and says ``cancelled`` at the end; ``stats`` prints the
statistics; the end of the input stops it.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from pathlib import Path

from futurama import Config, Event, Queue
from futurama.errors import FuturamaError
from futurama.times import to_us
from tests.faults.record import Recorder

_CANCELLERS = 16


def main(record: str, config: str) -> None:
    """Run until the standard input ends."""
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    recorder = Recorder(Path(record))

    def trigger(event: Event) -> None:
        recorder.write("call", event.id, event.attempt, to_us(event.trigger_time))

    queue = Queue({"t": trigger}, Config.from_mapping(json.loads(config)))
    queue.start()
    print("ready", flush=True)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "cancel":
            _cancel_all(queue, recorder, Path(argument))
            print("cancelled", flush=True)
        elif command == "stats":
            print(json.dumps(queue.stats()), flush=True)
    print("stopped" if queue.stop() else "stopped with calls left", flush=True)


def _cancel_all(queue: Queue, recorder: Recorder, path: Path) -> None:
    """Cancel each event of the file at the time given there, in microseconds since 1970."""
    plan = [(int(us), event_id) for event_id, us in map(str.split, path.read_text().splitlines())]
    plan.sort()

    def work(part: int) -> None:
        for at_us, event_id in plan[part::_CANCELLERS]:
            time.sleep(max(0.0, at_us / 1e6 - time.time()))
            try:
                outcome = queue.cancel(event_id).value
            except FuturamaError as exc:
                outcome = type(exc).__name__
            recorder.write("cancel", event_id, outcome)

    threads = [threading.Thread(target=work, args=[part]) for part in range(_CANCELLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
