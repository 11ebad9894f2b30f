"""What a scenario is, and what it is given."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import attrs

from tests.faults.client import Plan
from tests.faults.stage import Outcome, Stage
from tests.servers import MariaDB, PostgreSQL, Redis

__all__ = ["SERVERS", "Circumstances", "Scenario", "Server", "scenario"]

Server: TypeAlias = MariaDB | PostgreSQL | Redis

SERVERS: Mapping[str, type[Server]] = {
    "mysql": MariaDB,
    "postgresql": PostgreSQL,
    "redis": Redis,
}


@attrs.frozen(kw_only=True)
class Circumstances:
    """Under which a scenario is run.

    Attributes:
        folder: an empty one, for records, logs and data.
        seed: of everything that is left to chance.
        events, seconds: the size of the load.
        backend: on which.
    """

    folder: Path
    seed: int
    events: int
    seconds: float
    backend: str

    def plan(self, **more: Any) -> Plan:
        """A load of the wanted size; see :class:`Plan`."""
        return Plan(**{"events": self.events, "seconds": self.seconds, "seed": self.seed, **more})

    @contextlib.contextmanager
    def server(self, *options: str) -> Iterator[Server]:
        """A private server of the backend, started."""
        with SERVERS[self.backend](*options) as server:
            yield server

    def store(self, server: Server) -> dict[str, Any]:
        """The configuration keys of an empty database on a server."""
        return {"backend": self.backend, **server.settings(server.create_database("faults"))}

    @contextlib.contextmanager
    def any_store(self) -> Iterator[dict[str, Any]]:
        """The configuration keys of an empty store, on a private server if there is one."""
        if self.backend == "sqlite":
            yield {"backend": "sqlite", "path": str(self.folder / "events.db")}
            return
        with self.server() as server:
            yield self.store(server)

    def stage(self, store: Mapping[str, Any], **more: Any) -> Stage:
        """Instances on a store; see :class:`Stage`."""
        return Stage(self.folder, store, seed=self.seed, **more)


@attrs.frozen(kw_only=True)
class Scenario:
    """A fault and how it is injected.

    Attributes:
        name: in one word, for the command line.
        fault: what breaks, for people.
        how: in which way it is made to break, for people.
        run: does it, and judges; what it returns also tells whether the fault did happen.
        backends: on which it makes sense.
    """

    name: str
    fault: str
    how: str
    run: Callable[[Circumstances], Outcome]
    backends: tuple[str, ...]


def scenario(
    *, fault: str, how: str, backends: tuple[str, ...] = ("mysql",)
) -> Callable[[Callable[[Circumstances], Outcome]], Scenario]:
    """Make a scenario of a function of the same name."""

    def make(run: Callable[[Circumstances], Outcome]) -> Scenario:
        name = run.__name__.replace("_", "-")
        return Scenario(name=name, fault=fault, how=how, run=run, backends=backends)

    return make
