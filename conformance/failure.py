"""What a broken law looks like."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent

from futurama.conformance.laws import LAWS

__all__ = ["LawBroken"]

_SHOWN = 4000
"""How many characters of an expected or actual value are shown."""


class LawBroken(AssertionError):  # noqa: N818 -- a finding, not an error of the suite
    """A backend broke a law.

    Attributes:
        law: the id of the law.
        expected: what had to be, for people.
        actual: what was.
        program: the calls that led there, as Python; empty where there is no single order of calls.
    """

    def __init__(
        self, law: str, *, expected: object, actual: object, program: Sequence[str] = ()
    ) -> None:
        self.law = law
        self.expected = expected
        self.actual = actual
        self.program = list(program)
        super().__init__(law)

    def __str__(self) -> str:
        lines = [
            f"{self.law}: {LAWS[self.law].sentence}",
            f"  expected: {_shown(self.expected)}",
            f"  actual:   {_shown(self.actual)}",
        ]
        if self.program:
            lines += ["  program:", indent("\n".join(self.program), "    ")]
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        """Exceptions with keyword-only arguments need help to travel between processes."""
        return (_rebuilt, (self.law, self.expected, self.actual, self.program))


def _rebuilt(law: str, expected: object, actual: object, program: Sequence[str]) -> LawBroken:
    return LawBroken(law, expected=expected, actual=actual, program=program)


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
