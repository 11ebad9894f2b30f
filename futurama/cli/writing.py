"""``futurama create`` and ``futurama cancel``."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import click

from futurama import payload
from futurama.backend import EventBackend, IfExists
from futurama.cli.options import config_option, instant, json_option
from futurama.cli.output import print_json, visible
from futurama.config import Config
from futurama.errors import EventExistsError, InvalidEventError
from futurama.events import CancelOutcome, check_id, check_trigger_type
from futurama.queue import Queue

__all__ = ["cancel", "create", "requeue"]

_SHOWN = 60
"""How many characters of what is not JSON the error repeats."""


@click.command(short_help="Schedule an event.")
@click.argument("trigger_type", metavar="TYPE")
@click.argument("when", metavar="WHEN", callback=instant)
@click.argument("data", required=False, metavar="[DATA]")
@click.option(
    "--id", "event_id", metavar="ID", help="1 to 128 bytes; by default a new one is made."
)
@click.option(
    "--if-exists",
    type=click.Choice(get_args(IfExists)),
    default="raise",
    show_default=True,
    help="What to do if the id is taken.",
)
@config_option
@json_option
def create(
    *,
    trigger_type: str,
    when: datetime | timedelta,
    data: str | None,
    event_id: str | None,
    if_exists: IfExists,
    config: Config,
    as_json: bool,
) -> None:
    """Schedule an event: call the trigger for TYPE at WHEN with DATA. Prints the event's id.

    \b
    WHEN  2030-01-31T18:00:00+01:00, 2030-01-31T17:00:00Z, +10s, +5m, +1h30m, +7d, now
    DATA  JSON, @FILE with JSON in it, or - for JSON from the standard input

    \b
    For example:
      futurama create http +30s '{"url": "http://localhost:8000/ping", "json": {"a": 1}}'
    """
    # All of it before a backend is opened: what is refused must leave nothing behind.
    check_trigger_type(trigger_type)
    if event_id is not None:
        check_id(event_id)
    decoded = None if data is None else _decode(data)
    payload.encode(decoded)
    try:
        with Queue(config=config) as queue:
            _require_durable(queue.backend)
            created = queue.create(trigger_type, when, decoded, id=event_id, if_exists=if_exists)
    except EventExistsError as exc:
        raise click.ClickException(
            f"an event with the id {event_id!r} exists already; choose another id, or say "
            "--if-exists keep to leave it alone or --if-exists replace to overwrite it"
        ) from exc
    if as_json:
        print_json({"id": created})
    else:
        click.echo(visible(created))


@click.command(short_help="Cancel events before they are called.")
@click.argument("event_ids", metavar="ID...", nargs=-1, required=True)
@config_option
@json_option
@click.pass_context
def cancel(
    ctx: click.Context, *, event_ids: tuple[str, ...], config: Config, as_json: bool
) -> None:
    """Cancel events, and print what became of each.

    \b
    cancelled  no call is under way, and none will start
    in_flight  it is removed, but a call is, or may be, under way
    not_found  it has ended, is among the dead letters, or never was

    The exit status is 0 if all of them were cancelled, otherwise 1. With --json there is one
    object per line and event.
    """
    for event_id in event_ids:
        check_id(event_id)
    all_cancelled = True
    with Queue(config=config) as queue:
        for event_id in event_ids:
            outcome = queue.cancel(event_id)
            all_cancelled &= outcome is CancelOutcome.CANCELLED
            # At once and not at the end, so that an error on the way does not hide what is done.
            if as_json:
                print_json({"id": event_id, "outcome": outcome.value})
            else:
                click.echo(f"{outcome.value}\t{visible(event_id)}")
    ctx.exit(0 if all_cancelled else 1)


@click.command(short_help="Call dead letters again.")
@click.argument("event_ids", metavar="ID...", nargs=-1, required=True)
@config_option
@click.pass_context
def requeue(ctx: click.Context, *, event_ids: tuple[str, ...], config: Config) -> None:
    """Call dead letters again, now, with their attempts counted anew; `list --state dead` shows them.

    The exit status is 0 if all of them were dead letters, otherwise 1.
    """
    for event_id in event_ids:
        check_id(event_id)
    all_were_dead = True
    with Queue(config=config) as queue:
        for event_id in event_ids:
            was_dead = queue.requeue(event_id)
            all_were_dead &= was_dead
            click.echo(f"{'requeued' if was_dead else 'no_dead_letter'}\t{visible(event_id)}")
    ctx.exit(0 if all_were_dead else 1)


def _require_durable(backend: EventBackend) -> None:
    if not backend.capabilities.durable:
        raise click.ClickException(
            f"the backend {backend.name!r} would forget the event when this command ends; choose "
            "another one in the configuration"
        )


def _decode(argument: str) -> Any:
    """The value of DATA."""
    if argument == "-":
        text: str | bytes = sys.stdin.buffer.read()
    elif argument.startswith("@"):
        text = Path(argument[1:]).read_bytes()
    else:
        text = argument
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        shown = repr(text[:_SHOWN]) + ("…" if len(text) > _SHOWN else "")
        raise InvalidEventError(
            f"DATA is not JSON ({exc}): {shown}; strings need double quotes, and the whole needs "
            """single quotes for the shell: '{"a": "text"}'""",
            field="data",
        ) from exc
