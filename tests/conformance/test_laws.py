"""The registry of laws, the tests and the documentation agree."""

from __future__ import annotations

from pathlib import Path

from futurama.conformance import LAWS, BackendConformance
from futurama.conformance.laws import as_markdown, name_of_test

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


def test_documentation_lists_every_law() -> None:
    """docs/conformance.md ends with what ``python -m futurama.conformance --laws`` prints."""
    assert PAGE.read_text(encoding="utf-8").endswith("\n\n" + as_markdown())


def test_every_law_has_its_test() -> None:
    """Each law has a test named after it; three tests are about all of them or about the suite."""
    tests = {name for name in dir(BackendConformance) if name.startswith("test_")}
    named = {name_of_test(law) for law in LAWS}
    general = {"test_any_program", "test_suite_is_set_up", "test_suite_is_whole"}
    assert tests - named == general
    assert not named - tests


def test_every_law_is_a_sentence() -> None:
    """A sentence ends with a full stop and needs no second one."""
    odd = [
        law.id for law in LAWS.values() if not law.sentence.endswith(".") or ". " in law.sentence
    ]
    assert not odd
