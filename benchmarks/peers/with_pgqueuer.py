"""PgQueuer on asyncpg and uvloop, durable, set up as its guide to performance tuning says.

One direct connection, which that guide recommends for whoever listens, was also faster than a pool.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from benchmarks.peers.worker import LOOK_SECONDS, Calls, Spec, dues, main, wait_for_go

_BATCH_SIZE = 200
"""Smaller ones cost more of client and server for each job, larger ones do not cost less."""

_POLL = timedelta(milliseconds=1)
"""For how long it sleeps at least when it has found nothing due. The default, 100 ms, would be the
lateness."""


def _fill(spec: Spec) -> None:
    uvloop.run(_store_jobs(spec))


def _work(spec: Spec) -> None:
    uvloop.run(_run_jobs(spec))


async def _store_jobs(spec: Spec) -> None:
    connection = await asyncpg.connect(spec["url"])
    queries = Queries(AsyncpgDriver(connection))
    await queries.install()
    await queries.optimize_autovacuum()
    now = time.time()
    delays = [timedelta(seconds=max(0.0, due - now)) for due in dues(spec)]
    await queries.enqueue(
        ["bench"] * len(delays),
        [b"%d" % number for number in range(len(delays))],
        [0] * len(delays),
        delays,
    )
    await connection.execute("VACUUM ANALYZE")  # autovacuum's work, without waiting for it
    await connection.close()


async def _run_jobs(spec: Spec) -> None:
    logging.disable(logging.CRITICAL)
    connection = await asyncpg.connect(spec["url"])
    app = PgQueuer(AsyncpgDriver(connection))
    app.qm.min_dequeue_poll_interval = _POLL
    wait_for_go()
    calls = Calls(spec)

    async def call(job: Job) -> None:
        calls.add(int(job.payload), job.execute_after.timestamp())

    app.entrypoint("bench")(call)
    running = asyncio.create_task(app.run(batch_size=_BATCH_SIZE))
    while not calls.are_over():
        await asyncio.sleep(LOOK_SECONDS)
    app.shutdown.set()
    await running
    calls.report()


if __name__ == "__main__":
    main(_fill, _work)
