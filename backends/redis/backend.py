"""The operations: each is one script per portion of its batch, and the script decides."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Self

from futurama.backend import (
    AddOutcome,
    Capabilities,
    Claim,
    ClaimBatch,
    Finding,
    IfExists,
    Move,
    NewEvent,
    Page,
    Query,
    Settlement,
    SettlementKind,
    State,
    check_payload,
)
from futurama.backends.redis import batches, claiming, pages, records
from futurama.backends.redis.diagnosis import diagnose, refuse_eviction
from futurama.backends.redis.server import Server
from futurama.backends.redis.settings import RedisSettings
from futurama.errors import BackendSetupError
from futurama.events import CancelOutcome, RescheduleOutcome

__all__ = ["RedisBackend"]

_LAYOUT_VERSION = 1
"""Raise it with every change of what ``lua/store.lua`` describes."""

_IF_TAKEN: Mapping[IfExists, AddOutcome] = {
    "raise": AddOutcome.REFUSED,
    "keep": AddOutcome.KEPT,
    "replace": AddOutcome.REPLACED,
}

# The scripts answer with the values of the enumerations.
_ADDED = {outcome.value.encode(): outcome for outcome in AddOutcome}
_CANCELLED = {outcome.value.encode(): outcome for outcome in CancelOutcome}
_RESCHEDULED = {outcome.value.encode(): outcome for outcome in RescheduleOutcome}


class RedisBackend:
    """Events in sorted sets and hashes of a Redis or Valkey server.

    What was acknowledged survives the death of every process that uses the backend; what survives
    the death of the server is decided by the server's own configuration, see :meth:`diagnose`.

    Args:
        settings: see :class:`RedisSettings`.

    Raises:
        ConfigError: a key has a value that can never work.
    """

    Settings: ClassVar[type[RedisSettings]] = RedisSettings
    name = "redis"

    def __init__(self, settings: RedisSettings | None = None) -> None:
        settings = settings or RedisSettings()
        self.capabilities = Capabilities(
            durable=True,
            shared=True,
            resolution=timedelta(microseconds=1),
            max_data_bytes=settings.max_data_bytes,
        )
        self._settings = settings
        self._server = Server(settings)
        self._opening = threading.Lock()

    @classmethod
    def from_settings(cls, settings: RedisSettings) -> Self:
        """A backend that is not opened yet."""
        return cls(settings)

    def __repr__(self) -> str:
        return f"<RedisBackend {self._server.place}, namespace {self._settings.namespace}>"

    def open(self) -> None:
        """See :meth:`futurama.backend.EventBackend.open`.

        Raises:
            BackendSetupError: also if the server may remove events to make room, or if another
                version of Futurama laid out this namespace.
        """
        with self._opening:
            if self._server.is_open:
                return
            self._server.open()
            try:
                self._server.check_rights()
                refuse_eviction(self._server)
                self._check_layout()
            except BaseException:
                self._server.close()
                raise

    def _check_layout(self) -> None:
        found = int(self._server.write("open", _LAYOUT_VERSION))
        if found != _LAYOUT_VERSION:
            raise BackendSetupError(
                f"{self._server.place}: the namespace {self._settings.namespace!r} has version "
                f"{found} of the layout, this program knows {_LAYOUT_VERSION} only; upgrade "
                "futurama, or choose another namespace",
                backend=self.name,
            )

    def close(self) -> None:
        """See :meth:`futurama.backend.EventBackend.close`."""
        with self._opening:
            self._server.close()

    def diagnose(self) -> Sequence[Finding]:
        """See :meth:`futurama.backend.Diagnosable.diagnose`; works whether or not it is open.

        Raises:
            BackendError: the server cannot be reached.
        """
        with self._connected():
            return diagnose(self._server, self.now)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """Open for as long as this takes, without a look at what is stored."""
        with self._opening:
            was_open = self._server.is_open
            self._server.open()
            try:
                yield
            finally:
                if not was_open:
                    self._server.close()

    def now(self) -> datetime:
        """See :meth:`futurama.backend.EventBackend.now`."""
        seconds, microseconds = self._server.ask("TIME")
        return datetime.fromtimestamp(int(seconds), UTC) + timedelta(microseconds=int(microseconds))

    # -- add, cancel, reschedule, requeue, purge -----------------------------------------------

    def add(self, events: Sequence[NewEvent], *, if_exists: IfExists) -> Sequence[AddOutcome]:
        """See :meth:`futurama.backend.EventBackend.add`."""
        for event in events:
            check_payload(event.payload, self.capabilities)
        items = [(event.id.encode(), records.core(event), event.payload) for event in events]
        answers = batches.write(self._server, "add", [_IF_TAKEN[if_exists].value], items)
        return [_ADDED[answer] for answer in answers]

    def cancel(self, ids: Sequence[str]) -> Sequence[CancelOutcome]:
        """See :meth:`futurama.backend.EventBackend.cancel`."""
        answers = batches.write(
            self._server, "cancel", [], [(event_id.encode(),) for event_id in ids]
        )
        return [_CANCELLED[answer] for answer in answers]

    def reschedule(self, moves: Sequence[Move]) -> Sequence[RescheduleOutcome]:
        """See :meth:`futurama.backend.EventBackend.reschedule`."""
        for move in moves:
            if move.payload is not None:
                check_payload(move.payload, self.capabilities)
        items = [
            (
                move.id.encode(),
                b"" if move.trigger_time is None else records.digits(move.trigger_time),
                int(move.payload is not None),
                move.payload or b"",
            )
            for move in moves
        ]
        return [
            _RESCHEDULED[answer] for answer in batches.write(self._server, "reschedule", [], items)
        ]

    def requeue(self, ids: Sequence[str], *, now: datetime) -> Sequence[bool]:
        """See :meth:`futurama.backend.EventBackend.requeue`."""
        items = [(event_id.encode(),) for event_id in ids]
        return [
            bool(was_dead)
            for was_dead in batches.write(self._server, "requeue", [records.digits(now)], items)
        ]

    def purge(self, *, before: datetime) -> int:
        """See :meth:`futurama.backend.EventBackend.purge`."""
        removed = 0
        while True:
            with batches.partly_done(begun=removed > 0):
                portion: int = self._server.write(
                    "purge", records.digits(before), batches.MOST_ITEMS
                )
            removed += portion
            if portion < batches.MOST_ITEMS:
                return removed

    # -- claim, renew, settle ------------------------------------------------------------------

    def claim(
        self,
        *,
        owner: str,
        now: datetime,
        due_before: datetime,
        lease_until: datetime,
        limit: int,
    ) -> ClaimBatch:
        """See :meth:`futurama.backend.EventBackend.claim`."""
        return claiming.claim(
            self._server,
            owner=owner,
            now=now,
            due_before=due_before,
            lease_until=lease_until,
            limit=limit,
        )

    def renew(
        self, claims: Sequence[Claim], *, now: datetime, lease_until: datetime
    ) -> Sequence[bool]:
        """See :meth:`futurama.backend.EventBackend.renew`."""
        items = [(claim.id.encode(), claim.token) for claim in claims]
        times = [records.digits(now), records.digits(lease_until)]
        return [bool(was_held) for was_held in batches.write(self._server, "renew", times, items)]

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        """See :meth:`futurama.backend.EventBackend.settle`."""
        for settlement in settlements:
            if settlement.payload is not None:
                check_payload(settlement.payload, self.capabilities)
        items = [_report(settlement) for settlement in settlements]
        return [
            bool(was_held)
            for was_held in batches.write(self._server, "settle", [records.digits(now)], items)
        ]

    # -- looking -------------------------------------------------------------------------------

    def find(self, query: Query) -> Page:
        """See :meth:`futurama.backend.EventBackend.find`."""
        return pages.find(self._server, query)

    def count(self) -> Mapping[State, int]:
        """See :meth:`futurama.backend.EventBackend.count`."""
        waiting, claimed, dead = self._server.read("count")
        return {State.WAITING: waiting, State.CLAIMED: claimed, State.DEAD: dead}


def _report(settlement: Settlement) -> tuple[bytes, bytes, str, bytes, bytes]:
    """As ``lua/settle.lua`` takes it."""
    claim, kind = settlement.claim, settlement.kind.value
    due = text = b""
    if settlement.kind is SettlementKind.RELEASE:
        due = records.digits(settlement.due or claim.due)
    elif settlement.kind is SettlementKind.RETRY:
        assert settlement.due is not None, "made by Settlement.retry"
        due = records.digits(settlement.due)
        if settlement.payload is not None:
            kind, text = "replace", settlement.payload
    elif settlement.kind is SettlementKind.BURY:
        text = (settlement.reason or "").encode(errors="surrogatepass")
    return claim.id.encode(), claim.token, kind, due, text
