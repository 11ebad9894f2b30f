"""The scenarios by hand: ``python -m tests.faults.run two-processes --events 10000 --seconds 10``.

Starts a private server (or uses SQLite) in a temporary folder, prints the figures, and exits with 1
if a promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path

from tests.faults import scenarios
from tests.servers import MariaDB, PostgreSQL, Redis

SCENARIOS = {
    "two-processes": (scenarios.two_processes, 10_000, 10.0),
    "killed-instance": (scenarios.killed_instance, 10_000, 10.0),
    "killed-server": (scenarios.killed_server, 5_000, 10.0),
    "cancel-storm": (scenarios.cancel_storm, 2_000, 4.0),
}
"""Function, events and seconds of what the figures in the documentation were measured with."""

SERVERS: dict[str, type[MariaDB | PostgreSQL | Redis]] = {
    "mysql": MariaDB,
    "postgresql": PostgreSQL,
    "redis": Redis,
}


def main() -> int:
    """Run one scenario and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--backend", choices=["sqlite", *SERVERS], default="mysql")
    parser.add_argument("--events", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--keep", action="store_true", help="keep records and logs")
    arguments = parser.parse_args()
    function, events, seconds = SCENARIOS[arguments.scenario]
    size = {"events": arguments.events or events, "seconds": arguments.seconds or seconds}
    with contextlib.ExitStack() as stack:
        folder = Path(
            tempfile.mkdtemp(prefix="futurama-faults-")
            if arguments.keep
            else stack.enter_context(tempfile.TemporaryDirectory(prefix="futurama-faults-"))
        )
        if arguments.backend == "sqlite":
            if function is scenarios.killed_server:
                parser.error("SQLite has no server to kill")
            store = {"backend": "sqlite", "path": str(folder / "events.db")}
            result = function(folder, store, **size)  # type: ignore[operator]  # not killed_server
        else:
            server: MariaDB | PostgreSQL | Redis = SERVERS[arguments.backend]()
            stack.enter_context(server)
            database = server.create_database("faults")
            store = {"backend": arguments.backend, **server.settings(database)}
            first = [server] if function is scenarios.killed_server else []
            result = function(folder, *first, store, **size)  # type: ignore[operator]  # as above
        if arguments.keep:
            print(f"records and logs are in {folder}")
    print(json.dumps({"scenario": arguments.scenario, "backend": arguments.backend, **size}))
    for name, value in result.figures.items():
        print(f"  {name}: {value}")
    for violation in result.violations:
        print(f"  BROKEN {violation}")
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
