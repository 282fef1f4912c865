"""A development site refuses requests for other hosts, because of DNS rebinding and tunnels."""

import re
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from authapp.web.development_hosts import is_allowed
from served_site import ServedSite
from servers import Served
from site_under_test import Site

ALLOWED = ["localhost", "LOCALHOST:6543", "127.0.0.1", "127.9.9.9:80", "[::1]:6543", "a.localhost"]
REFUSED = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example:80:127.0.0.1",
    "localhost@evil.example",
    "evil.example#localhost",
    "localhost,evil.example",
    "192.168.1.20",
    "0.0.0.0",
    "[::]",
    "2130706433",
    "",
    " localhost",
    "localhost\n",
]


@pytest.mark.parametrize("host", ALLOWED)
def test_loopback_hosts_are_allowed(host: str) -> None:
    assert is_allowed(host)


@pytest.mark.parametrize("host", REFUSED)
def test_other_hosts_are_refused(host: str) -> None:
    assert not is_allowed(host)


@given(st.text())
def test_any_host_of_another_domain_is_refused_without_an_error(host: str) -> None:
    assert is_allowed(f"{host}.example") is False


def test_refused_host_gets_a_400_that_names_the_setting(backend: Served) -> None:
    site = Site(backend.url)
    for path in ("/", "/login", "/nothing", "/authapp-static/session.js"):
        answer = site.get(path, headers={"Host": "evil.example"}, status=400)
        assert "authapp.development.hosts" in answer.text
        assert answer.content_type == "text/plain"


def test_host_listed_in_development_hosts_is_allowed(backend: Served) -> None:
    site = Site(backend.url, development__hosts="Box.example 192.168.1.20")
    for host in ("box.example:6543", "192.168.1.20"):
        site.get("/login", headers={"Host": host}, status=200)
    site.get("/login", headers={"Host": "evil.example"}, status=400)


def test_request_without_a_host_header_is_allowed(site: Site) -> None:
    del site.extra_environ["HTTP_HOST"]
    site.get("/health", status=200)


def test_development_ini_executes_no_code_from_a_request(tmp_path: Path) -> None:
    """No request to a development site can execute code, because the debug toolbar has no debugger
    and refuses other hosts."""
    served = ServedSite(tmp_path, toolbar=True)
    try:
        page = requests.get(served.url + "/nothing", timeout=10)
        assert page.status_code == 404
        number = re.search("_debug_toolbar/([0-9]+)", page.text)
        assert number, "the page has the debug toolbar"
        toolbar = requests.get(f"{served.url}/_debug_toolbar/{number[1]}", timeout=10)
        assert toolbar.ok
        assert "EVALEX" not in toolbar.text, "tracebacks must not execute code"
        elsewhere = {"Host": "evil.example"}
        for path in ("/nothing", f"/_debug_toolbar/{number[1]}"):
            answer = requests.get(served.url + path, headers=elsewhere, timeout=10)
            assert answer.status_code == 400
    finally:
        served.stop()
