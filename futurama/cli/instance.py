"""``futurama run``: one instance, until it is told to stop."""

from __future__ import annotations

import gc
import logging
import sys

import click

from futurama.cli.loading import http_trigger, load_triggers
from futurama.cli.options import config_option
from futurama.cli.signals import StopSignals
from futurama.config import Config
from futurama.queue import Queue

__all__ = ["run"]

_REPORTED = ("called", "succeeded", "retried", "buried", "timed_out", "released", "lost")
"""Which of ``futurama.stats.COUNTERS`` the last line tells."""


@click.command(short_help="Run an instance, which calls what is due.")
@click.argument("names", metavar="[MODULE:NAME]...", nargs=-1)
@config_option
@click.option("-v", "--verbose", is_flag=True, help="Log more than warnings to the standard error.")
@click.pass_context
def run(ctx: click.Context, *, names: tuple[str, ...], config: Config, verbose: bool) -> None:
    """Run an instance, which calls the triggers of events that are due.

    Each MODULE:NAME is a Python mapping from trigger types to triggers, like myapp.jobs:TRIGGERS;
    modules are also looked for in the current folder. The type "http" calls URLs unless one of the
    mappings has it.

    Ctrl-C and SIGTERM let running calls end, for the configuration's stop_timeout_sec at most; a
    second one ends the process at once. Run as many instances as you like, on as many machines.
    The exit status is 0 if all calls ended and were reported; those that did not are repeated.
    """
    _log_to_stderr(verbose=verbose)
    triggers = {"http": http_trigger(config), **load_triggers(names)}
    try:
        queue = Queue(triggers, config=config)
    except TypeError as exc:
        raise click.ClickException(str(exc)) from exc
    with StopSignals() as signals:
        name = queue.backend.name  # which connects, and so loads what is loaded late
        _spare_the_collector()
        queue.start()
        click.echo(
            f"running on {name}, calling {', '.join(sorted(triggers))}; Ctrl-C or SIGTERM stops"
        )
        sys.stdout.flush()
        signals.wait()
        is_clean = queue.stop()
        counts = queue.stats()
    done = ", ".join(f"{counts[name]} {name.replace('_', ' ')}" for name in _REPORTED)
    click.echo(f"stopped: {done}" + ("" if is_clean else "; some calls did not end in time"))
    ctx.exit(0 if is_clean else 1)


def _spare_the_collector() -> None:
    """Keep the garbage collector from looking again and again at all that was loaded.

    All calls wait meanwhile. See docs/performance.md.
    """
    gc.collect()
    gc.freeze()


def _log_to_stderr(*, verbose: bool) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # Whoever sets stat_interval_sec wants to see them.
    logging.getLogger("futurama.statistics").setLevel(logging.INFO)
    # It would log every URL with its query, in which secrets travel.
    logging.getLogger("httpx").setLevel(logging.WARNING)
