"""The scenarios at a size that a test suite can bear; ``run.py`` runs them at full size."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.faults import scenarios

Store: TypeAlias = dict[str, Any]


@pytest.fixture(params=["mysql", "postgresql", "redis", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """The configuration keys of an empty store that several processes may share."""
    if request.param == "sqlite":
        yield {"backend": "sqlite", "path": str(tmp_path / "events.db")}
        return
    server = request.getfixturevalue(f"{request.param}_server")
    database = server.create_database("faults")
    yield {"backend": request.param, **server.settings(database)}
    server.drop_database(database)


def check(run: Callable[[], scenarios.Result]) -> scenarios.Result:
    """Run a scenario; print its figures, which pytest shows when it fails."""
    result = run()
    print(json.dumps(result.figures, indent=1))
    assert not result.violations
    return result


def test_two_processes(store: Store, tmp_path: Path) -> None:
    """P3, P5: two processes on one table call every event exactly once, none early."""
    result = check(lambda: scenarios.two_processes(tmp_path, store, events=1500, seconds=3))
    assert result.figures["called exactly once"] == 1500
    assert len(result.figures["calls by process"]) == 2, "one of them did nothing"


def test_killed_instance(store: Store, tmp_path: Path) -> None:
    """P1, P5: after SIGKILL of one process every event is called within the lease and two seconds,
    and only what it held is called twice."""
    result = check(lambda: scenarios.killed_instance(tmp_path, store, events=2000, seconds=4))
    assert result.figures["held by the killed one"] > 0, "nothing was at stake"


@pytest.mark.parametrize("backend", ["mysql", "postgresql", "redis"])
def test_killed_server(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """P1, P9: after SIGKILL of the database every acknowledged event is called, and both processes
    go on by themselves."""
    server = request.getfixturevalue(f"private_{backend}")
    store = {"backend": backend, **server.settings(server.create_database("faults"))}
    check(lambda: scenarios.killed_server(tmp_path, server, store, events=1500, seconds=5))


def test_cancel_storm(store: Store, tmp_path: Path) -> None:
    """P6: of events cancelled from two processes within 5 ms of their time none is called after
    CANCELLED, and each is either called or cancelled."""
    result = check(lambda: scenarios.cancel_storm(tmp_path, store, events=400, seconds=2))
    assert result.figures["answers"].get("cancelled", 0) > 0, "nothing was cancelled in time"
