"""What must not stand in any file, and what must stand beside what does."""

from __future__ import annotations

import ast
import re

from tests.packaging.project import functions, texts

# Spelled so that they do not match themselves.
FORBIDDEN = {
    "a folder of one machine": r"(?<![\w.~$}])/(?:home|root|work|Users|mnt)/[\w.]",
    "a package index": r"(?:index-[u]rl|find-[l]inks|trusted-[h]ost|https?://\S*/[s]imple\b)",
}

SUPPRESSION = re.compile(
    r"#\s*(?P<tool>type: ?ignore|noqa|pragma: no ?(?:cover|branch)|pyright: ?ignore)(?P<rest>[^\n]*)"
)
WITH_A_REASON = re.compile(
    r"""(?x)
    (?:\[[\w\-,\s]+\]|:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?  # a code; coverage has none
    \s*(?:--|\#|:|\()\s*\w.+
    """
)


def test_nothing_of_one_machine() -> None:
    """No file names a folder of somebody's machine or a package index."""
    found = [
        f"{path}: {meaning}: {match[0]}"
        for path, text in texts().items()
        for meaning, pattern in FORBIDDEN.items()
        for match in re.finditer(pattern, text)
    ]
    assert not found


def test_every_exception_has_a_reason() -> None:
    """Whoever silences a tool says which rule and why."""
    found = [
        f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for path, text in texts().items()
        if path.endswith(".py")
        for match in SUPPRESSION.finditer(text)
        if not WITH_A_REASON.fullmatch(match["rest"])
        or ("pragma" not in match["tool"] and not re.match(r"\[|: ?[A-Z]", match["rest"]))
    ]
    assert not found


def test_every_test_says_what_is_true() -> None:
    """Every test has a docstring that is one sentence, or begins with one."""
    found = [
        f"{path}:{function.lineno}: {function.name}"
        for path, text in texts().items()
        if path.startswith("tests/") and path.endswith(".py")
        for function in functions(text)
        if function.name.startswith("test_")
        if not (ast.get_docstring(function) or "").partition("\n\n")[0].endswith((".", "?", "!"))
    ]
    assert not found
