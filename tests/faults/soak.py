"""``make soak``: many faults at random for a long time, and whether anything wears out.

Rounds of a minute: clients ask for 500 events a second while instances are killed, stopped and
replaced, the server is killed and stopped, rows are locked, and connections are cut, delayed and
silenced. At the end of each round everything must have finished, and the checker judges it. The
instance in place ``a`` is never killed: its memory, threads and files must stay what they were.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import attrs
import pymysql

from tests.faults.client import Load, Plan
from tests.faults.command import INTERRUPTED, calm, positive_number, tell
from tests.faults.processes import Instance
from tests.faults.stage import LEASE_SECONDS, Outcome, Stage
from tests.servers import MariaDB
from tests.servers.process import temporary_folder
from tests.servers.proxy import Proxy

_EVENTS_PER_SECOND = 500
_ROUND_SECONDS = 50.0
"""Of load; what is left to do then, and judging, takes the rest of a minute."""

_READ_TIMEOUT_SECONDS = 1.5
_PAUSES_SECONDS = (0.5, 4.0)
"""The least and the longest time from one fault to the next."""

_SURVIVOR = "a"

_ALLOWED = {"memory_mb": 8.0, "memory_blocks": 1000, "threads": 5, "files": 15}
"""How much more of each the last third of the samples may show than the first.

Pools fill up to their limits only when the load asks for it. Memory is fragmented by the worst moments, and
the allocator keeps some of what each thread has freed: glibc up to 7 chunks of each of 64 sizes (`tcache` in
its malloc/malloc.c), so it grows for a while, ever more slowly. Blocks are the objects themselves: counted in peace they
differ by some hundred, and one that were lost with every hundredth call would be found in half an hour.
"""

_DELAY_SECONDS = 0.2


@attrs.frozen
class Sample:
    """What an instance takes of the machine.

    Attributes:
        memory_mb: as the kernel counts it, with what is kept for later.
        memory_blocks: how many objects of up to 512 bytes, see :func:`sys.getallocatedblocks`.
        threads, files: as the kernel says.
    """

    memory_mb: float
    memory_blocks: int
    threads: int
    files: int

    @classmethod
    def of(cls, instance: Instance) -> Sample:
        """Of now."""
        folder = Path(f"/proc/{instance.pid}")
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        return cls(
            memory_mb=int(status["VmRSS"].split()[0]) / 1024,
            memory_blocks=instance.stats()["memory_blocks"],
            threads=int(status["Threads"]),
            files=len(list((folder / "fd").iterdir())),
        )


class Soak:
    """One long run.

    Args:
        stage: with three instances that reach the server through ``proxy``.
        server, database, proxy: what breaks.
        chance: what breaks next.
    """

    def __init__(
        self, stage: Stage, server: MariaDB, database: str, proxy: Proxy, chance: random.Random
    ) -> None:
        self._stage = stage
        self._server = server
        self._database = database
        self._proxy = proxy
        self._chance = chance
        self.injected: dict[str, int] = {}
        self.samples: list[Sample] = []
        self._faults: Mapping[str, Callable[[], None]] = {
            "instance killed": self._kill_instance,
            "instance stopped": self._stop_instance,
            "instance replaced": self._replace_instance,
            "server killed": self._kill_server,
            "server stopped": self._stop_server,
            "rows locked": self._lock_rows,
            "connections cut": self._cut,
            "connections slow": self._slow_down,
            "connections silent": self._silence,
        }

    def round(self, number: int) -> Outcome:
        """Load with faults, then peace until everything has finished; judged."""
        plan = Plan(
            events=int(_EVENTS_PER_SECOND * _ROUND_SECONDS),
            seconds=_ROUND_SECONDS,
            seed=self._chance.randrange(10**9),
            prefix=f"r{number}-",
        )
        with self._stage.load(plan) as load:
            self._disturb(load)
        self._stage.wait_until_finished()
        self.samples.append(Sample.of(self._stage.places[_SURVIVOR]))
        outcome = self._stage.judged()
        queue = self._stage.client.queue
        queue.backend.purge(before=queue.now() + timedelta(seconds=1))  # the dead, who are judged
        return outcome

    def _disturb(self, load: Load) -> None:
        while load.is_running:
            time.sleep(self._chance.uniform(*_PAUSES_SECONDS))
            name = self._chance.choice(list(self._faults))
            self._faults[name]()
            self.injected[name] = self.injected.get(name, 0) + 1

    def _some_time(self) -> None:
        time.sleep(self._chance.uniform(0.2, 2 * LEASE_SECONDS))

    def _kill_instance(self) -> None:
        place = self._chance.choice([each for each in self._stage.places if each != _SURVIVOR])
        self._stage.kill(place)
        self._stage.launch(place)
        self._stage.wait_until_ready()

    def _stop_instance(self) -> None:
        with self._stage.paused(self._chance.choice(list(self._stage.places))):
            self._some_time()

    def _replace_instance(self) -> None:
        place = self._chance.choice([each for each in self._stage.places if each != _SURVIVOR])
        self._stage.retire(place)
        self._stage.launch(place)
        self._stage.wait_until_ready()

    def _kill_server(self) -> None:
        with self._stage.disturbed():
            self._server.kill()
            self._server.start()
            time.sleep(_READ_TIMEOUT_SECONDS)

    def _stop_server(self) -> None:
        with self._stage.disturbed():
            self._server.pause()
            try:
                self._some_time()
            finally:
                self._server.resume()
            time.sleep(_READ_TIMEOUT_SECONDS)

    def _lock_rows(self) -> None:
        """As a careless report would: all rows of the moment, for some seconds."""
        connection = self._server.connect(self._database, autocommit=False)
        with contextlib.closing(connection), self._stage.disturbed():
            with contextlib.suppress(pymysql.err.OperationalError):  # chosen as a deadlock's victim
                connection.cursor().execute("SELECT id FROM events FOR UPDATE")
            self._some_time()

    def _cut(self) -> None:
        with self._stage.disturbed():
            self._proxy.reset(self._chance.uniform(0.1, 1.0))

    def _slow_down(self) -> None:
        with self._stage.disturbed(), self._proxy.slow(_DELAY_SECONDS):
            self._some_time()

    def _silence(self) -> None:
        with self._stage.disturbed():
            with self._proxy.silent(drop=self._chance.random() < 0.5):
                self._some_time()
            time.sleep(_READ_TIMEOUT_SECONDS)


def wear(samples: Sequence[Sample]) -> list[str]:
    """What the instance takes more of in the end than in the beginning."""
    third = max(1, len(samples) // 3)
    first, last = samples[:third], samples[-third:]

    def medians(name: str) -> tuple[float, float]:
        before, after = (
            statistics.median(getattr(s, name) for s in some) for some in (first, last)
        )
        return before, after

    worn = []
    for name, allowed in _ALLOWED.items():
        before, after = medians(name)
        if after > before + allowed:
            worn.append(f"{name}: {before:.0f} at first, {after:.0f} in the end")
    return worn


def main(words: Sequence[str] | None = None) -> int:
    """Run rounds until the time is over.

    Returns:
        0 if nothing was broken and nothing has worn out, 1 if not, 130 if somebody interrupted it.
    """
    arguments = _arguments(words)
    print(f"seed {arguments.seed}", flush=True)
    rounds: list[Sequence[str]] = []
    try:
        with _soak(arguments) as soak, calm():
            _make_rounds(soak, arguments.minutes, rounds)
    except KeyboardInterrupt:
        print(f"interrupted after {len(rounds)} rounds", file=sys.stderr)
        return INTERRUPTED
    worn = wear(soak.samples)
    print(f"faults: {soak.injected}")
    broken = [f"round {number}" for number, each in enumerate(rounds, 1) if each]
    print(f"something was broken in: {', '.join(broken)}" if broken else "nothing was broken")
    print("\n".join(["this has worn out:", *worn]) if worn else "nothing has worn out")
    return 1 if broken or worn else 0


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=positive_number, default=30.0, help="for how long")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), help="of what is left to chance"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="leave records and logs there, also after Ctrl-C"
    )
    return parser.parse_args(words)


@contextlib.contextmanager
def _soak(arguments: argparse.Namespace) -> Iterator[Soak]:
    """On a server of its own."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(MariaDB())
        proxy = stack.enter_context(Proxy(server.port, seed=arguments.seed))
        database = server.create_database("soak")
        store = {
            "backend": "mysql",
            **server.settings(database),
            "port": proxy.port,
            "read_timeout_sec": _READ_TIMEOUT_SECONDS,
            "lock_wait_timeout_sec": 1,
            "connect_timeout_sec": _READ_TIMEOUT_SECONDS,
        }
        folder = temporary_folder("futurama-soak-")
        if arguments.keep:
            stack.callback(shutil.copytree, folder, arguments.keep, dirs_exist_ok=True)
        stage = stack.enter_context(Stage(folder, store, seed=arguments.seed))
        yield Soak(stage, server, database, proxy, random.Random(arguments.seed))


def _make_rounds(soak: Soak, minutes: float, rounds: list[Sequence[str]]) -> None:
    """Until the time is over; each adds what it has broken, and says so."""
    deadline = time.monotonic() + 60 * minutes
    known: set[str] = set()
    while time.monotonic() < deadline:
        number = len(rounds) + 1
        outcome = soak.round(number)
        figures = ", ".join(f"{name} {value}" for name, value in outcome.figures.items())
        print(f"round {number}: {figures}; {soak.samples[-1]}", flush=True)
        new = [each for each in outcome.violations if each not in known]  # logs are read as a whole
        known.update(new)
        rounds.append(new)
        tell(new)


if __name__ == "__main__":
    sys.exit(main())
