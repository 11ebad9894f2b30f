"""Mutants whose answers are equal to the right ones and yet not the same, or that touch what they are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import attrs

from futurama.backend import ClaimBatch, Move, Page, Query
from futurama.backends.memory import MemoryBackend
from futurama.events import RescheduleOutcome
from tests.mutants.registry import breaks

_WEST = timezone(timedelta(hours=-2))


class _ChangesClaims(MemoryBackend):
    def change(self, claim: Any) -> Any:
        raise NotImplementedError

    def claim(self, **kwargs: Any) -> ClaimBatch:
        batch = super().claim(**kwargs)
        return attrs.evolve(batch, claims=[self.change(claim) for claim in batch.claims])


class _ChangesEvents(MemoryBackend):
    def change(self, event: Any) -> Any:
        raise NotImplementedError

    def find(self, query: Query) -> Page:
        page = super().find(query)
        return attrs.evolve(page, events=[self.change(event) for event in page.events])


@breaks("protocol.returns")
class PayloadsAreViews(_ChangesClaims):
    """What some drivers return for a BLOB; json.loads does not take it."""

    def change(self, claim: Any) -> Any:
        return attrs.evolve(claim, payload=memoryview(claim.payload))


@breaks("protocol.returns")
class FoundPayloadsAreByteArrays(_ChangesEvents):
    """The same, where people look."""

    def change(self, event: Any) -> Any:
        return attrs.evolve(event, payload=bytearray(event.payload))


@breaks("protocol.returns")
class LostIsANumber(_ChangesEvents):
    """A TINYINT column."""

    def change(self, event: Any) -> Any:
        return attrs.evolve(event, lost=int(event.lost))


@breaks("protocol.returns")
class LostBeforeIsANumber(_ChangesClaims):
    """The same, in a claim."""

    def change(self, claim: Any) -> Any:
        return attrs.evolve(claim, lost_before=int(claim.lost_before))


@breaks("protocol.returns")
class AttemptsAreDecimals(_ChangesClaims):
    """A NUMERIC column."""

    def change(self, claim: Any) -> Any:
        return attrs.evolve(claim, attempt=Decimal(claim.attempt))


@breaks("protocol.returns")
class AttemptsAreFloats(_ChangesEvents):
    """Numbers that went through JSON or Lua."""

    def change(self, event: Any) -> Any:
        return attrs.evolve(event, attempt=float(event.attempt))


@breaks("protocol.returns")
class TokensAreText(_ChangesClaims):
    """A CHAR column of hexadecimal digits."""

    def change(self, claim: Any) -> Any:
        return attrs.evolve(claim, token=claim.token.hex())

    def settle(self, settlements: Any, *, now: datetime) -> Any:
        reports = [
            attrs.evolve(report, claim=_with_bytes(report.claim, bytes.fromhex))
            for report in settlements
        ]
        return super().settle(reports, now=now)

    def renew(self, claims: Any, **kwargs: Any) -> Any:
        return super().renew([_with_bytes(claim, bytes.fromhex) for claim in claims], **kwargs)


@breaks("protocol.returns")
class TokensAreByteArrays(_ChangesClaims):
    """What a driver returns for BINARY; no dictionary takes it for a key."""

    def change(self, claim: Any) -> Any:
        return attrs.evolve(claim, token=bytearray(claim.token))


@breaks("protocol.returns", test="concurrency.exclusive")
class TokensAreTextUnderLoad(TokensAreText):
    """Nobody has asked for the law of types alone: the other tests have to survive it."""


def _with_bytes(claim: Any, convert: Callable[[Any], bytes]) -> Any:
    return attrs.evolve(claim, token=convert(claim.token))


@breaks("protocol.returns")
class CountsAreDecimals(MemoryBackend):
    """What SUM() gives in some databases."""

    def count(self) -> Any:
        return {state: Decimal(number) for state, number in super().count().items()}


@breaks("protocol.returns", test="find.pages")
class CursorsAreNumbers(MemoryBackend):
    """No text, which is what the command line and the library send back."""

    def find(self, query: Query) -> Page:
        after: Any = query.after
        text = None if after is None else after.to_bytes(after.bit_length() // 8 + 1).decode()
        page = super().find(attrs.evolve(query, after=text and text.strip("\0")))
        behind: Any = page.next and int.from_bytes(page.next.encode())
        return attrs.evolve(page, next=behind)


@breaks("time.utc")
class NextDueInLocalTime(MemoryBackend):
    """The right instant, in the zone of the server."""

    def claim(self, **kwargs: Any) -> ClaimBatch:
        batch = super().claim(**kwargs)
        due = batch.next_due
        return attrs.evolve(batch, next_due=due and due.astimezone(_WEST))


@breaks("time.utc", test="settle.bury")
class DiesNaively(_ChangesEvents):
    """A column that was forgotten when all others learned of zones."""

    def change(self, event: Any) -> Any:
        return attrs.evolve(event, died=event.died and event.died.replace(tzinfo=None))


@breaks("batch.positional")
class SortsItsArgument(MemoryBackend):
    """Sorts the list of the caller, who then reads the answers of other events."""

    def requeue(self, ids: Any, *, now: datetime) -> Any:
        if isinstance(ids, list):
            ids.sort()
        return super().requeue(ids, now=now)


@breaks("batch.positional", test="batch.in-order")
class DropsDuplicatesOfItsArgument(MemoryBackend):
    """Answers for what is left of the list of the caller."""

    def requeue(self, ids: Any, *, now: datetime) -> Any:
        if isinstance(ids, list):
            ids[:] = dict.fromkeys(ids)
        return super().requeue(ids, now=now)


@breaks("find.ids")
class SortsTheIdsOfAQuery(MemoryBackend):
    """The same, inside of a query."""

    def find(self, query: Query) -> Page:
        if isinstance(query.ids, list):
            query.ids.sort()
        return super().find(query)


@breaks("errors")
class WantsLists(MemoryBackend):
    """Joins its argument with a list, which no other sequence can be."""

    def renew(self, claims: Any, **kwargs: Any) -> Any:
        nobody: list[Any] = []
        return super().renew(nobody + claims, **kwargs)


class ClaimsForEver(MemoryBackend):
    """Hands out again what it has just handed out, because the lease has ended already."""

    def claim(
        self, *, now: datetime, due_before: datetime, lease_until: datetime, limit: int, owner: str
    ) -> ClaimBatch:
        claims: list[Any] = []
        while len(claims) < limit:
            batch = super().claim(
                now=now, due_before=due_before, lease_until=lease_until, limit=1, owner=owner
            )
            if not batch.claims:
                return attrs.evolve(batch, claims=claims)
            claims = [*claims[-9:], *batch.claims]  # a real one would fill the memory as well
        return attrs.evolve(batch, claims=claims)


class LocksTwice(MemoryBackend):
    """Takes a lock that it holds already, to replace payloads."""

    def _reschedule(self, move: Move) -> RescheduleOutcome:
        if move.payload is None:
            return super()._reschedule(move)
        with self._lock:
            return super()._reschedule(move)


class AlwaysLocksTwice(MemoryBackend):
    """The same, whatever it finds."""

    def reschedule(self, moves: Sequence[Move]) -> Any:
        with self._lock:
            return super().reschedule(moves)
