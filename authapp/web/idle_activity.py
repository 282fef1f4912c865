"""Which requests count as requests of the user, and how a session records them.

See contract section 10. A request that a script has sent by itself does not count. The cookie
records the time of the user's last request, at most once in a tenth of ``session.idle``. The index
of sessions (:mod:`authapp.renewal.session_index`) records it at most once a minute.
"""

import time
from dataclasses import replace

from pyramid.request import Request

from authapp.renewal.revocation import CLOCKS_DIFFER
from authapp.renewal.session_index import Found
from authapp.services import Services, services_of
from authapp.session.session import Session
from authapp.web.request_session import RequestSession

BACKGROUND = "X-Authapp-Background"
"""The request header with which a script says that the user has not caused its request."""

_BACKGROUND = "HTTP_" + BACKGROUND.upper().replace("-", "_")


def is_by_person(request: Request) -> bool:
    """Return True if a request counts as a request of the user.

    Two kinds of requests do not count: requests with the header :data:`BACKGROUND`, and prefetches
    (``Sec-Purpose``, Fetch standard section 3.6).
    """
    environ = request.environ  # request.headers raises and catches KeyError for a missing header
    return "prefetch" not in environ.get("HTTP_SEC_PURPOSE", "") and environ.get(_BACKGROUND) != "1"


def must_record(ours: RequestSession, services: Services) -> bool:
    """Return True if the response must write the cookie to record the request.

    While another request renews the session, the response must not write the cookie. It would have
    the old tokens, and could replace the cookie of the renewed session in the browser.
    """
    if ours.session is None or not ours.by_person or ours.renewed_elsewhere:
        return False
    return services.settings.session_limits.must_record(ours.session, time.time())


def last_used(ours: RequestSession, session: Session, services: Services) -> int:
    """Return the time of the user's last request, for the cookie of the response.

    :param session: the current session of ``ours``.
    :returns: epoch seconds.
    """
    known = [each.last_used for each in (session, *ours.held) if each.sid == session.sid]
    if ours.by_person and (session is not ours.opened or must_record(ours, services)):
        now = int(time.time())
        # A later time comes from a machine whose clock was wrong. It would keep the session alive.
        known = [now, *(each for each in known if each <= now + CLOCKS_DIFFER)]
    return max(known)


def record_in_index(request: Request, session: Session, found: Found | None = None) -> None:
    """Write the entry of a session in the index of sessions.

    If this request counts as a request of the user, the entry has the present time.

    :param found: the entry that the index has, if it was just read.
    """
    if request.authapp.by_person:
        session = replace(session, used_at=int(time.time()))
    agent, address = request.headers.get("User-Agent", ""), request.remote_addr or ""
    services_of(request).index.record(session, agent, address, found)


def record_unwritten(request: Request, ours: RequestSession, services: Services) -> None:
    """Record a request of the user in the index. Call this if the response writes no cookie."""
    if ours.session is None or not ours.by_person:
        return
    if services.index.is_due(ours.session):
        record_in_index(request, ours.session)
