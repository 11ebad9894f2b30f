"""Mutants of the Redis backend: each differs in a line of one script, or makes two calls of one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from futurama.backend import Claim, Settlement
from futurama.backends.redis import RedisBackend, RedisSettings, records
from futurama.backends.redis.server import Script, Server
from futurama.events import CancelOutcome
from tests.mutants.dying import Mutants

__all__ = ["REDIS_MUTANTS", "RewritingRedis"]


class _RewritingServer(Server):
    def __init__(self, settings: RedisSettings, rewrites: Mapping[str, str]) -> None:
        super().__init__(settings)
        self._rewrites = rewrites

    def _run(self, script: Script, arguments: Sequence[Any], *, may_change: bool) -> Any:
        text = script.text
        for old, new in self._rewrites.items():
            text = text.replace(old.encode(), new.encode())
        digest = hashlib.sha1(text, usedforsecurity=False).hexdigest()
        return super()._run(Script(text, digest), arguments, may_change=may_change)


class RewritingRedis(RedisBackend):
    """A backend that changes its scripts on their way to the server; right as it is here.

    Attributes:
        rewrites: what is replaced by what.
    """

    rewrites: ClassVar[Mapping[str, str]] = {}

    def __init__(self, settings: RedisSettings | None = None) -> None:
        super().__init__(settings)
        self._server = _RewritingServer(self._settings, self.rewrites)

    def _records(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """What is stored of these events at this moment, for those who decide on it later."""
        key = self._server.keys[3]
        return [self._server.ask("HGET", key, event_id.encode()) for event_id in ids]


REDIS_MUTANTS: Mutants[type[RewritingRedis]] = Mutants()

breaks = REDIS_MUTANTS.breaks


# -- fences ------------------------------------------------------------------------------------


@breaks("fence.settle")
class SettlesWithoutTheToken(RewritingRedis):
    """The script asks whether the event is claimed, not by whom."""

    rewrites: ClassVar[Mapping[str, str]] = {
        "not is_held(event, token, now)": "not (event.state == 'c' and now < event.time)"
    }


@breaks("fence.renew")
class RenewsWithoutTheToken(RewritingRedis):
    """The same where leases are renewed: whoever lost the event goes on for ever."""

    rewrites: ClassVar[Mapping[str, str]] = {
        "is_held(event, ARGV[2 * i + 2], now)": "event.state == 'c' and now < event.time"
    }


@breaks("fence.lease-end")
class ComparesTimesAsNumbers(RewritingRedis):
    """The numbers of Lua are doubles, for which eight microseconds are the same instant."""

    rewrites: ClassVar[Mapping[str, str]] = {
        "== token and now < event.time": "== token and tonumber(now) < tonumber(event.time)"
    }


# -- sets --------------------------------------------------------------------------------------


@breaks("claim.exclusive")
class LeavesClaimedOnesAmongTheWaiting(RewritingRedis):
    """ZADD to the set of the claimed, and no ZREM from the one where the event was."""

    rewrites: ClassVar[Mapping[str, str]] = {
        "= lease_until, 'c', event.attempt + 1, note": (
            "= lease_until, 'c', event.attempt + 1, note; event.stored_state = nil"
        )
    }


@breaks("find.pages", test="requeue.dead")
class LeavesRequeuedOnesAmongTheDead(RewritingRedis):
    """ZADD to the set of the waiting, and no ZREM from that of the dead: the event is in both."""

    rewrites: ClassVar[Mapping[str, str]] = {
        "= 'w', now, 0, ''": "= 'w', now, 0, ''; event.stored_state = nil"
    }


@breaks("claim.next-due")
class NextDueOfTheWaitingOnly(RewritingRedis):
    """Who asks when to come back is not told of the leases that end."""

    rewrites: ClassVar[Mapping[str, str]] = {"redis.call('ZRANGE', SETS.c, 0, 0)[1] or ''": "''"}


@breaks("purge.before")
class PurgesToTheEndOfTheInstant(RewritingRedis):
    """A bound behind every id, so that what died at the very instant goes, too."""

    rewrites: ClassVar[Mapping[str, str]] = {
        "SETS.d, '-', '(' .. ARGV[1]": r"SETS.d, '-', '(' .. ARGV[1] .. '\255'"
    }


# -- records -----------------------------------------------------------------------------------


@breaks("lost.counted")
class TakesOverWithoutATrace(RewritingRedis):
    """A claim whose lease has ended is handed out like any other event."""

    rewrites: ClassVar[Mapping[str, str]] = {
        "event.lost = event.lost or event.state == 'c'\n    event.time, event.state, event.attempt, event.note": (
            "event.time, event.state, event.attempt, event.note"
        )
    }


@breaks("replay.add")
class TakesARepeatForASecondEvent(RewritingRedis):
    """An id that is there is taken: nobody asks whether it is this very event."""

    rewrites: ClassVar[Mapping[str, str]] = {"elseif event.core == core and": "elseif false and"}


# -- two calls for one -------------------------------------------------------------------------


class _TakesWhatItIsGiven(_RewritingServer):
    def write(self, name: str, *arguments: Any) -> Any:
        if name != "claim":
            return super().write(name, *arguments)
        until, _, _, limit, *_ = arguments
        found = self.ask("ZRANGEBYLEX", self.keys[0], "-", b"(" + until, "LIMIT", 0, limit)
        return super().write(name, *arguments, *found)


@breaks("concurrency.exclusive")
class ClaimsWhatItSaw(RewritingRedis):
    """One call finds what is due, the script takes it, if it is still there."""

    rewrites: ClassVar[Mapping[str, str]] = {
        "local waiting = redis.call('ZRANGEBYLEX', SETS.w, '-', '(' .. waiting_until, 'LIMIT', 0, limit)": """
local waiting = {}
for _, member in ipairs(arguments(7, 1)) do
  if redis.call('HEXISTS', RECORDS, sub(member, 19)) == 1 then
    waiting[#waiting + 1] = member
  end
end
"""
    }

    def __init__(self, settings: RedisSettings | None = None) -> None:
        super().__init__(settings)
        self._server = _TakesWhatItIsGiven(self._settings, self.rewrites)


@breaks("concurrency.cancel")
class CancelsWhatItSaw(RewritingRedis):
    """One call looks at the state, the script removes, and the answer is what the look was."""

    def cancel(self, ids: Sequence[str]) -> Sequence[CancelOutcome]:
        seen = self._records(ids)
        outcomes = super().cancel(ids)
        return [
            CancelOutcome.CANCELLED if record is not None and record[18:20] == b"w0" else outcome
            for record, outcome in zip(seen, outcomes, strict=True)
        ]


@breaks("concurrency.fence")
class AnswersByWhatItSaw(RewritingRedis):
    """One call looks at the token, the script looks again, and the answer is what the first look was."""

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        claims = [settlement.claim for settlement in settlements]
        seen = self._records([claim.id for claim in claims])
        super().settle(settlements, now=now)
        return [
            record is not None and _is_held(record, claim, now)
            for record, claim in zip(seen, claims, strict=True)
        ]


def _is_held(record: bytes, claim: Claim, now: datetime) -> bool:
    return claim.token in record and records.digits(now) < record[: records.TIME_BYTES]
