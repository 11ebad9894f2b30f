"""The group of all commands, and what becomes of their errors."""

from __future__ import annotations

from typing import Any

import click

from futurama.cli.demo import demo
from futurama.cli.instance import run
from futurama.cli.looking import list_events, show, stats
from futurama.cli.output import one_line
from futurama.cli.store import check, migrate
from futurama.cli.writing import cancel, create, requeue
from futurama.errors import FuturamaError

__all__ = ["app"]


class _Commands(click.Group):
    """Commands in the order in which they were added; every expected error is one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See :class:`click.Group`, which would sort them."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """See :class:`click.Group`."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # whoever read our output has seen enough; click ends quietly
        except FuturamaError as exc:
            raise click.ClickException(one_line(str(exc))) from exc
        except OSError as exc:
            raise click.ClickException(one_line(_explained(exc))) from exc


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="futurama")
def app() -> None:
    """Run events at a given time: call a URL in 30 s, or your own Python code.

    Try `futurama demo` first. Events wait where the configuration FILE says (one JSON object, see
    docs/configuration.md); without one, in MySQL at 127.0.0.1.
    """


for _command in (demo, run, create, cancel, requeue, show, list_events, stats, migrate, check):
    app.add_command(_command)


def _explained(exc: OSError) -> str:
    return f"{exc.filename}: {exc.strerror}" if exc.filename and exc.strerror else str(exc)
