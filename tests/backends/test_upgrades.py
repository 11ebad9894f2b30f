"""Tables that a former version has made, with events in them."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest

from futurama.backend import Claim, ClaimBatch, Query, Settlement, State
from futurama.backends.sql import SQLBackend
from futurama.backends.sqlite import SQLiteBackend, SQLiteSettings
from futurama.errors import BackendSetupError
from tests.backends.conftest import new_site
from tests.backends.samples import T0, event, seconds

_TOKEN = b"t" * 16

_FIRST_TABLES = {
    "mysql": (
        """CREATE TABLE futurama_schema (
            table_name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
            version INT NOT NULL
        ) ENGINE=InnoDB""",
        """CREATE TABLE events (
            id VARBINARY(128) NOT NULL PRIMARY KEY,
            trigger_type VARBINARY(255) NOT NULL,
            trigger_time DATETIME(6) NOT NULL,
            due DATETIME(6) NULL,
            attempt INT NOT NULL DEFAULT 0,
            lost BOOL NOT NULL DEFAULT FALSE,
            token BINARY(16) NULL,
            owner VARBINARY(255) NULL,
            created BIGINT NOT NULL,
            data MEDIUMBLOB NOT NULL,
            died DATETIME(6) NULL,
            reason MEDIUMBLOB NULL,
            KEY due_id (due, id)
        ) ENGINE=InnoDB""",
    ),
    "postgresql": (
        """CREATE TABLE futurama_schema (
            table_name text NOT NULL PRIMARY KEY, version integer NOT NULL
        )""",
        """CREATE TABLE events (
            id bytea NOT NULL PRIMARY KEY,
            trigger_type bytea NOT NULL,
            trigger_time timestamptz NOT NULL,
            due timestamptz NULL,
            attempt integer NOT NULL DEFAULT 0,
            lost boolean NOT NULL DEFAULT false,
            token bytea NULL,
            owner bytea NULL,
            created bigint NOT NULL,
            data bytea NOT NULL,
            died timestamptz NULL,
            reason bytea NULL
        )""",
        "CREATE INDEX events_due_id ON events (due, id)",
    ),
    "sqlite": (
        "CREATE TABLE futurama_schema (table_name TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL)",
        """CREATE TABLE events (
            id BLOB NOT NULL PRIMARY KEY,
            trigger_type BLOB NOT NULL,
            trigger_time INTEGER NOT NULL,
            due INTEGER NULL,
            attempt INTEGER NOT NULL DEFAULT 0,
            lost INTEGER NOT NULL DEFAULT 0,
            token BLOB NULL,
            owner BLOB NULL,
            created INTEGER NOT NULL,
            data BLOB NOT NULL,
            died INTEGER NULL,
            reason BLOB NULL
        )""",
        "CREATE INDEX events_due_id ON events (due, id)",
    ),
}
"""As schema version 1 made them."""

_MOMENTS = {
    "mysql": "'2030-01-01'",
    "postgresql": "'2030-01-01 00:00Z'",
    "sqlite": "1893456000000000",
}
"""T0 in SQL."""

_A_MINUTE_LATER = {
    "mysql": "'2030-01-01 00:01'",
    "postgresql": "'2030-01-01 00:01Z'",
    "sqlite": "1893456060000000",
}

Make: TypeAlias = Callable[..., Any]


@attrs.frozen
class _Old:
    """A table of version 1 in which an event waits, another is claimed, and a third is dead."""

    make: Make
    execute: Callable[[str], object]


def _fill(product: str, execute: Callable[[str], object]) -> None:
    def literal(value: bytes) -> str:
        in_hex = value.hex()
        return f"'\\x{in_hex}'" if product == "postgresql" else f"X'{in_hex}'"

    for statement in _FIRST_TABLES[product]:
        execute(statement)
    execute("INSERT INTO futurama_schema VALUES ('events', 1)")
    now, later = _MOMENTS[product], _A_MINUTE_LATER[product]
    owned = f"{literal(_TOKEN)}, {literal(b'somebody')}"
    for name, due, attempt, token_and_owner, died in (
        (b"waiting", now, 0, "NULL, NULL", "NULL"),
        (b"claimed", later, 1, owned, "NULL"),
        (b"dead", "NULL", 18, "NULL, NULL", now),
    ):
        execute(
            "INSERT INTO events (id, trigger_type, trigger_time, due, attempt, token, owner, created, "
            f"data, died) VALUES ({literal(name)}, {literal(b't')}, {now}, {due}, {attempt}, "
            f"{token_and_owner}, 0, {literal(b'{}')}, {died})"
        )


@pytest.fixture(params=_FIRST_TABLES)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[_Old]:
    """On each kind of database."""
    if request.param == "sqlite":
        path = str(tmp_path / "events.db")

        def execute_in_file(statement: str) -> object:
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
                return connection.execute(statement).fetchall()

        def make(**keys: Any) -> SQLiteBackend:
            return SQLiteBackend(SQLiteSettings(path=path, **keys))

        execute_in_file("PRAGMA journal_mode = WAL")
        _fill("sqlite", execute_in_file)
        yield _Old(make, execute_in_file)
        return
    server = request.getfixturevalue(f"{request.param}_server")
    with new_site(request.param, server) as site:

        def execute(statement: str) -> object:
            return server.execute(statement, database=site.database)

        _fill(request.param, execute)
        yield _Old(site.make, execute)


def _claim(backend: SQLBackend, now: Any) -> ClaimBatch:
    return backend.claim(
        owner="me", now=now, due_before=now, lease_until=now + seconds(600), limit=10
    )


def _claim_of_old(backend: SQLBackend) -> Claim:
    """What the instance that made the claim still has in its memory."""
    (stored,) = backend.find(Query(ids=["claimed"])).events
    return Claim(
        id="claimed",
        trigger_type="t",
        trigger_time=T0,
        payload=b"{}",
        created=stored.created,
        attempt=1,
        token=_TOKEN,
        due=T0,
        lease_until=T0 + seconds(60),
        lost_before=False,
    )


def test_an_old_table_is_refused_until_it_is_upgraded(old: _Old) -> None:
    """With create_schema false the error names both versions and says what to do."""
    backend = old.make(create_schema=False)
    with pytest.raises(BackendSetupError, match=r"version 1.*needs 2.*futurama migrate"):
        backend.open()
    assert backend.migrate() == [
        "Upgraded the table 'events' from schema version 1 to 2.",
    ]
    assert backend.migrate() == []
    backend.open()
    backend.close()


def test_every_event_lives_through_an_upgrade(old: _Old) -> None:
    """What waited is handed out, what was claimed keeps its claim, what was dead can live again."""
    backend = old.make()
    backend.open()
    assert {each.id: each.state for each in backend.find(Query()).events} == {
        "waiting": State.WAITING,
        "claimed": State.CLAIMED,
        "dead": State.DEAD,
    }
    batch = _claim(backend, T0)
    assert [claim.id for claim in batch.claims] == ["waiting"]
    assert batch.next_due == T0 + seconds(60)
    claims = [*batch.claims, _claim_of_old(backend)]
    assert backend.settle([Settlement.done(claim) for claim in claims], now=T0) == [True, True]
    assert backend.requeue(["dead"], now=T0) == [True]
    backend.add([event("new")], if_exists="raise")
    assert sorted(claim.id for claim in _claim(backend, T0).claims) == ["dead", "new"]
    backend.close()


def test_a_claim_that_ends_after_an_upgrade_is_lost(old: _Old) -> None:
    """P6: that a call of the former version may be under way is remembered."""
    backend = old.make()
    backend.open()
    claims = {claim.id: claim for claim in _claim(backend, T0 + seconds(61)).claims}
    assert claims["claimed"].lost_before
    assert claims["claimed"].attempt == 2
    assert not claims["waiting"].lost_before
    backend.close()


def test_an_upgrade_that_was_interrupted_is_repeated(old: _Old) -> None:
    """Whatever was done before the version was recorded is done again without harm."""
    backend = old.make()
    backend.migrate()
    old.execute("UPDATE futurama_schema SET version = 1")
    assert backend.migrate() == ["Upgraded the table 'events' from schema version 1 to 2."]
    backend.open()
    assert backend.settle([Settlement.done(_claim_of_old(backend))], now=T0) == [True]
    assert [claim.id for claim in _claim(backend, T0).claims] == ["waiting"]
    backend.close()


def test_many_upgrade_at_once(old: _Old) -> None:
    """Instances that all start on an old table all succeed, and every event is handed out once."""
    backends = [old.make() for _ in range(4)]
    start = threading.Barrier(len(backends))
    handed_out: list[str] = []

    def run(backend: SQLBackend) -> None:
        start.wait(10)
        backend.open()
        handed_out.extend(claim.id for claim in _claim(backend, T0).claims)

    threads = [threading.Thread(target=run, args=(backend,)) for backend in backends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert handed_out == ["waiting"]
    for backend in backends:
        backend.close()
