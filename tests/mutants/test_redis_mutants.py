"""The suite finds what goes wrong in a line of a script on Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import resources
from typing import TypeAlias

import pytest

from futurama.backends.redis import RedisSettings
from tests.mutants.dying import Connect, Mutant, Stores, assert_dies, report
from tests.mutants.redis import REDIS_MUTANTS, RewritingRedis
from tests.mutants.registry import MOST_SECONDS
from tests.servers import ExternalRedis, Redis

On: TypeAlias = Callable[[type[RewritingRedis]], Stores]


@pytest.fixture
def on(redis_server: Redis | ExternalRedis) -> Iterator[On]:
    """Stores that are namespaces of one server."""
    first = redis_server.create_database()
    used: set[str] = set()

    def stores(backend: type[RewritingRedis]) -> Stores:
        def store(name: str) -> Connect:
            namespace = f"{first}.{name}"
            used.add(namespace)
            return partial(backend, RedisSettings(**redis_server.settings(namespace)))

        return store

    yield stores
    for namespace in used:
        redis_server.drop_database(namespace)


@pytest.mark.timeout(MOST_SECONDS)
@pytest.mark.parametrize("mutant", REDIS_MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_dies_by_its_own_law(mutant: Mutant[type[RewritingRedis]], on: On) -> None:
    """The test of the law that a mutant breaks names that law, and shows how in a few calls."""
    assert_dies(mutant, on(mutant.cls))


@pytest.mark.parametrize("mutant", REDIS_MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_changes_one_place(mutant: Mutant[type[RewritingRedis]]) -> None:
    """What a mutant replaces stands in the scripts, and only once."""
    folder = resources.files("futurama.backends.redis") / "lua"
    scripts = "\0".join(file.read_text() for file in folder.iterdir())
    assert {scripts.count(old) for old in mutant.cls.rewrites} <= {1}


def test_mutants_die_of_nothing_else(on: On) -> None:
    """With the scripts as they are the same backend is right."""
    laws = ("claim.order", "fence.settle", "concurrency.fence")
    assert report(on(RewritingRedis), *laws).ok
