"""Printing, for people at a terminal, for pipes and for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from futurama import payload
from futurama.backend import StoredEvent

__all__ = [
    "as_json",
    "described",
    "one_line",
    "print_json",
    "print_table",
    "visible",
    "visible_json",
]


def print_json(value: object) -> None:
    """One JSON document on one line."""
    click.echo(json.dumps(value))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table at a terminal; elsewhere one line per row, with tabs and without headings."""
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(row))
        return
    # The first column is what other commands want to be given; nothing is ever cut.
    columns = [
        Column(heading, overflow="fold", no_wrap=not index)
        for index, heading in enumerate(headings)
    ]
    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def one_line(text: str) -> str:
    """``text`` without line breaks, for errors."""
    return " ".join(text.split())


def visible(text: str) -> str:
    """``text``, escaped as in JSON if it contains what a terminal would obey or cannot show."""
    return text if text.isprintable() else json.dumps(text)[1:-1]


def visible_json(value: object) -> str:
    """``value`` as JSON that a terminal can show."""
    shown = json.dumps(value, ensure_ascii=False)
    return shown if shown.isprintable() else json.dumps(value)


def described(event: StoredEvent) -> Mapping[str, Any]:
    """All that is stored about an event, as values of JSON; bytes that are not JSON as text."""
    fields = {
        "id": event.id,
        "trigger_type": event.trigger_type,
        "state": event.state.value,
        "trigger_time": as_json(event.trigger_time),
        "due": as_json(event.due),
        "attempt": event.attempt,
        "owner": event.owner,
        "lost": event.lost,
        "created": as_json(event.created),
        "died": as_json(event.died),
        "reason": event.reason,
    }
    try:
        return {**fields, "data": payload.decode(event.payload)}
    except ValueError:
        return {**fields, "undecodable_data": event.payload.decode("latin-1")}


def as_json(instant: datetime | None) -> str | None:
    """ISO 8601, in UTC."""
    return None if instant is None else instant.isoformat()
