"""The documentation tells the truth about the code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from futurama import Config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def blocks(language: str) -> list[str]:
    """The code blocks of the README in one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_configuration_page_is_current() -> None:
    """docs/configuration.md lists all keys as the code has them; `make docs` renews it."""
    made = subprocess.run(
        [sys.executable, ROOT / "docs" / "make_configuration.py"],
        check=True, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == made.stdout


def test_unit_test_of_the_readme_passes() -> None:
    """The example of a unit test in the README works as it stands."""
    (example,) = (block for block in blocks("python") if "def test_" in block)
    namespace: dict[str, object] = {}
    exec(example, namespace)
    test = namespace["test_reminder_is_sent_after_a_day"]
    assert callable(test)
    test()


@pytest.mark.parametrize("text", blocks("json"))
def test_configurations_of_the_readme_load(text: str) -> None:
    """The configurations in the README are valid."""
    Config.from_mapping(json.loads(text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    """Every relative link in the documentation names a file that exists."""
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []
