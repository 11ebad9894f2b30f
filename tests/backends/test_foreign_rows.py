"""Rows that somebody else has written: they harm no neighbour, and people can see them."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import sqlalchemy as sa

from futurama.backend import Claim, Query, Settlement, State, StoredEvent
from futurama.backends.sql import SQLBackend
from futurama.backends.sql.statements import MAX_ATTEMPT
from futurama.backends.sqlite import SQLiteBackend, SQLiteSettings
from futurama.events import CancelOutcome
from tests.backends.conftest import _MEMBERS, new_site, skip_without_mysqldb
from tests.backends.samples import T0, claim_all, event, seconds

Row: TypeAlias = Mapping[str, str]
"""Column -> its value, as SQL."""

_LATER = T0 + seconds(3600)

_ANYWHERE: Sequence[Row] = (
    {"id": "BYTES(ff61)"},
    {"trigger_type": "BYTES(ff)"},
    {"created": "9223372036854775807"},
    {"created": "-9223372036854775807"},
)

_MYSQL: Sequence[Row] = (
    {"trigger_time": "'0000-00-00'"},
    {"trigger_time": "'0000-05-03'"},
    {"trigger_time": "'2029-02-31'"},
    {"due": "'2029-02-31 12:00'"},
    {"due": "'2029-00-10'"},
    {"due": "'2029-12-00'"},
)

_UNREADABLE: Mapping[str, Sequence[Row]] = {
    "mysql": _MYSQL,
    "mysqldb": _MYSQL,
    "postgresql": (
        {"trigger_time": "'infinity'"},
        {"trigger_time": "'-infinity'"},
        {"trigger_time": "'0044-03-15 BC'"},
        {"trigger_time": "'20000-01-01'"},
    ),
    "sqlite": (
        {"trigger_type": "'text'"},
        {"trigger_type": "CAST(X'ff' AS TEXT)"},
        {"trigger_time": "'tomorrow'"},
        {"trigger_time": "9223372036854775807"},
        {"attempt": "'many'"},
        {"data": "'text'"},
        {"data": "5"},
    ),
}

_NEVER_DUE: Mapping[str, Sequence[Row]] = {
    "mysql": ({"due": "'0000-00-00'"}, {"due": "'0001-00-00 12:00'"}),
    "postgresql": ({"due": "'infinity'"}, {"due": "'-infinity'"}),
    "sqlite": ({"due": "'tomorrow'"}, {"due": "-9223372036854775807"}),
}


@pytest.fixture(params=[*_MEMBERS, "sqlite"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SQLBackend]:
    """One opened backend on a new database, of each member of the family."""
    if request.param == "mysqldb":
        skip_without_mysqldb()
    with contextlib.ExitStack() as stack:
        made: SQLBackend
        if request.param == "sqlite":
            made = SQLiteBackend(SQLiteSettings(path=str(tmp_path / "events.db")))
            stack.callback(made.close)
        else:
            server = request.getfixturevalue(f"{_MEMBERS[request.param][0]}_server")
            made = stack.enter_context(new_site(request.param, server)).make()
        made.open()
        yield made


@pytest.fixture
def product(backend: SQLBackend) -> str:
    """Which member of the family it is, whatever the driver."""
    return backend.name


def _write(backend: SQLBackend, row: Row) -> None:
    """Store a row that is due at T0 as another program might, with values of its own."""
    is_sqlite = backend.name == "sqlite"
    t0 = str(backend._dialect.encode_time(T0)) if is_sqlite else "'2030-01-01 00:00:00'"
    usual = {"id": "BYTES(78)", "trigger_type": "BYTES(74)", "trigger_time": t0, "due": t0}
    values = {**usual, "created": "0", "data": "BYTES(31)", **row}
    engine, _ = backend._transactions._opened()
    with engine.connect() as connection, connection.begin():
        connection.detach()  # nobody else gets this session
        if backend.name == "mysql":
            connection.exec_driver_sql("SET SESSION sql_mode = 'ALLOW_INVALID_DATES'")
        texts = [_with_bytes(backend, value) for value in values.values()]
        connection.exec_driver_sql(
            f"INSERT INTO events ({', '.join(values)}) VALUES ({', '.join(texts)})"
        )


def _with_bytes(backend: SQLBackend, value: str) -> str:
    if not value.startswith("BYTES("):
        return value
    return backend._dialect.literal(bytes.fromhex(value[len("BYTES(") : -1]))


def _pages(backend: SQLBackend, size: int) -> list[StoredEvent]:
    """Everything, read in pages of this size."""
    found: list[StoredEvent] = []
    page = backend.find(Query(limit=size))
    while page.next is not None:
        found += page.events
        assert len(found) < 100, "the pages go round in circles"
        page = backend.find(Query(limit=size, after=page.next))
    return [*found, *page.events]


def _good(claims: Sequence[Claim]) -> list[tuple[str, int]]:
    return [(claim.id, claim.attempt) for claim in claims]


@pytest.fixture
def unreadable(product: str) -> Sequence[Row]:
    """Every kind of row that this member can store and that is no event."""
    return [*_ANYWHERE, *_UNREADABLE[product]]


def test_rows_that_are_no_events_die_and_harm_no_neighbour(
    backend: SQLBackend, unreadable: Sequence[Row]
) -> None:
    """All neighbours are handed out in the same claim; the row says what is wrong with it."""
    for number, row in enumerate(unreadable):
        ids = [f"{number}{letter}" for letter in "abc"]
        backend.add([event(event_id) for event_id in ids], if_exists="raise")
        _write(backend, row)
        claims = claim_all(backend)
        assert _good(claims) == [(event_id, 1) for event_id in ids], row
        (dead,) = backend.find(Query(state=State.DEAD)).events
        (column,) = row
        assert dead.reason is not None
        assert f"its {column} cannot be read" in dead.reason
        assert all(backend.settle([Settlement.done(claim) for claim in claims], now=T0))
        assert not claim_all(backend, now=_LATER)
        assert backend.purge(before=_LATER) == 1
    assert set(backend.count().values()) == {0}


def test_many_at_once(backend: SQLBackend) -> None:
    """Each is seen and dies by itself."""
    backend.add([event("a"), event("b")], if_exists="raise")
    for number in range(5):
        _write(backend, {"id": f"BYTES(ff{number:02x})"})
    assert _good(claim_all(backend)) == [("a", 1), ("b", 1)]
    assert backend.count()[State.DEAD] == 5


def test_people_see_rows_that_are_no_events(
    backend: SQLBackend, unreadable: Sequence[Row], product: str
) -> None:
    """Pages of any size show each row once, before it has died and afterwards."""
    for row in [*unreadable, *_NEVER_DUE[product]]:
        backend.add([event("a"), event("z")], if_exists="raise")
        _write(backend, row)
        for size in (1, 2, 3, 100):
            found = _pages(backend, size)
            assert len(found) == 3, row
            assert {"a", "z"} < {stored.id for stored in found}, row
        claims = claim_all(backend)
        assert len(_pages(backend, 1)) == 3, row
        backend.settle([Settlement.done(claim) for claim in claims], now=T0)
        backend.cancel([stored.id for stored in _pages(backend, 1)])
        backend.purge(before=_LATER)


def test_dead_letters_that_somebody_else_wrote_are_shown(backend: SQLBackend) -> None:
    """Even if it is not known when they died, or the reason is no text."""
    _write(backend, {"due": "NULL", "reason": "BYTES(41ff)"})
    backend.add([event("a"), event("b")], if_exists="raise")
    for claim in claim_all(backend):
        backend.settle([Settlement.bury(claim, "enough")], now=T0)
    for size in (1, 2, 3):
        assert [(stored.id, stored.reason) for stored in _pages(backend, size)] == [
            ("x", "A\\xff"),
            ("a", "enough"),
            ("b", "enough"),
        ]
    found = backend.find(Query(ids=["b", "x", "a"])).events
    assert [stored.id for stored in found] == ["x", "a", "b"]
    assert backend.requeue(["x"], now=T0) == [True]


def test_bytes_that_are_no_text_are_shown_escaped(backend: SQLBackend) -> None:
    """The id that people see is printable, and no id that anybody could ask for."""
    _write(backend, {"id": "BYTES(6dfc)", "trigger_type": "BYTES(fc)"})
    claim_all(backend)
    (dead,) = backend.find(Query()).events
    assert (dead.id, dead.trigger_type, dead.payload) == ("m\\xfc", "\\xfc", b"1")
    assert backend.requeue([dead.id], now=T0) == [False]
    assert backend.find(Query(ids=[dead.id])).events == []


def test_rows_that_were_not_mended_die_again(backend: SQLBackend) -> None:
    """Requeued as it is, a row that is no event harms nobody either."""
    _write(backend, {"trigger_type": "BYTES(ff)"})
    for _ in range(2):
        assert claim_all(backend) == []
        assert backend.count()[State.DEAD] == 1
        assert backend.requeue(["x"], now=T0) == [True]


def test_rows_that_are_never_due_harm_no_neighbour(backend: SQLBackend, product: str) -> None:
    """They stay where people see them and can cancel them; what is due is handed out."""
    for number, row in enumerate(_NEVER_DUE[product]):
        backend.add([event(f"{number}")], if_exists="raise")
        _write(backend, row)
        (claim,) = claim_all(backend)
        assert backend.settle([Settlement.done(claim)], now=T0) == [True]
        assert claim_all(backend, now=_LATER) == []
        assert [stored.id for stored in _pages(backend, 1)] == ["x"]
        backend.cancel(["x"])
        assert _pages(backend, 1) == []


def test_attempts_are_counted_as_far_as_the_column_goes(backend: SQLBackend) -> None:
    """The last number is given again and again, and the neighbours get theirs."""
    backend.add([event("a")], if_exists="raise")
    _write(backend, {"attempt": str(MAX_ATTEMPT - 1)})
    for number in (1, 2, 3):
        claims = claim_all(backend, now=T0 + number * seconds(100))
        assert sorted(_good(claims)) == [("a", number), ("x", MAX_ATTEMPT)]
    (stored,) = backend.find(Query(ids=["x"])).events
    assert stored.attempt == MAX_ATTEMPT


def test_attempts_below_zero_harm_nobody(backend: SQLBackend) -> None:
    """An event whose attempts somebody counts from below zero is removed like any other."""
    backend.add([event("a")], if_exists="raise")
    _write(backend, {"attempt": "-7"})
    a, x = sorted(claim_all(backend), key=lambda claim: claim.id)
    reports = [Settlement.done(x), Settlement.retry(a, T0)]
    assert backend.settle(reports, now=T0) == [True, True]
    assert [stored.id for stored in _pages(backend, 10)] == ["a"]
    _write(backend, {"attempt": "-7"})
    assert backend.cancel(["x"]) == [CancelOutcome.CANCELLED]
    assert [stored.id for stored in _pages(backend, 10)] == ["a"]


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SQLiteBackend]:
    """One opened backend on a new file."""
    backend = SQLiteBackend(SQLiteSettings(path=str(tmp_path / "events.db")))
    backend.open()
    yield backend
    backend.close()


@pytest.mark.parametrize("text", ["'text'", "CAST(X'ff' AS TEXT)"])
def test_ids_that_are_text_harm_no_neighbour(sqlite: SQLiteBackend, text: str) -> None:
    """SQLite keeps text where bytes belong, and no statement that looks for bytes finds it."""
    sqlite.add([event("a"), event("b")], if_exists="raise")
    _write(sqlite, {"id": text})
    assert _good(claim_all(sqlite)) == [("a", 1), ("b", 1)]
    assert _good(claim_all(sqlite, now=_LATER)) == [("a", 2), ("b", 2)]
    assert {"a", "b"} < {stored.id for stored in sqlite.find(Query()).events}


def test_neighbours_are_called_even_if_the_row_cannot_die(
    sqlite: SQLiteBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What fails is burying it: that is logged, and tried again when the lease has ended."""
    sqlite.add([event("a")], if_exists="raise")
    _write(sqlite, {"created": "9223372036854775807"})
    with contextlib.closing(sqlite3.connect(tmp_path / "events.db")) as other:
        other.execute(
            "CREATE TRIGGER immortal BEFORE UPDATE OF died ON events "
            "BEGIN SELECT RAISE(ABORT, 'nobody dies'); END"
        )
        with caplog.at_level(logging.WARNING, "futurama.backend"):
            assert _good(claim_all(sqlite)) == [("a", 1)]
        assert "nobody dies" in caplog.text
        assert sqlite.count() == {State.WAITING: 0, State.CLAIMED: 2, State.DEAD: 0}
        other.execute("DROP TRIGGER immortal")
    assert _good(claim_all(sqlite, now=_LATER)) == [("a", 2)]
    assert sqlite.count()[State.DEAD] == 1


def test_a_row_that_somebody_else_has_claimed_meanwhile_is_theirs(
    sqlite: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was slower than its lease does not bury what another instance holds by now."""
    _write(sqlite, {"trigger_type": "BYTES(ff)"})
    decode = sqlite._claiming._decoder.decode

    def decode_late(*given: Any) -> Any:
        _mend(sqlite)
        return decode(*given)

    monkeypatch.setattr(sqlite._claiming._decoder, "decode", decode_late)
    assert claim_all(sqlite) == []
    assert sqlite.count()[State.CLAIMED] == 1


def _mend(sqlite: SQLiteBackend) -> None:
    """As if the row had been mended and claimed again."""
    engine, _ = sqlite._transactions._opened()
    with engine.connect() as connection, connection.begin():
        connection.execute(sa.text("UPDATE events SET trigger_type = X'74', token = X'01'"))
