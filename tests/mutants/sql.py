"""What the mutants of the SQL backends share: statements that are changed on their way.

The databases have a module each, with the mistakes that are best shown there.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, ClassVar, TypeAlias

import attrs
import sqlalchemy as sa
from sqlalchemy import event

from futurama.backend import Claim, Settlement, SettlementKind
from futurama.backends.sql import SQLBackend

__all__ = ["Rewriting", "WithoutTheToken", "speaking"]

Rewrites: TypeAlias = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]
"""(regular expression, replacement), for the text of every statement, white space made one blank."""

_ROUND_TRIP_SECONDS = 0.001
"""What lies between two statements on a network."""


class Rewriting:
    """A dialect that changes statements on their way to the database.

    Attributes:
        backend: what speaks it.
        during: the operation whose statements are changed; None: those of all.
        rewrites: how they are changed.
        late: which of them take a round trip longer, so that others get in between.
    """

    backend: ClassVar[type[SQLBackend]] = SQLBackend
    during: ClassVar[str | None] = None
    rewrites: ClassVar[Rewrites] = ()
    late: ClassVar[str | None] = None

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)  # type: ignore[call-arg] # of the class that this is mixed into
        self._here = threading.local()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While this lasts, the calling thread is in the operation that ``during`` names."""
        self._here.is_at_work = True
        try:
            yield
        finally:
            self._here.is_at_work = False

    def make_engines(self) -> tuple[sa.Engine, sa.Engine]:
        """Those of the right dialect, with an ear on each."""
        engines: tuple[sa.Engine, sa.Engine] = super().make_engines()  # type: ignore[misc] # of the class that this is mixed into
        for engine in engines:
            event.listen(engine, "before_cursor_execute", self._rewrite, retval=True)
        return engines

    def _rewrite(
        self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> tuple[str, Any]:
        if self.during is not None and not getattr(self._here, "is_at_work", False):
            return statement, parameters
        statement = " ".join(statement.split())
        for pattern, replacement in self.rewrites:
            statement = re.sub(pattern, replacement, statement)
        if self.late is not None and re.match(self.late, statement):
            time.sleep(_ROUND_TRIP_SECONDS)
        return statement, parameters


def speaking(dialect: type[Rewriting], settings: Any) -> SQLBackend:
    """A backend that speaks to its database as a mutant does."""
    spoken: Any = dialect(settings)
    backend = dialect.backend(spoken, settings)
    if dialect.during is not None:
        right = getattr(backend, dialect.during)
        setattr(backend, dialect.during, spoken.at_work()(right))
    return backend


class _AnyToken(bytes):
    """Equal to whatever it is compared with: a comparison that was forgotten."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = bytes.__hash__


class WithoutTheToken(SQLBackend):
    """Believes some of those who say that they hold a claim, as long as somebody does.

    Attributes:
        kind: of the reports that are believed.
        believes_renewals: whether those are.
    """

    kind: ClassVar[SettlementKind | None] = None
    believes_renewals: ClassVar[bool] = False

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        """See the class."""
        believed = [
            attrs.evolve(each, claim=_believed(each.claim)) if each.kind is self.kind else each
            for each in settlements
        ]
        return super().settle(believed, now=now)

    def renew(
        self, claims: Sequence[Claim], *, now: datetime, lease_until: datetime
    ) -> Sequence[bool]:
        """See the class."""
        if self.believes_renewals:
            claims = [_believed(claim) for claim in claims]
        return super().renew(claims, now=now, lease_until=lease_until)


def _believed(claim: Claim) -> Claim:
    return attrs.evolve(claim, token=_AnyToken(claim.token))
