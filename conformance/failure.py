"""What a broken law looks like."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Sequence
from textwrap import indent
from typing import Final

from futurama.conformance.laws import LAWS
from futurama.conformance.literals import as_python
from futurama.conformance.profile import how_to_repeat

__all__ = ["SAME_STORE", "LawBroken", "SetUpError", "where"]

SAME_STORE: Final = "does connector() make an instance on the same store?"
"""What to ask an author whose second instance sees nothing at all."""

_SHOWN = 4000
"""How many characters of an expected or actual value are shown."""

_SUITE = "futurama.conformance"
_INSTALLED = (
    "<frozen ",  # the import system
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
)
"""Where the code lies that no author of a backend has written."""


class LawBroken(AssertionError):  # noqa: N818 -- a finding, not an error of the suite
    """A backend broke a law.

    Attributes:
        law: the id of the law.
        expected: what had to be, for people.
        actual: what was.
        program: the calls that led there, as Python that can be run and shows the fault; empty
            where there is no single order of calls.
        raised: where the backend raised an exception that it must not raise.
    """

    def __init__(
        self,
        law: str,
        *,
        expected: object,
        actual: object,
        program: Sequence[str] = (),
        raised: str = "",
    ) -> None:
        self.law = law
        self.expected = expected
        self.actual = actual
        self.program = list(program)
        self.raised = raised
        super().__init__(law)

    def __str__(self) -> str:
        lines = [
            f"{self.law}: {LAWS[self.law].sentence}",
            f"  expected: {_shown(self.expected)}",
            f"  actual:   {_shown(self.actual)}",
        ]
        if self.raised:
            lines += ["  raised in:", indent(self.raised, "    ")]
        if again := how_to_repeat():
            lines += [f"  again:    {again}"]
        if self.program:
            lines += ["  program:", *self.program]  # at the margin, so that it can be pasted
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        """Exceptions with keyword-only arguments need help to travel between processes."""
        return (_rebuilt, (self.law, self.expected, self.actual, self.program, self.raised))


class SetUpError(Exception):
    """The suite cannot begin: what its author gave it has to be mended first."""


def where(error: BaseException) -> str:
    """The lines of a traceback that the author of a backend can do something about.

    These are the frames in their own code; those of the suite, of the standard library and of
    installed packages are left out, unless nothing else is there.
    """
    frames = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_globals.get("__name__", "").startswith(_SUITE)
    ]
    own = [(f, line) for f, line in frames if not f.f_code.co_filename.startswith(_INSTALLED)]
    summary = traceback.StackSummary.extract(iter(own or frames), capture_locals=False)
    lines = "".join(summary.format()).rstrip()
    cause = error.__cause__
    return f"{lines}\ncaused by {cause!r}".strip() if cause is not None else lines


def _rebuilt(
    law: str, expected: object, actual: object, program: Sequence[str], raised: str
) -> LawBroken:
    return LawBroken(law, expected=expected, actual=actual, program=program, raised=raised)


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else as_python(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
