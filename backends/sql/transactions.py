"""Connections, and one short transaction per call: repeated when it may be, never when it may not."""

from __future__ import annotations

import os
import random
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc

from futurama.backends.sql.dialect import Dialect
from futurama.backends.sql.errors import Fault, driver_error, translate
from futurama.errors import BackendError, OutcomeUnknownError

__all__ = ["Transactions"]

T = TypeVar("T")

TRIES = {Fault.CONFLICT: 8, Fault.DUPLICATE: 8}
"""How often a transaction is begun in all."""

_AT_ONCE_SECONDS = 1.0
"""Connections that are silent instead have cost ``read_timeout_sec``; another one may cost as much."""

_FIRST_PAUSE_SECONDS = 0.002
"""About as long as a transaction takes; doubled with each try, and drawn at random up to that."""


class Transactions:
    """Runs functions in transactions on the database of a dialect.

    Args:
        dialect: says how to connect and what errors mean.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._engines: tuple[sa.Engine, sa.Engine] | None = None
        _ALL.add(self)

    @property
    def is_open(self) -> bool:
        """Whether there are engines; connections are made when they are needed."""
        return self._engines is not None

    def open(self) -> None:
        """Make the engines if there are none."""
        if self._engines is None:
            self._engines = self._dialect.make_engines()
            for engine in self._engines:
                event.listen(engine, "handle_error", self._drop_if_useless)

    def close(self) -> None:
        """Close every connection."""
        engines, self._engines = self._engines, None
        for engine in engines or ():
            engine.dispose()

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Run ``work``, which must only read, on a connection in autocommit mode.

        If the connection turns out to have ended before, which it says at once, ``work`` is called once
        more, on a new one.

        Raises:
            BackendError: translated.
        """
        began = time.monotonic()
        try:
            return self._read(work)
        except exc.SQLAlchemyError as error:
            fault, _ = self._dialect.fault(error)
            if fault is not Fault.LOST or time.monotonic() - began > _AT_ONCE_SECONDS:
                raise self._translated(error) from driver_error(error)
        try:
            return self._read(work)
        except exc.SQLAlchemyError as error:
            raise self._translated(error) from driver_error(error)

    def _read(self, work: Callable[[sa.Connection], T]) -> T:
        _, reader = self._opened()
        with reader.connect() as connection:
            return work(connection)

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run ``work`` in a transaction and commit it.

        ``work`` is called again from the start, after a rollback, when the server asks for that,
        and when a key that it inserts is taken.

        Raises:
            OutcomeUnknownError: COMMIT was sent, and answered neither by success nor by an error
                that says for certain that nothing was committed.
            BackendError: translated; nothing was changed.
        """
        tries = 0
        while True:
            tries += 1
            try:
                return self._transact(work)
            except exc.SQLAlchemyError as error:
                fault, _ = self._dialect.fault(error)
                if tries >= TRIES.get(fault, 1):
                    raise self._translated(error) from driver_error(error)
            time.sleep(random.uniform(0, _FIRST_PAUSE_SECONDS * 2**tries))

    def _transact(self, work: Callable[[sa.Connection], T]) -> T:
        writer, _ = self._opened()
        with writer.connect() as connection:
            transaction = connection.begin()
            try:
                result = work(connection)
            except BaseException:
                _roll_back(connection, transaction)
                raise
            try:
                transaction.commit()
            except exc.SQLAlchemyError as error:
                if self._dialect.is_rolled_back(error):
                    _roll_back_again(connection)
                    raise
                connection.invalidate()
                raise OutcomeUnknownError(
                    f"{self._dialect.place_of(error)}: whether the transaction was committed is unknown "
                    f"({driver_error(error)})",
                    backend=self._dialect.name,
                ) from driver_error(error)
            return result

    def _opened(self) -> tuple[sa.Engine, sa.Engine]:
        if self._engines is None:
            raise BackendError("not open; call open() first", backend=self._dialect.name)
        return self._engines

    def _translated(self, error: exc.SQLAlchemyError) -> BackendError:
        fault, advice = self._dialect.fault(error)
        place = self._dialect.place_of(error)
        return translate(error, fault, advice, backend=self._dialect.name, place=place)

    def _drop_if_useless(self, context: sa.ExceptionContext) -> None:
        # SQLAlchemy then closes all connections of the pool: they lead to the same server.
        if self._dialect.fault(context.original_exception)[0] in {Fault.LOST, Fault.MOVED}:
            context.is_disconnect = True

    def _leave_to_parent(self) -> None:
        """In a forked child: the parent's connections must be neither used nor closed here."""
        if self._engines is not None:
            _INHERITED.append(self._engines)
            self._engines = None
            self.open()


def _roll_back(connection: sa.Connection, transaction: sa.RootTransaction) -> None:
    try:
        transaction.rollback()
    except exc.SQLAlchemyError:
        connection.invalidate()  # the server rolls back when the connection ends


def _roll_back_again(connection: sa.Connection) -> None:
    """To be sure; SQLAlchemy takes a transaction for ended whose COMMIT failed."""
    if connection.invalidated:
        return
    try:
        connection.connection.rollback()
    except connection.dialect.loaded_dbapi.Error:
        connection.invalidate()


_ALL: weakref.WeakSet[Transactions] = weakref.WeakSet()

_INHERITED: list[tuple[sa.Engine, sa.Engine]] = []
"""Kept for ever, because the collector would close their connections under the parent's feet."""


def _after_fork_in_child() -> None:
    for transactions in list(_ALL):
        transactions._leave_to_parent()  # noqa: SLF001 -- the same module


os.register_at_fork(after_in_child=_after_fork_in_child)
