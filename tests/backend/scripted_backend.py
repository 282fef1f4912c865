"""A backend that sends the response which a test has set for a path, and sites that use it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from webob import Request, Response

from servers import Servers
from site_under_test import Site

LINES = {
    "backend__login": "\nPOST /login\nname = {username}\nword = {password}",
    "backend__refresh": "\nPOST /refresh\nrefresh = {refresh}",
    "backend__logout": "\nDELETE /session\nAuthorization: Bearer {access}",
    "backend__answer__access": "body.access",
    "backend__answer__refresh": "body.refresh",
    "backend__answer__expires_in": "body.expires_in",
    "backend__answer__refresh_expires_in": "body.refresh_expires_in",
    "backend__answer__user": "body.user",
    "backend__answer__reason": "body.reason",
    "backend__login__refused": "body.no == 'wrong'",
    "backend__login__locked": "body.no == 'locked'",
    "backend__login__incomplete": "body.no == 'incomplete'",
    "backend__login__throttled": "body.no == 'slower'",
    "backend__refresh__refused": "body.no == 'spent'",
    "login__rate": "100/minute",
}
GOOD = {"access": "opaque-1", "refresh": "r-1", "expires_in": 60, "user": {"id": 7, "name": "Al"}}


class Backend:
    """A backend that sends the response that the test has set for a path."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"/login": GOOD}

    def __call__(self, environ: Any, start_response: Any) -> Any:
        answer = self.answers.get(environ["PATH_INFO"], Response(status=404))
        if callable(answer) and not isinstance(answer, Response):
            answer = answer(Request(environ))
        if not isinstance(answer, Response):
            answer = Response(json_body=answer)
        return answer(environ, start_response)


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def site(servers: Servers, backend: Backend) -> Iterator[Callable[..., Site]]:
    with servers.serve(backend) as served:
        yield lambda **lines: Site(served.url, **{**LINES, **lines})
