"""docs/write-a-backend.md leads to the backend that lies in examples/, and its order is right."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from operator import or_
from pathlib import Path
from typing import Any

import attrs
import pytest

from futurama.backend import EventBackend
from futurama.backends.memory import MemoryBackend
from futurama.conformance import LAWS, BackendConformance, check_suite
from futurama.conformance.suite import names_of_tests

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "write-a-backend.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "backend_textfile"
SOURCES = {
    str(path.relative_to(EXAMPLE)): path.read_text(encoding="utf-8")
    for pattern in ("**/*.py", "*.toml")
    for path in sorted(EXAMPLE.glob(pattern))
}
OPERATIONS = {
    name for name, _ in inspect.getmembers(EventBackend, inspect.isfunction) if name[0] != "_"
}


@attrs.frozen
class Step:
    """One section of the guide.

    Attributes:
        title: its heading.
        operations: the methods that are written in it.
        green: the laws that hold from there on.
    """

    title: str
    operations: set[str]
    green: list[str]


def in_backquotes(text: str) -> list[str]:
    """What the text marks as code."""
    return re.findall(r"`([^`]+)`", text)


def steps() -> Iterator[Step]:
    """The sections in their order."""
    for section in GUIDE.split("\n## ")[1:]:
        title = section.partition("\n")[0]
        green = "".join(re.findall(r"Green from here: ([^|]*?)\n\n", section))
        yield Step(title, set(in_backquotes(title)) & OPERATIONS, in_backquotes(green))


STEPS = list(steps())
WRITTEN = list(accumulate((step.operations for step in STEPS), or_))
"""The methods that there are at the end of each step."""


@pytest.mark.parametrize("block", re.findall(r"```(?:python|toml)\n(.*?)```", GUIDE, re.DOTALL))
def test_code_is_that_of_the_example(block: str) -> None:
    """Every piece of code in the guide stands in the example, character by character."""
    assert [path for path, source in SOURCES.items() if block in source]


def test_code_of_the_example_is_all_there() -> None:
    """Whoever copies every piece of the guide has the whole backend."""
    for path in ("backend.py", "store.py", "__init__.py"):
        source = SOURCES[f"futurama_textfile/{path}"]
        for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL):
            source = source.replace(block, "")
        assert not source.strip()


def test_every_law_turns_green_once() -> None:
    """The steps share out all laws, and write every operation."""
    assert sorted(law for step in STEPS for law in step.green) == sorted(LAWS)
    assert WRITTEN[-1] == OPERATIONS


def test_laws_that_find_mistakes_exist() -> None:
    """The tables of mistakes name laws that there are, or else a test of the suite."""
    named = {
        law
        for row in re.findall(r"^\|.*\| (.*?) \|$", GUIDE, re.MULTILINE)
        for law in in_backquotes(row)
    }
    assert named - LAWS.keys() <= set(names_of_tests())
    assert named


@pytest.mark.parametrize("number", range(len(STEPS)), ids=lambda number: STEPS[number].title)
def test_laws_are_green_when_the_guide_says_so(number: int) -> None:
    """With the methods that are written so far, the step's laws hold."""
    half_written = _without(OPERATIONS - WRITTEN[number])
    report = check_suite(half_written, laws=STEPS[number].green)
    assert {result.law: result.detail for result in report.results if result.detail} == {}


def _without(operations: set[str]) -> type[BackendConformance]:
    """The suite on a backend in memory that lacks these operations."""

    def missing(*_: Any, **__: Any) -> None:
        raise NotImplementedError

    backend: type[MemoryBackend] = type(
        "HalfWritten", (MemoryBackend,), dict.fromkeys(operations, missing)
    )

    class HalfWritten(BackendConformance):
        capabilities = MemoryBackend().capabilities

        @classmethod
        @contextmanager
        def make_backend(cls) -> Iterator[EventBackend]:
            yield backend()

    return HalfWritten
