"""The pytest plugin. pytest loads it by the entry point ``pytest11`` when authapp is installed.

Fixtures:

- ``sign_in``: :func:`authapp.testing.sign_in`. If the test fails, its report describes the session
  of each client that this fixture has signed in.
- ``memory_backend``: a new :class:`authapp.testing.MemoryBackend`.
"""

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Any

import pytest

from authapp.session.session import Session
from authapp.testing import MemoryBackend, describe
from authapp.testing import sign_in as sign_in_client

# authapp has a pytest plugin. So pytest loads all modules of authapp with a loader that rewrites
# assertions. Pyramid reads templates with pkg_resources, which must know this loader.
with suppress(KeyError):  # a Pyramid without pkg_resources
    _resources: Any = sys.modules["pkg_resources"]
    _resources.register_loader_type(type(globals()["__loader__"]), _resources.DefaultProvider)

_CLIENTS = pytest.StashKey[list[tuple[Any, Any, str | None]]]()


@pytest.fixture
def sign_in(request: pytest.FixtureRequest) -> Callable[..., Session]:
    """Return a function that signs a client in as any user: :func:`authapp.testing.sign_in`."""
    clients = request.node.stash.setdefault(_CLIENTS, [])

    def sign_in(
        client: Any, application: Any = None, *, url: str | None = None, **user: Any
    ) -> Session:
        session = sign_in_client(client, application, url=url, **user)
        clients.append((client, application, url))
        return session

    return sign_in


@pytest.fixture
def memory_backend() -> Iterator[MemoryBackend]:
    """Return a :class:`MemoryBackend`.

    When the test ends, calls that still wait because of ``held`` or ``slow`` are released.
    """
    backend = MemoryBackend()
    yield backend
    backend.recover()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the sessions of the test's clients to the report of a failure."""
    report = yield
    if report.when == "call" and report.failed:
        for client, application, url in item.stash.get(_CLIENTS, []):
            report.sections.append(
                (f"session of the {type(client).__name__}", _told(client, application, url))
            )
    return report


def _told(client: Any, application: Any, url: str | None) -> str:
    """Return the session of a client in words. An error here must not hide the test's failure."""
    try:
        return describe(client, application, url=url)
    except Exception as error:
        return f"it cannot be read: {type(error).__name__}"
