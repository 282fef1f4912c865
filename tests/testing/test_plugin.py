"""The pytest plugin of authapp, in tests as users of authapp write them."""

import pytest

from site_under_test import settings

APPLICATION = f"""
import pytest
from pyramid.config import Configurator
from webtest import TestApp

@pytest.fixture(scope="session")
def app():
    with Configurator(settings={settings("http://backend.invalid")!r}) as config:
        config.include("authapp")
        return config.make_wsgi_app()

@pytest.fixture
def client(app):
    return TestApp(app)
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini("[pytest]")
    pytester.makeconftest(APPLICATION)
    return pytester


OPTIONS = ("-p", "no:authapp", "-p", "authapp.testing.plugin", "-p", "no:cacheprovider")


def test_the_fixtures_sign_in_and_replace_the_backend(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        from authapp.testing import assert_session, use_backend

        def test_account(client, sign_in):
            sign_in(client, name="Alice", roles=["admin"])
            assert "Alice" in client.get("/account", status=200)

        def test_renewal(client, app, sign_in, memory_backend):
            use_backend(app, memory_backend)
            sign_in(client, id=1, phase="expired")
            client.get("/account", status=200)
            assert_session(client, phase="fresh")
            assert memory_backend.calls["refresh"] == 1
        """
    )
    run.runpytest_inprocess(*OPTIONS).assert_outcomes(passed=2)


@pytest.mark.servers
def test_pytest_finds_the_plugin_by_its_entry_point(run: pytest.Pytester) -> None:
    """pytest loads the plugin by its entry point. The test runs pytest in a separate process, in
    which nothing else loads the plugin."""
    run.makepyfile(
        """
        def test_account(client, sign_in):
            sign_in(client, name="Alice")
            assert "Alice" in client.get("/account", status=200)
        """
    )
    run.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_the_report_of_a_failure_says_what_the_sessions_were(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import requests

        def test_orders(client, sign_in):
            sign_in(client, id=7, name="Alice", phase="due")
            client.get("/nowhere", status=200)

        def test_closed(app, sign_in):
            client = requests.Session()
            sign_in(client, app, url="http://localhost:6543")
            del client.cookies
            assert False

        def test_nobody(client):
            assert False
        """
    )
    result = run.runpytest_inprocess(*OPTIONS)
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "*- session of the TestApp -*",
            "a session of user 7",
            "*phase due: *",
            "*- session of the Session -*",
            "it cannot be read: TypeError",
        ]
    )
