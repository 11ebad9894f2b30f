"""``futurama show``, ``futurama list`` and ``futurama stats``."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

from futurama.backend import Query, State, StoredEvent
from futurama.cli import output
from futurama.cli.options import config_option, instant, json_option
from futurama.config import Config
from futurama.events import check_id, check_trigger_type
from futurama.queue import Queue

__all__ = ["list_events", "show", "stats"]

_MAX_LIMIT = 1000


@click.command(short_help="Show all that is stored about an event.")
@click.argument("event_id", metavar="ID")
@config_option
@json_option
def show(*, event_id: str, config: Config, as_json: bool) -> None:
    """Show all that is stored about an event, dead letters included.

    The exit status is 1 if there is no such event: it has ended, was cancelled, or never was.
    """
    check_id(event_id)
    with Queue(config=config) as queue:
        found = queue.backend.find(Query(ids=[event_id])).events
    if not found:
        raise click.ClickException(
            f"there is no event with the id {event_id!r}: it has ended, was cancelled, or never was"
        )
    fields = output.described(found[0])
    if as_json:
        output.print_json(fields)
    else:
        width = max(map(len, fields))
        for name, value in fields.items():
            is_text = isinstance(value, str) and name != "data"
            shown = output.visible(value) if is_text else output.visible_json(value)
            click.echo(f"{name:{width}}  {shown}")


@click.command("list", short_help="List events.")
@click.option("--state", type=click.Choice([state.value for state in State]))
@click.option("--type", "trigger_type", metavar="TYPE", help="Only this trigger type.")
@click.option(
    "--from",
    "due_from",
    metavar="WHEN",
    callback=instant,
    help="Only what is due then or later, like -1h or 2030-01-31T18:00:00Z.",
)
@click.option(
    "--until",
    "due_until",
    metavar="WHEN",
    callback=instant,
    help="Only what is due earlier, like now or +10m.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, _MAX_LIMIT),
    default=50,
    show_default=True,
    help="At most so many.",
)
@click.option("--after", metavar="PAGE", help="Go on where the former page ended.")
@config_option
@json_option
def list_events(
    *,
    state: str | None,
    trigger_type: str | None,
    due_from: datetime | timedelta | None,
    due_until: datetime | timedelta | None,
    limit: int,
    after: str | None,
    config: Config,
    as_json: bool,
) -> None:
    """List events that wait or are under way by the time they are due, then dead letters.

    If there are more, the last line (on the standard error) says how to see them; with --json
    "next" is the PAGE to go on with, or null.
    """
    if trigger_type is not None:
        check_trigger_type(trigger_type)
    with Queue(config=config) as queue:
        now = queue.now()
        page = queue.backend.find(
            Query(
                state=None if state is None else State(state),
                trigger_type=trigger_type,
                due_from=_absolute(due_from, now),
                due_until=_absolute(due_until, now),
                limit=limit,
                after=after,
            )
        )
    if as_json:
        events = [output.described(event) for event in page.events]
        output.print_json({"events": events, "next": page.next})
        return
    output.print_table(
        ["id", "type", "state", "due, or died", "attempt", "owner, or reason"],
        [_row(event) for event in page.events],
    )
    if page.next is not None:
        click.echo(f"there are more: --after {page.next}", err=True)


@click.command(short_help="Count events, and tell how far behind the instances are.")
@config_option
@json_option
def stats(*, config: Config, as_json: bool) -> None:
    """Count the events in each state, and tell how far behind the instances are.

    The lag is how long the earliest event that should have been claimed has been due: 0 if there
    is none.
    """
    with Queue(config=config) as queue:
        counts = {state.value: count for state, count in queue.backend.count().items()}
        now = queue.now()
        overdue = queue.backend.find(Query(due_until=now, limit=1)).events
        due = overdue[0].due if overdue else None
    lag_seconds = 0.0 if due is None else (now - due).total_seconds()
    if as_json:
        output.print_json({**counts, "lag_seconds": lag_seconds})
    else:
        rows = [(name, str(count)) for name, count in counts.items()]
        output.print_table(["what", "how much"], [*rows, ("lag", f"{lag_seconds:.3f} s")])


def _absolute(instant: datetime | timedelta | None, now: datetime) -> datetime | None:
    if not isinstance(instant, timedelta):
        return instant
    try:
        return now + instant
    except OverflowError:
        raise click.BadParameter(f"{instant} from now lies beyond the calendar") from None


def _row(event: StoredEvent) -> list[str]:
    return [
        output.visible(event.id),
        output.visible(event.trigger_type),
        event.state.value,
        output.as_json(event.due or event.died) or "",
        str(event.attempt),
        output.visible(event.owner or event.reason or ""),
    ]
