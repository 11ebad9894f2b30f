"""Reports on claims, and the renewal of their leases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from futurama.backend import Claim, Settlement, SettlementKind
from futurama.backends.sql.dialect import Dialect
from futurama.backends.sql.rows import Rows
from futurama.backends.sql.statements import NO_TOKEN, NOBODY, Statements
from futurama.times import EARLIEST, ceil_to

__all__ = ["Settling"]

_MAX_GUARDED_DELETES = 8
"""Claims made together share a token, so a report of calls that ended well is a few DELETEs. With
more tokens than this, looking first (one SELECT, one DELETE) takes fewer round trips."""

_NOT_HELD: tuple[None, datetime] = (None, EARLIEST)


class Settling:
    """The operations ``renew`` and ``settle``."""

    def __init__(self, dialect: Dialect, statements: Statements, rows: Rows) -> None:
        self._dialect = dialect
        self._statements = statements
        self._rows = rows

    def renew(
        self, claims: Sequence[Claim], *, now: datetime, lease_until: datetime
    ) -> Sequence[bool]:
        """See :meth:`futurama.backend.EventBackend.renew`."""
        new_due = ceil_to(lease_until, self._dialect.resolution)
        keys = [claim.id.encode() for claim in claims]

        def work(connection: sa.Connection) -> Sequence[bool]:
            held = self._held(self._rows.lock(connection, keys, "token", "due"))
            results, renewed = [], set()
            for key, claim in zip(keys, claims, strict=True):
                token, due = held.get(key, _NOT_HELD)
                is_held = token == claim.token and now < due
                results.append(is_held)
                if is_held:
                    held[key] = (claim.token, new_due)
                    renewed.add(key)
            for ids in self._dialect.in_lists(renewed):
                connection.execute(
                    self._statements.set_due,
                    {"ids": ids, "lease_until": self._dialect.encode_time(new_due)},
                )
            return results

        return self._rows.change(keys, work)

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        """See :meth:`futurama.backend.EventBackend.settle`; payloads have been checked."""
        tokens = _ids_by_token(settlements)
        if tokens is not None and len(tokens) <= _MAX_GUARDED_DELETES:
            try:
                self._rows.change(
                    _keys(settlements),
                    lambda connection: self._delete_held(connection, tokens, now),
                )
            except _SomeClaimLostError:
                pass  # rolled back; which of them is to be found out
            else:
                return [True] * len(settlements)
        return self._rows.change(
            _keys(settlements),
            lambda connection: self._settle_looking(connection, settlements, now),
        )

    def _delete_held(
        self, connection: sa.Connection, tokens: Mapping[bytes, list[bytes]], now: datetime
    ) -> None:
        """Remove all of these.

        Raises:
            _SomeClaimLostError: not all are held.
        """
        for token, keys in tokens.items():
            for ids in self._dialect.in_lists(keys):
                parameters = {"ids": ids, "token": token, "now": self._rows.down(now)}
                result = connection.execute(self._statements.delete_held, parameters)
                if result.rowcount != len(ids):
                    raise _SomeClaimLostError

    def _settle_looking(
        self, connection: sa.Connection, settlements: Sequence[Settlement], now: datetime
    ) -> Sequence[bool]:
        keys = list(_keys(settlements))
        stored = self._rows.lock(connection, keys, "token", "due", "attempt")
        held = self._held(stored)
        results, done = [], []
        changes: dict[bytes, dict[str, Any]] = {}
        for key, settlement in zip(keys, settlements, strict=True):
            token, due = held.get(key, _NOT_HELD)
            is_held = token == settlement.claim.token and now < due
            results.append(is_held)
            if not is_held:
                continue
            del held[key]  # whoever comes later in this batch reports a second time
            if settlement.kind is SettlementKind.DONE:
                done.append(key)
            else:
                changes[key] = self._change(settlement, stored[key].attempt, now)
        self._rows.delete(connection, done)
        self._rows.update(connection, changes)
        return results

    def _change(self, settlement: Settlement, attempt: int, now: datetime) -> dict[str, Any]:
        """The columns that a claim which goes on, or is buried, is given."""
        change: dict[str, Any] = {"token": NO_TOKEN, "owner": NOBODY}
        if settlement.kind is SettlementKind.RETRY:
            assert settlement.due is not None, "made by Settlement.retry"
            change["due"] = self._rows.up(settlement.due)
            if settlement.payload is not None:
                change["data"] = settlement.payload
        elif settlement.kind is SettlementKind.RELEASE:
            change["due"] = self._rows.up(settlement.due or settlement.claim.due)
            change["attempt"] = attempt - 1
        else:
            reason = settlement.reason
            change["due"] = None
            change["died"] = self._rows.up(now)
            change["reason"] = None if reason is None else reason.encode(errors="surrogatepass")
        return change

    def _held(self, stored: Mapping[bytes, Any]) -> dict[bytes, tuple[bytes, datetime]]:
        """(token, end of the lease) of those rows that are CLAIMED."""
        return {
            key: (row.token, self._dialect.decode_time(row.due))
            for key, row in stored.items()
            if row.token != NO_TOKEN
        }


class _SomeClaimLostError(Exception):
    """Rolls back the transaction that took all claims for held."""


def _keys(settlements: Iterable[Settlement]) -> Iterator[bytes]:
    return (settlement.claim.id.encode() for settlement in settlements)


def _ids_by_token(settlements: Sequence[Settlement]) -> dict[bytes, list[bytes]] | None:
    """The ids under each token, if all are done, none is named twice and each has a real token."""
    tokens: dict[bytes, list[bytes]] = {}
    for settlement in settlements:
        if settlement.kind is not SettlementKind.DONE:
            return None
        tokens.setdefault(settlement.claim.token, []).append(settlement.claim.id.encode())
    distinct = {key for keys in tokens.values() for key in keys}
    is_plain = len(distinct) == len(settlements) and NO_TOKEN not in tokens
    return tokens if is_plain else None
