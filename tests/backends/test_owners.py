"""Names of owners as numbers: registered once, shared by all tables of a database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from futurama.backend import Query, Settlement, State
from futurama.backends.sql import owners
from futurama.backends.sql.statements import MAX_OWNER_BYTES, NO_TOKEN
from futurama.backends.sqlite import SQLiteBackend, SQLiteSettings
from tests.backends.conftest import AnyBackend, Site
from tests.backends.samples import T0, claim_all, event, events


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SQLiteBackend]:
    """One opened backend on a new file."""
    backend = SQLiteBackend(SQLiteSettings(path=str(tmp_path / "events.db")))
    backend.open()
    yield backend
    backend.close()


def _owners(backend: SQLiteBackend | AnyBackend) -> list[tuple[State, str | None]]:
    return [(event.state, event.owner) for event in backend.find(Query()).events]


def test_two_tables_of_a_database_share_the_numbers(site: Site) -> None:
    """A name has one number, whoever registers it first, also if all do so at once."""
    backends = [site.make(table_name=f"events{number % 2}") for number in range(8)]
    for backend in backends:
        backend.open()
    start = threading.Barrier(len(backends))
    numbers: list[int] = []

    def run(backend: AnyBackend) -> None:
        start.wait(10)
        numbers.extend(backend._owners.number_of(f"owner {i}") for i in range(10))

    threads = [threading.Thread(target=run, args=(backend,)) for backend in backends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(numbers) == 10 * len(backends)
    assert len(set(numbers)) == 10
    rows = site.server.execute("SELECT id FROM futurama_owners", database=site.database)
    assert {number for (number,) in rows} == set(numbers)


def test_only_who_holds_an_event_is_shown(sqlite: SQLiteBackend) -> None:
    """Neither waiting nor dead events have an owner."""
    sqlite.add(events(3), if_exists="raise")
    claims = claim_all(sqlite)
    sqlite.settle([Settlement.retry(claims[0], T0), Settlement.bury(claims[1], "why")], now=T0)
    assert _owners(sqlite) == [(State.WAITING, None), (State.CLAIMED, "me"), (State.DEAD, None)]


@pytest.mark.parametrize(
    ("owner", "shown"),
    [("x" * 300, "x" * MAX_OWNER_BYTES), ("a\ud800", "a?")],
    ids=["too long", "no text"],
)
def test_names_that_the_protocol_forbids_are_cut_or_replaced(
    sqlite: SQLiteBackend, owner: str, shown: str
) -> None:
    """They are for people, so that something readable is better than no claim."""
    sqlite.add([event("a")], if_exists="raise")
    sqlite.claim(owner=owner, now=T0, due_before=T0, lease_until=T0, limit=1)
    assert _owners(sqlite) == [(State.CLAIMED, shown)]


def test_a_name_that_was_removed_by_hand_is_not_shown(sqlite: SQLiteBackend) -> None:
    """Its number is not given to anybody else, and claims under it stay what they are."""
    sqlite.add([event("a")], if_exists="raise")
    (claim,) = claim_all(sqlite)
    sqlite._transactions.write(lambda c: c.exec_driver_sql("DELETE FROM futurama_owners"))
    sqlite._owners.number_of("another")
    assert _owners(sqlite) == [(State.CLAIMED, None)]
    assert sqlite.settle([Settlement.done(claim)], now=T0) == [True]


def test_what_is_remembered_is_bounded(
    sqlite: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who claims under very many names gets the right numbers, some of them by another look."""
    monkeypatch.setattr(owners, "_MAX_REMEMBERED", 2)
    names = [f"owner {i}" for i in range(5)]
    first = [sqlite._owners.number_of(name) for name in names]
    assert [sqlite._owners.number_of(name) for name in names] == first
    assert len(sqlite._owners._numbers) <= 2


def test_another_database_has_other_numbers(sqlite: SQLiteBackend) -> None:
    """What was remembered ends when the backend is opened again."""
    sqlite._owners.number_of("me")
    sqlite.close()
    for file in Path(sqlite._dialect.place).parent.iterdir():
        file.unlink()
    sqlite.open()
    sqlite.add([event("a")], if_exists="raise")
    claim_all(sqlite)
    assert _owners(sqlite) == [(State.CLAIMED, "me")]


def test_no_claim_has_the_token_of_events_that_nobody_claimed(sqlite: SQLiteBackend) -> None:
    """Whoever makes up such a claim is told that it is not held."""
    sqlite.add([event("a"), event("b")], if_exists="raise")
    (claim,) = claim_all(sqlite, limit=1)
    forged = attrs.evolve(claim, id="b", token=NO_TOKEN)
    early = T0.replace(year=2029)
    assert sqlite.settle([Settlement.done(forged)], now=early) == [False]
    assert sqlite.renew([forged], now=early, lease_until=T0) == [False]
    assert sqlite.find(Query(ids=["b"])).events[0].state is State.WAITING
