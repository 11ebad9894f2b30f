"""``futurama migrate`` and ``futurama check``: whether events can wait where they should."""

from __future__ import annotations

from collections.abc import Sequence

import click

from futurama.backend import Diagnosable, EventBackend, Finding, Migratable, Verdict
from futurama.cli.options import config_option, json_option
from futurama.cli.output import one_line, print_json, print_table, visible
from futurama.config import Config
from futurama.errors import BackendError

__all__ = ["check", "migrate"]


@click.command(short_help="Create or upgrade the schema.")
@config_option
@json_option
def migrate(*, config: Config, as_json: bool) -> None:
    """Create or upgrade the schema that the backend needs; harmless if that is done already.

    Instances do this themselves when they start, unless the configuration says
    "create_schema": false, for users that may not create tables.
    """
    backend = config.make_backend()
    if not isinstance(backend, Migratable):
        changes: Sequence[str] = []
    else:
        changes = backend.migrate()
    if as_json:
        print_json({"changes": list(changes)})
        return
    for change in changes or ["nothing to do"]:
        click.echo(change)


@click.command(short_help="Check connection, server settings and rights.")
@config_option
@json_option
@click.pass_context
def check(ctx: click.Context, *, config: Config, as_json: bool) -> None:
    """Check whether the backend can be reached and how well its server is set up.

    Each finding comes with advice. The exit status is 1 if there is a problem.
    """
    findings = _examine(config.make_backend())
    if as_json:
        print_json(
            [
                {
                    "name": finding.name,
                    "value": finding.value,
                    "verdict": finding.verdict.value,
                    "advice": finding.advice,
                }
                for finding in findings
            ]
        )
    else:
        print_table(
            ["verdict", "what", "found", "advice"],
            [[f.verdict.value, f.name, visible(f.value), visible(f.advice)] for f in findings],
        )
    ctx.exit(any(finding.verdict is Verdict.PROBLEM for finding in findings))


def _examine(backend: EventBackend) -> Sequence[Finding]:
    """All findings; that the backend cannot be reached is one of them."""
    try:
        if isinstance(backend, Diagnosable):
            return [_connected(backend), *backend.diagnose()]
        backend.open()
        backend.close()
    except BackendError as exc:
        return [Finding("connection", "failed", Verdict.PROBLEM, one_line(str(exc)))]
    return [_connected(backend)]


def _connected(backend: EventBackend) -> Finding:
    return Finding("connection", f"works ({backend.name})")
