"""Decides which requests count as a use of the session, and records the time of the last use.

See contract section 10. If a script sends a request without an action of the user, the request does
not count. The time of the last use is recorded in two places:

- in the cookie, at most once in a tenth of ``session.idle``;
- in the index of sessions (:mod:`authapp.renewal.session_index`), at most once a minute.
"""

import time
from dataclasses import replace

from pyramid.request import Request

from authapp.renewal.revocation import CLOCKS_DIFFER
from authapp.renewal.session_index import ListedSession
from authapp.services import Services, services_of
from authapp.session.session import Session
from authapp.web.client_address import client_address
from authapp.web.request_session import RequestSession

BACKGROUND = "X-Authapp-Background"
"""A script sends this header with the value ``1`` if the user has not caused the request."""

_PURPOSES = ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_PURPOSE", "HTTP_X_MOZ")

_BACKGROUND = "HTTP_" + BACKGROUND.upper().replace("-", "_")


def is_by_person(request: Request) -> bool:
    """Return True if a request counts as a use of the session by the user.

    Two kinds of requests do not count: requests with the header :data:`BACKGROUND`, and prefetches
    of the browser.
    """
    return request.environ.get(_BACKGROUND) != "1" and not is_prefetch(request)


def is_prefetch(request: Request) -> bool:
    """Return True if the browser sends a request before the user opens the page.

    Browsers send ``Sec-Purpose`` (Fetch standard section 3.6). Safari and older browsers send
    another header of :data:`_PURPOSES`.
    """
    environ = request.environ  # request.headers raises and catches KeyError for a missing header
    return any("prefetch" in environ[name].lower() for name in _PURPOSES if name in environ)


def must_record(ours: RequestSession, services: Services) -> bool:
    """Return True if the response must write the cookie to record that the user was active.

    If another request is renewing the session, the result is False. The cookie would have the old
    tokens, and could replace the cookie of the renewed session in the browser.
    """
    if ours.session is None or not ours.by_person or ours.renewed_elsewhere:
        return False
    return services.settings.session_limits.must_record(ours.session, time.time())


def last_used(ours: RequestSession, session: Session, services: Services) -> int:
    """Return the time of the user's last use of the session, for the cookie of the response.

    :param ours: the session of the request, ``request.authapp``.
    :param session: the current session of ``ours``.
    :returns: epoch seconds.
    """
    known = [each.last_used for each in (session, *ours.held) if each.sid == session.sid]
    if ours.by_person and (session is not ours.opened or must_record(ours, services)):
        now = int(time.time())
        # Ignore a time in the future. It comes from a machine whose clock was wrong, and would keep
        # the session from becoming idle.
        known = [now, *(each for each in known if each <= now + CLOCKS_DIFFER)]
    return max(known)


def record_in_index(request: Request, session: Session, entry: ListedSession | None = None) -> None:
    """Write the entry of a session in the index of sessions.

    If this request counts as a use of the session, the entry gets the present time as the time of
    the last use. If not, the entry gets the later of two times: of ``session`` and the old entry.

    :param entry: the entry that the index has. None: there is no entry, or it was not read.
    """
    if request.authapp.by_person:
        session = replace(session, used_at=int(time.time()))
    agent, address = request.headers.get("User-Agent", ""), client_address(request)
    services_of(request).index.record(session, agent, address, entry)


def record_unwritten(request: Request, ours: RequestSession, services: Services) -> None:
    """Record a use of the session in the index only, because the response writes no cookie."""
    if ours.session is None or not ours.by_person:
        return
    if services.index.is_due(ours.session):
        record_in_index(request, ours.session)
