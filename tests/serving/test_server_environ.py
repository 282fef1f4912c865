"""What the server tells the application: the host, dropped headers, and whether the client left."""

import threading
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path
from typing import Any

from eventually import eventually
from serving.server_in_process import connections, get, no_content, until_stopped


def test_a6_with_production_ini_clients_cannot_set_the_host() -> None:
    """Threat A6. nginx passes on headers that it does not set, such as X-Forwarded-Host. With
    production.ini, these headers do not change the host."""
    ini = ConfigParser()
    ini.read(Path(__file__).parents[2] / "production.ini")
    options = {key: value for key, value in ini["server:main"].items() if key != "use"}

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        names = ("wsgi.url_scheme", "HTTP_HOST", "REMOTE_ADDR")
        return [" ".join(environ[name] for name in names).encode()]

    def client(url: str) -> str:
        said = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
        spoofed = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
        return get(url, headers={"Host": "www.example.com", **said, **spoofed}).text

    assert until_stopped(client, app, **options) == ["https www.example.com 192.0.2.1"]


def test_the_application_learns_which_headers_with_underscores_were_dropped() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [])
        seen = sorted(environ["authapp.underscored"]), environ.get("HTTP_X_USER")
        return [repr(seen).encode()]

    headers = {"X_User": "evil", "x-a_b": "evil", "X-User": "good", "Cookie": "a_b=1"}
    names = until_stopped(lambda url: (get(url, headers=headers).text, get(url).text), app)
    assert names == [("(['HTTP_X_A_B', 'HTTP_X_USER'], 'good')", "([], None)")]


def test_the_application_learns_that_the_client_has_gone() -> None:
    noticed: list[bool] = []
    began, ended = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        is_gone = environ["waitress.client_disconnected"]
        if environ["PATH_INFO"] == "/":
            return no_content(environ, start_response)
        noticed.append(is_gone())
        began.set()
        eventually(is_gone)
        noticed.append(is_gone())
        ended.set()
        return no_content(environ, start_response)

    def client(url: str) -> None:
        get(url)
        with connections(url, b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            assert began.wait(10)
        assert ended.wait(10)

    until_stopped(client, app)
    assert noticed == [False, True]
