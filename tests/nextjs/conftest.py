"""Fixtures: Next.js applications with both versions of the packages, and sites that share their
cookie."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nextjs.shared_cookie import FORMATS, NAMES, NEW, OLD, Both
from nextjs_side import NextSide, in_base64, write_scripts
from servers import Served


class Sides(dict[tuple[int, bool, str], NextSide]):
    """(version, HTTPS or not, cookie name) -> a Next.js application, which is started at its first
    use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __missing__(self, key: tuple[int, bool, str]) -> NextSide:
        version, secure, name = key
        url = "https://localhost" if secure else "http://localhost"
        self[key] = NextSide(
            self.folder,
            version,
            SESSION_SECRETS=in_base64(NEW, OLD),
            SESSION_COOKIE=name,
            NEXTAUTH_URL=url,
            AUTH_URL=url,
        )
        return self[key]


@pytest.fixture(scope="session")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    made = Sides(write_scripts(tmp_path_factory.mktemp("nextjs")))
    yield made
    for side in made.values():
        side.close()


@pytest.fixture(params=FORMATS, ids=FORMATS.values())
def version(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def packages(sides: Sides, version: int) -> NextSide:
    """Return a Next.js application for tests that only call functions of its packages."""
    return sides[version, False, NAMES[version, False]]


@pytest.fixture
def both_with(sides: Sides, version: int, backend: Served) -> Callable[..., Both]:
    def make(secure: bool = False, name: str = "", renews: str = "", **more: Any) -> Both:
        name = name or NAMES[version, secure]
        side = sides[version, secure, name]
        side.environ = {"BACKEND_URL": backend.url, "PYRAMID_RENEWS": renews}
        if domain := more.get("session__domain"):
            side.environ["SESSION_DOMAIN"] = domain
        return Both(side, backend, secure, name, **more)

    return make


@pytest.fixture
def both(both_with: Callable[..., Both]) -> Both:
    return both_with()
