"""One instance as a process: ``python -m tests.faults.instance RECORD CONFIG``.

Says ``ready`` when it has started. Obeys lines on its standard input: ``ask FILE`` cancels and moves
the events that a file lists, each at its time, and says ``asked`` at the end; ``stats`` prints the
statistics, the wall clock and how many blocks of memory objects take; the end of the input stops it.
"""

from __future__ import annotations

import gc
import json
import logging
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from futurama import Config, Queue
from tests.faults.behaviour import triggers
from tests.faults.client import Client
from tests.faults.record import Recorder
from tests.faults.recorded import RecordedBackend

_ASKERS = 16


def main(record: str, config: str) -> None:
    """Run until the standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us too, but others decide
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    recorder = Recorder(Path(record))
    configuration = Config.from_mapping(json.loads(config))
    backend = RecordedBackend(configuration.make_backend(), recorder)
    queue = Queue(triggers(recorder), configuration, backend=backend)
    client = Client(queue, recorder)
    queue.start()
    print("ready", flush=True)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "ask":
            _ask(client, Path(argument))
            print("asked", flush=True)
        elif command == "stats":
            print(json.dumps(_stats(queue)), flush=True)
    print("stopped" if queue.stop() else "stopped with calls left", flush=True)
    backend.close()


def _stats(queue: Queue) -> dict[str, Any]:
    gc.collect()
    return {
        **queue.stats(),
        "wall_clock": time.time(),
        "memory_blocks": sys.getallocatedblocks(),
    }


def _ask(client: Client, path: Path) -> None:
    """Carry out a file of lines ``AT ID [TO]``: at that time cancel the event, or move it to another.

    Times are in microseconds since 1970.
    """
    steps = sorted((int(at), rest) for at, *rest in map(str.split, path.read_text().splitlines()))

    def work(part: int) -> None:
        for at_us, (event_id, *to_us) in steps[part::_ASKERS]:
            time.sleep(max(0.0, at_us / 1e6 - time.time()))
            if to_us:
                client.move(event_id, int(to_us[0]))
            else:
                client.cancel(event_id)

    threads = [threading.Thread(target=work, args=[part]) for part in range(_ASKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
