"""Which requests are the person's own, and how a session records them (contract section 10).

The cookie records the last request of the person, at most once in a tenth of ``session.idle``. The
index of sessions (:mod:`authapp.renewal.session_index`) records it at most once a minute.
"""

import time
from dataclasses import replace

from pyramid.request import Request

from authapp.renewal.revocation import CLOCKS_DIFFER
from authapp.services import Services, services_of
from authapp.session.session import Session
from authapp.web.request_session import RequestSession

BACKGROUND = "X-Authapp-Background"
"""The request header with which a script says that its request was not caused by the person."""


def is_by_person(request: Request) -> bool:
    """Return True if a request is the person's own.

    Two kinds of requests are not: those that a script marks with :data:`BACKGROUND`, and prefetches
    (``Sec-Purpose``, Fetch standard section 3.6).
    """
    purpose = request.headers.get("Sec-Purpose", "")
    return "prefetch" not in purpose and request.headers.get(BACKGROUND) != "1"


def must_record(ours: RequestSession, services: Services) -> bool:
    """Return True if the cookie must be written to record the request.

    While another request renews the session, the cookie is not written. It has the old tokens, and
    could replace the cookie of the renewed session in the browser.
    """
    if ours.session is None or not ours.by_person or ours.renewed_elsewhere:
        return False
    return services.settings.session_limits.must_record(ours.session, time.time())


def last_used(ours: RequestSession, session: Session, services: Services) -> int:
    """Return the last request of the person as the response's cookie will record it.

    :param session: the current session of ``ours``.
    :returns: epoch seconds.
    """
    known = [each.last_used for each in (session, *ours.held) if each.sid == session.sid]
    if ours.by_person and (session is not ours.opened or must_record(ours, services)):
        now = int(time.time())
        # A later time is of a machine whose clock was wrong, and would keep the session for long.
        known = [now, *(each for each in known if each <= now + CLOCKS_DIFFER)]
    return max(known)


def record_in_index(request: Request, session: Session) -> None:
    """Write the entry of a session in the index of sessions, with this request if it counts."""
    if request.authapp.by_person:
        session = replace(session, used_at=int(time.time()))
    agent, address = request.headers.get("User-Agent", ""), request.remote_addr or ""
    services_of(request).index.record(session, agent, address)


def record_unwritten(request: Request, ours: RequestSession) -> None:
    """Record a request of the person in the index, if the response writes no cookie."""
    if ours.session is None or not ours.by_person:
        return
    if services_of(request).index.is_due(ours.session):
        record_in_index(request, ours.session)
