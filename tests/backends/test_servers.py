"""What every database server has: long batches, claims side by side, schemas, processes."""

from __future__ import annotations

import multiprocessing
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from futurama.backend import AddOutcome, Claim, Move, Query, Settlement, State, Verdict
from futurama.errors import BackendSetupError
from futurama.events import CancelOutcome, RescheduleOutcome
from tests.backends.conftest import AnyBackend, Site
from tests.backends.samples import T0, claim_all, event, events, seconds

_EVERY_BYTE = bytes(range(256))


def test_every_byte_survives_every_way_of_writing(backend: AnyBackend) -> None:
    """Payloads come back as they were given to INSERT and to both kinds of UPDATE."""
    backend.add([event("a", payload=_EVERY_BYTE), event("b"), event("c")], if_exists="raise")
    assert backend.reschedule([Move(id="b", payload=_EVERY_BYTE)]) == [
        RescheduleOutcome.RESCHEDULED
    ]
    claims = claim_all(backend)
    backend.settle(
        [
            Settlement.retry(claims[2], T0, _EVERY_BYTE),
            Settlement.bury(claims[1], "because of ' and \\ and \ud800"),
        ],
        now=T0,
    )
    found = {stored.id: stored for stored in backend.find(Query()).events}
    assert [found[i].payload for i in "abc"] == [_EVERY_BYTE] * 3
    assert found["b"].reason == "because of ' and \\ and \ud800"


class _Text(str):
    """A string of a class of its own."""

    __slots__ = ()


class _Bytes(bytes):
    """Bytes of a class of their own."""

    __slots__ = ()


class _Datetime(datetime):
    """A datetime of a class of its own, as some test helpers have it."""


def test_values_of_derived_classes_are_written_as_what_they_are(backend: AnyBackend) -> None:
    """Drivers look at the very class of a value, applications at what it is derived from."""
    at = _Datetime(2030, 1, 1, tzinfo=UTC)
    backend.add(
        [event(_Text("a"), at=at, payload=_Bytes(b"1")), event("b", at=at)], if_exists="raise"
    )
    moves = [Move(id=_Text("b"), trigger_time=at, payload=_Bytes(b"2"))]
    assert backend.reschedule(moves) == [RescheduleOutcome.RESCHEDULED]
    claims = claim_all(backend)
    assert [(claim.id, claim.due, claim.payload) for claim in claims] == [
        ("a", T0, b"1"),
        ("b", T0, b"2"),
    ]


def test_batches_longer_than_a_statement_may_be(backend: AnyBackend) -> None:
    """More ids than one list may have, and more bytes than one packet, still are one call."""
    many = events(2 * backend._dialect.max_in_list + 1)
    assert set(backend.add(many, if_exists="raise")) == {AddOutcome.ADDED}
    assert set(backend.add(many, if_exists="keep")) == {AddOutcome.ADDED}
    moves = [Move(id=each.id, payload=b"'" * 5000) for each in many]
    assert set(backend.reschedule(moves)) == {RescheduleOutcome.RESCHEDULED}
    claims = claim_all(backend)
    assert [claim.id for claim in claims] == [each.id for each in many]
    assert {claim.payload for claim in claims} == {b"'" * 5000}
    assert all(backend.renew(claims, now=T0, lease_until=T0 + seconds(99)))
    retries = [Settlement.retry(claim, T0, b'"' * 5000) for claim in claims]
    assert all(backend.settle(retries, now=T0))
    assert set(backend.cancel([each.id for each in many])) == {CancelOutcome.CANCELLED}


def _claim_from_threads(backends: list[AnyBackend]) -> list[list[Claim]]:
    """What each backend got until nothing was left; all start at the same moment."""
    start = threading.Barrier(len(backends))
    got: list[list[Claim]] = [[] for _ in backends]

    def run(backend: AnyBackend, mine: list[Claim]) -> None:
        start.wait(10)
        now = T0 + seconds(1)
        while True:
            batch = backend.claim(
                owner="me", now=now, due_before=now, lease_until=now + seconds(60), limit=7
            )
            mine.extend(batch.claims)
            if batch.next_due is None or batch.next_due > now:
                return

    threads = [threading.Thread(target=run, args=pair) for pair in zip(backends, got, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


@pytest.mark.parametrize("skips_locked", [True, False])
def test_claimers_get_disjoint_sets(site: Site, *, skips_locked: bool) -> None:
    """P3: several claimers share a backlog without overlap, with and without SKIP LOCKED."""
    backends = [site.make() for _ in range(4)]
    for backend in backends:
        backend.open()
        if not skips_locked:
            backend._claiming.skips_locked = False
    given = events(300)
    backends[0].add(given, if_exists="raise")
    got = [claim.id for claims in _claim_from_threads(backends) for claim in claims]
    assert sorted(got) == [each.id for each in given]


@pytest.mark.parametrize("limit", [2, 3, 4])
def test_skip_locked_passes_over_what_others_hold(backend: AnyBackend, limit: int) -> None:
    """P3: a claimer neither waits for rows that are locked nor takes them, and gets its fill behind."""
    backend.add(events(3), if_exists="raise")

    def work(connection: sa.Connection) -> list[str]:
        backend._rows.lock(connection, [b"00001"])
        return [claim.id for claim in claim_all(backend, limit=limit)]

    assert backend._transactions.write(work) == ["00000", "00002"]


def test_a_claim_that_loses_rows_before_its_update_keeps_only_its_own(
    backend: AnyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P3: where locks are not honoured, the guard in the UPDATE decides, and the token tells."""
    backend.add(events(3), if_exists="raise")
    # Read without locking, as some servers do with any SELECT ... FOR UPDATE.
    for name in ("claim", "claim_by_id"):
        unlocked = getattr(backend._statements, name).with_for_update(read=False)
        unlocked._for_update_arg = None
        monkeypatch.setattr(backend._statements, name, unlocked)
    claimable = backend._claiming._claimable

    def claimable_then_cancelled(*arguments: Any) -> Any:
        rows = claimable(*arguments)
        assert backend.cancel(["00001"]) == [CancelOutcome.CANCELLED]
        return rows

    monkeypatch.setattr(backend._claiming, "_claimable", claimable_then_cancelled)
    assert [claim.id for claim in claim_all(backend)] == ["00000", "00002"]


def test_opening_creates_the_database(site: Site) -> None:
    """The first open makes a database that is missing; with create_schema false it is an error."""
    name = "futurama_opened"
    site.server.drop_database(name)
    with pytest.raises(BackendSetupError, match="futurama migrate"):
        site.make(db_name=name, create_schema=False).open()
    backend = site.make(db_name=name)
    backend.open()
    assert sum(backend.count().values()) == 0
    site.server.drop_database(name)


def test_migrating_creates_the_database(site: Site) -> None:
    """A database that is missing is made, and what was done is told in sentences."""
    name = """futurama_`'"new"""
    site.server.drop_database(name)
    backend = site.make(db_name=name)
    changes = backend.migrate()
    assert changes == [
        f"Created the database {name!r}.",
        "Created the table 'events', schema version 2.",
    ]
    assert backend.migrate() == []
    backend.open()
    site.server.drop_database(name)


def test_without_create_schema_a_missing_one_is_an_error(site: Site) -> None:
    """With create_schema false nothing is created, and the error says what to run."""
    backend = site.make(create_schema=False)
    with pytest.raises(BackendSetupError, match="futurama migrate"):
        backend.open()
    with pytest.raises(BackendSetupError, match="futurama migrate"):
        backend.open()
    backend.migrate()
    backend.open()


def test_a_newer_schema_is_refused(site: Site) -> None:
    """A program that is too old for the table says so."""
    backend = site.make()
    backend.open()
    backend._transactions.write(
        lambda c: c.exec_driver_sql("UPDATE futurama_schema SET version = 3")
    )
    backend.close()
    with pytest.raises(BackendSetupError, match="upgrade futurama"):
        backend.open()


def test_a_foreign_table_is_left_alone(site: Site) -> None:
    """A table of that name with another layout is reported, not used and not recorded."""
    backend = site.make()
    site.server.execute(
        "CREATE TABLE events (id INT PRIMARY KEY, name TEXT)", database=site.database
    )
    for _ in range(2):
        with pytest.raises(BackendSetupError, match="table_name"):
            backend.open()
    site.make(table_name="mine").open()


def test_many_open_at_once(site: Site) -> None:
    """Instances that all start on an empty database all succeed."""
    backends = [site.make() for _ in range(8)]
    start = threading.Barrier(len(backends))
    failures = []

    def run(backend: AnyBackend) -> None:
        start.wait(10)
        try:
            backend.open()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(backend,)) for backend in backends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_good_server_passes(backend: AnyBackend) -> None:
    """On a server that is set up well there is nothing to advise."""
    findings = backend.diagnose()
    assert [finding for finding in findings if finding.verdict is not Verdict.OK] == []


def _count_in_child(backend: AnyBackend, answers: Any) -> None:
    answers.put(backend.count()[State.WAITING])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(backend: AnyBackend) -> None:
    """After a fork both sides go on working, and neither hears the other's answers."""
    backend.add(events(3), if_exists="raise")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_count_in_child, args=(backend, answers))
    child.start()
    assert answers.get(timeout=30) == 3
    child.join()
    assert child.exitcode == 0
    assert backend.count()[State.WAITING] == 3
    assert len(claim_all(backend)) == 3


def test_closing_is_idempotent_and_opening_again_works(backend: AnyBackend) -> None:
    """What is stored stays stored."""
    backend.add(events(1), if_exists="raise")
    backend.close()
    backend.close()
    backend.open()
    backend.open()
    assert backend.count()[State.WAITING] == 1


def test_the_total_of_connections_is_bounded(site: Site) -> None:
    """P8: threads beyond max_open_connection wait instead of connecting."""
    backend = site.make(max_open_connection=3)
    backend.open()
    threads = [threading.Thread(target=claim_all, args=(backend,)) for _ in range(16)]
    threads += [threading.Thread(target=backend.count) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(site.server.sessions(site.database)) <= 3
