"""Handing out events."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from datetime import datetime

import attrs

from futurama.backend import Claim, ClaimBatch
from futurama.backends.redis import batches, records
from futurama.backends.redis.batches import MOST_BYTES, MOST_ITEMS
from futurama.backends.redis.server import Server
from futurama.errors import BackendError

__all__ = ["claim"]

_log = logging.getLogger("futurama.backend")


def claim(
    server: Server,
    *,
    owner: str,
    now: datetime,
    due_before: datetime,
    lease_until: datetime,
    limit: int,
) -> ClaimBatch:
    """See :meth:`futurama.backend.EventBackend.claim`."""
    portions = _Portions(
        server,
        now=records.digits(now),
        waiting_until=records.digits(due_before, plus_us=1),
        claimed_until=records.digits(now, plus_us=1),
        lease_until=records.digits(lease_until),
        note=os.urandom(records.TOKEN_BYTES) + owner.encode(errors="replace"),
    )
    claims = portions.next(limit)
    # A lease that has ended already would let this very call claim again what it has just claimed.
    while portions.are_more_due and len(claims) < limit and lease_until > now:
        try:
            claims += portions.next(limit - len(claims))
        except BackendError:
            break  # what is claimed is claimed, and fewer than `limit` will do
    return ClaimBatch(claims=sorted(claims, key=_order), next_due=portions.next_due)


@attrs.define
class _Portions:
    """What one call of ``claim`` gets with several scripts.

    Attributes:
        now: ends leases.
        waiting_until, claimed_until: what is due before may be handed out.
        lease_until: the end of the claims.
        note: what is stored with them.
        next_due: the earliest due of what is left.
        are_more_due: whether some of what is left may be handed out.
    """

    server: Server
    now: bytes
    waiting_until: bytes
    claimed_until: bytes
    lease_until: bytes
    note: bytes
    next_due: datetime | None = None
    are_more_due: bool = False

    def next(self, limit: int) -> list[Claim]:
        """Claim the first events, at most ``limit``."""
        waiting, claimed, answer, buried = self.server.write(
            "claim",
            self.waiting_until,
            self.claimed_until,
            self.lease_until,
            max(0, min(limit, MOST_ITEMS)),
            MOST_BYTES,
            self.note,
        )
        first = min((member for member in (waiting, claimed) if member), default=None)
        self.next_due = None if first is None else records.nearest_time(first[: records.TIME_BYTES])
        self.are_more_due = b"" < waiting < self.waiting_until or b"" < claimed < self.claimed_until
        for event_id in buried:
            _log_dead_letter(event_id, "somebody else wrote its record")
        return self._claims(answer)

    def _claims(self, answer: Sequence[bytes]) -> list[Claim]:
        claims, faults = [], {}
        for member, record, payload in zip(answer[::3], answer[1::3], answer[2::3], strict=True):
            try:
                claims.append(records.claim(member, record, payload))
            except records.UNREADABLE as error:
                faults[member[records.TIME_BYTES :]] = f"somebody else wrote it: {error}"
        if faults:
            self._bury(faults)
        return claims

    def _bury(self, faults: Mapping[bytes, str]) -> None:
        """Make dead letters of claims that nobody can read; if that fails, when their leases end."""
        token = self.note[: records.TOKEN_BYTES]
        items = [(event_id, token, "bury", b"", fault) for event_id, fault in faults.items()]
        try:
            answers = batches.write(self.server, "settle", [self.now], items)
        except BackendError as error:
            _log.warning("%d events that cannot be read are still there: %s", len(faults), error)
            return
        for (event_id, fault), was_held in zip(faults.items(), answers, strict=True):
            if was_held:
                _log_dead_letter(event_id, fault)


def _log_dead_letter(event_id: bytes, reason: str) -> None:
    _log.error("%r is a dead letter: %s", records.nearest_text(event_id), reason)


def _order(claim: Claim) -> tuple[datetime, bytes]:
    return claim.due, claim.id.encode()
