"""The phases of a session, and what tests need to visit a site in each of them."""

import threading
import time
from collections.abc import Callable
from typing import Any

import time_machine
from webob import Response as Answer

from servers import REFRESH, Served
from site_under_test import COOKIE, Site, application_with_view

ACCESS, WINDOW, BUFFER = 900, 604_800, 300
"""The lifetimes of the issuer's tokens, and authapp's default of ``refresh.buffer``, in seconds."""

FRESH, DUE, EXPIRED, ENDED = 10, ACCESS - BUFFER + 1, ACCESS + 1, WINDOW + 1
"""For each phase, a number of seconds after the sign-in."""


def later(seconds: float) -> Any:
    return time_machine.travel(time.time() + seconds)


def page(site: Site, path: str = "/account", **options: Any) -> Any:
    headers = {"Accept": "text/html", **options.pop("headers", {})}
    return site.get(path, headers=headers, **options)


def cleared(answer: Any) -> bool:
    """Return True if a response deletes the session cookie."""
    ours = [each for each in answer.headers.getall("Set-Cookie") if each.startswith(COOKIE)]
    return len(ours) == 1 and ours[0].startswith(f"{COOKIE}=; Max-Age=0")


def blocked(
    backend: Served, answer: Answer | None = None
) -> tuple[threading.Event, threading.Event]:
    """Make the backend block at each renewal.

    :param answer: the response after the blocking. None for the normal response.
    :returns: an event that is set when a renewal arrives, and an event that ends the blocking.
    """
    come, go = threading.Event(), threading.Event()

    def wait(request: Any) -> Answer | None:
        come.set()
        assert go.wait(10)
        return answer

    backend.instead[REFRESH] = wait
    return come, go


def twins_at(backend: Served, view: Callable[..., Any], **more: str) -> tuple[Site, Site]:
    """Return two browsers with the same signed-in session, at an application with one view."""
    site = application_with_view(backend.url, view, **more)
    site.sign_in()
    return site, site.twin()
