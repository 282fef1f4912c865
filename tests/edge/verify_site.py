"""Sites with ``/verify``, what a proxy sends there, and the identity in the responses."""

from webtest import TestResponse

from servers import Served
from site_under_test import Site

NAMES = ("User", "Email", "Preferred-Username", "Groups", "Access-Token")
EMPTY = dict.fromkeys(NAMES, "")
HOST = "app.example.com"
AT_HOST = {"X-Original-URL": f"https://{HOST}/reports?page=2&all=1"}
CADDY = {
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": HOST,
    "X-Forwarded-Uri": "/reports?page=2&all=1",
}


def site_of(backend: Served, **keys: str) -> Site:
    return Site(backend.url, **{"verify": "true", **keys})


def identity(answer: TestResponse) -> dict[str, str]:
    """Return the headers of a response that name the user. Every response must have all of them."""
    return {name: answer.headers[f"X-Auth-Request-{name}"] for name in NAMES}
