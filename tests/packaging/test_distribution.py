"""What is in the wheel and in the sdist."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.packaging.conftest import Distribution
from tests.packaging.project import FOLDERS, ROOT, data, modules, packages, pyproject


def wheel_path(module: str) -> str:
    """Where a wheel has this module."""
    path = module.replace(".", "/")
    return f"{path}/__init__.py" if module in packages() else f"{path}.py"


def test_every_package_is_listed() -> None:
    """The list of packages equals the folders, for what is not listed is not shipped."""
    assert sorted(pyproject()["tool"]["setuptools"]["packages"]) == packages()


def test_every_folder_is_a_package() -> None:
    """Every folder with modules has an ``__init__.py``."""
    assert set(packages()) <= set(modules())


@pytest.mark.parametrize("name", ["backends", "conformance"])
def test_links_are_relative(name: str) -> None:
    """An uninstalled checkout finds the folders beside the core through relative links."""
    link = ROOT / "futurama" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name
    assert link.resolve() == FOLDERS[f"futurama.{name}"]


def test_wheel_is_complete(distribution: Distribution) -> None:
    """The wheel has every module, script and marker of type hints, and no file beyond them."""
    with zipfile.ZipFile(distribution.wheel) as wheel:
        shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert {"futurama/py.typed", "futurama/backends/redis/lua/store.lua"} < set(data())
    assert shipped == {wheel_path(module) for module in modules()} | set(data())


def test_wheel_carries_the_licence(distribution: Distribution) -> None:
    """The wheel has the licence among its metadata."""
    with zipfile.ZipFile(distribution.wheel) as wheel:
        assert [name for name in wheel.namelist() if name.endswith("/licenses/LICENSE")]


def test_sdist_is_complete(distribution: Distribution) -> None:
    """The sdist has every module and script at its place, and no test or benchmark."""
    with tarfile.open(distribution.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    shipped = (*modules().values(), *data().values())
    wanted = {str(path.relative_to(ROOT)) for path in shipped}
    assert wanted | {"pyproject.toml", "README.md", "LICENSE"} <= names
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "."))]
