"""Fixtures for all tests: real HTTP backends, and sites of authapp that use them."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from authapp.issuer import main as issuer
from browser.chromium import FLAGS, PROGRAM
from servers import ISSUER_SETTINGS, Served, Servers
from servers.redis_server import RedisServer
from site_under_test import Site

if TYPE_CHECKING:
    from nextjs.real_next import Both

# An example may take long because the machine is busy.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=20)  # `make quick`
hypothesis.settings.load_profile("untimed")

pytest_plugins = ["authapp.testing.plugin", "pytester"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test has failed (CI)")


WITH_SERVERS = {"browser", "nextjs", "serving", "whole"}
"""Folders of tests that all start servers, browsers or processes."""

MODULES_WITH_SERVERS = {
    "test_certified_provider",
    "test_documentation",
    "test_failover",
    "test_faults",
    "test_large_bodies",
    "test_many_processes",
    "test_proxies",
    "test_readme",
    "test_redis_cluster",
    "test_redis_cluster_lost_node",
    "test_redis_secured",
    "test_redis_sentinel",
    "test_simplejwt",
    "test_state_machine",
    "test_tutorial",
}


def needs_servers(path: Path) -> bool:
    """Return True if the tests of a folder or a file start servers, browsers or processes."""
    return (
        path.name in WITH_SERVERS
        or path.parent.name in WITH_SERVERS
        or path.stem in MODULES_WITH_SERVERS
        or path.stem.startswith("test_preset_")
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """For `make quick`, do not import tests that need servers: their imports take seconds.

    :returns: True to leave a path out. None lets other plugins decide about the path.
    """
    without_servers = config.option.markexpr in ("not servers", "not servers and not slow")
    return (without_servers and needs_servers(collection_path)) or None


SLOWEST = {"test_life.py", "test_soak.py", "test_failover.py", "test_stalls.py"}
"""Modules with a test that takes more than half a minute."""


SLOW = {
    "test_check",
    "test_check_login",
    "test_command_line",
    "test_endless_answers",
    "test_failed_calls",
    "test_load_shedding",
    "test_proposals",
    "test_proxy_answers",
    "test_proxy_bulkhead",
    "test_proxy_renewal",
    "test_proxy_requests",
    "test_questions",
    "test_slow_calls",
    "test_tls",
}
"""Modules whose tests take seconds: they start a server, or wait for one that is slow."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests and tests that start servers, and run the slowest modules first.

    If a worker started one of the slowest modules last, the other workers would have to wait for
    its end.
    """
    for item in items:
        if needs_servers(item.path) or "redis_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.servers)
        if item.path.stem in SLOW:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.name not in SLOWEST)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: object) -> Iterator[None]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("--no-skips"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which --no-skips does not allow: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Yield the HTTP servers that tests use one after the other."""
    with closing(Servers()) as servers:
        yield servers


@pytest.fixture(scope="session")
def embedded_issuer() -> Any:
    """Return the embedded issuer as a WSGI application.

    All tests can share it, because it stores only random token ids.
    """
    return issuer({}, **ISSUER_SETTINGS)


@pytest.fixture
def backend(servers: Servers, embedded_issuer: Any) -> Iterator[Served]:
    """Yield a backend: the embedded issuer behind a real HTTP server."""
    with servers.serve(embedded_issuer) as served:
        yield served


@pytest.fixture(scope="module", params=[5, 4], ids=["Auth.js 5", "next-auth 4"])
def next_and_pyramid(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["Both"]:
    """Yield the Next.js application and the Pyramid site of docs/nextjs.md, on one host."""
    from nextjs.real_next import Both  # a second, which tests without Next.js need not wait for

    with closing(Both(request.param, tmp_path_factory.mktemp("next"))) as both:
        yield both


@pytest.fixture
def site(backend: Served) -> Site:
    """Return a site whose backend is the fixture ``backend``."""
    return Site(backend.url)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Yield a new Redis server for one test."""
    server = RedisServer(tmp_path)
    yield server
    server.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Yield Chromium, which all tests share. Each test opens its own windows."""
    if PROGRAM is None:
        pytest.skip("chromium-headless-shell is not installed; see .ci/packages")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=FLAGS)
        yield browser
        browser.close()
