"""The page of results is about all laws and all backends, and shows nothing broken."""

from __future__ import annotations

import json

import pytest

from futurama.conformance import LAWS, Status, check
from futurama.conformance.report import as_json
from tests.conformance.results import COLUMNS, PAGE, ROOT, page
from tests.conformance.samples import make_backend
from tests.mutants.registry import MEMORY


def test_page_names_every_law_and_every_backend() -> None:
    """``make conformance`` renews docs/conformance-results.md, and someone has."""
    text = PAGE.read_text(encoding="utf-8")
    assert [law for law in LAWS if f"| `{law}` |" not in text] == []
    assert [column.name for column in COLUMNS if f"\n| {column.name} |" not in text] == []
    cells = [cell.strip() for line in text.splitlines() for cell in line.split("|")]
    assert not {"✗", "?"} & set(cells)


def test_every_target_is_there() -> None:
    """Every column is made from a class that exists."""
    for column in COLUMNS:
        module, _, name = column.target.partition(":")
        path = ROOT / (module if module.endswith(".py") else f"{module.replace('.', '/')}.py")
        assert f"class {name}(" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("status", Status)
def test_every_status_has_its_sign(status: Status) -> None:
    """Whatever the suite says can be shown."""
    report = json.loads(as_json(check(make_backend, MEMORY, laws=["count"])))
    report["laws"] = dict.fromkeys(LAWS, status)
    text = page([report] * len(COLUMNS))
    rows = [line for line in text.splitlines() if line.startswith("| `count` |")]
    assert len({cell.strip() for cell in rows[0].split("|")[2:-1]}) == 1
