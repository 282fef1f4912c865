"""A backend behind TLS: threat B9, and ``authapp.backend.ca``."""

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine
from pyramid.request import Request

from authapp.backend.http_client import BoundedSession
from authapp.backend.http_exchange import fetch_object
from authapp.backend.protocol import BackendUnavailable
from authapp.issuer import main as issuer
from servers import ISSUER_SETTINGS, Served
from servers.tls import ELSEWHERE, HERE, Authority, Secured
from site_under_test import Site, application_with_view

EXPIRED = 901


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_a_private_certificate_authority_is_trusted(authority: Authority) -> None:
    def me(request: Request) -> Any:
        return request.backend.get("/me").json()

    with Secured(issuer({}, **ISSUER_SETTINGS), authority.certify(HERE)) as backend:
        verify = f"jwks:{backend.url}/.well-known/jwks.json"
        ini = {"backend__ca": str(authority.file), "backend__verify": verify}
        site = application_with_view(backend.url, me, **ini)
        site.sign_in(status=303)
        first = site.opened().tokens
        with time_machine.travel(time.time() + EXPIRED):
            assert site.get("/view").json["email"] == "alice@example.com"
        assert site.opened().tokens != first


def test_b4_a_slow_response_has_one_deadline(authority: Authority) -> None:
    """Threat B4. A call of a backend behind TLS has a deadline too, even if bytes keep arriving."""

    def send_slowly(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "400")])
        for _ in range(400):
            yield b" "
            threading.Event().wait(0.05)

    with Secured(send_slowly, authority.certify(HERE)) as backend:
        began = time.monotonic()
        with pytest.raises(BackendUnavailable):
            fetch_object(BoundedSession(0.5, str(authority.file)), backend.url)
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("host", "days", "known", "reason"),
    [
        (HERE, 30, False, "unable to get local issuer certificate"),
        (HERE, -1, True, "certificate has expired"),
        (ELSEWHERE, 30, True, "IP address mismatch"),
    ],
)
def test_b9_a_server_with_an_invalid_certificate_is_rejected(
    authority: Authority,
    backend: Served,
    caplog: pytest.LogCaptureFixture,
    host: Any,
    days: int,
    known: bool,
    reason: str,
) -> None:
    """If the backend's certificate is invalid, a sign-in fails, sessions are kept, and the log says
    why."""
    caplog.set_level(logging.INFO)
    held = Site(backend.url)
    held.sign_in()
    with Secured(backend.application, authority.certify(host, days)) as secured:
        ini = {"backend__ca": str(authority.file)} if known else {}
        Site(secured.url, **ini).sign_in(status=503)
        assert reason in caplog.text
        caplog.clear()
        site = Site(secured.url, **ini)  # a new site, whose breaker is still closed
        site.cookiejar = held.cookiejar
        with time_machine.travel(time.time() + EXPIRED):
            site.get("/account", status=503)
            assert reason in caplog.text
            site.get("/", status=200)
        assert site.opened() == held.opened()
