"""APScheduler with its SQLAlchemyJobStore.

One scheduler, since two must not share a job store (its FAQ). All the work is done by one thread of it,
which removes each job in a transaction of its own: neither a larger pool of threads nor more
connections make it faster.
"""

from __future__ import annotations

import logging
import os
import time
from datetime import UTC, datetime

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from benchmarks.peers.worker import LOOK_SECONDS, Calls, Spec, dues, main, wait_for_go

_calls: Calls


def call(number: int, due: float) -> None:
    """The trigger, which the scheduler finds by its name."""
    _calls.add(number, due)


def _fill(spec: Spec) -> None:
    scheduler = _scheduler(spec, ThreadPoolExecutor())
    for number, due in enumerate(dues(spec)):
        scheduler.add_job(
            "__main__:call",
            "date",
            run_date=datetime.fromtimestamp(due, UTC),
            args=[number, due],
            id=str(number),
        )
    scheduler.start(paused=True)  # stores them
    os._exit(0)  # else it would try to run those that are due


def _work(spec: Spec) -> None:
    global _calls  # noqa: PLW0603 -- the scheduler finds `call` by its name only
    executor = ThreadPoolExecutor()
    scheduler = _scheduler(spec, executor)
    scheduler.start(paused=True)
    wait_for_go()
    _calls = Calls(spec)
    scheduler.resume()
    while not _calls.are_over():
        time.sleep(LOOK_SECONDS)
    if _calls.are_complete():
        scheduler.shutdown()  # when the last job has been removed
    else:
        executor.shutdown()  # when the calls that have begun are done
    _calls.report()
    os._exit(0)  # else it would go on until nothing is due


def _scheduler(spec: Spec, executor: ThreadPoolExecutor) -> BackgroundScheduler:
    logging.disable(logging.CRITICAL)
    return BackgroundScheduler(
        jobstores={"default": SQLAlchemyJobStore(url=spec["url"])},
        executors={"default": executor},
        job_defaults={"misfire_grace_time": None},  # else what is a second late is not run at all
        timezone=UTC,
    )


if __name__ == "__main__":
    main(_fill, _work)
