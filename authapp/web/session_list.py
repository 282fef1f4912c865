"""Lists the sessions of the signed-in user, and ends them."""

from typing import Any

from pyramid.request import Request

from authapp.renewal.session_index import ListedSession
from authapp.services import services_of
from authapp.web.device_names import device_name
from authapp.web.events import SessionRevoked, notify
from authapp.web.idle_activity import record_in_index
from authapp.web.views.sign_out import sign_out


def describe_sessions(request: Request) -> list[dict[str, Any]]:
    """Return the sessions of the signed-in user as JSON objects.

    The session of this browser comes first. After it, the sessions are sorted by the time of the
    last use, the latest first. Times are in epoch seconds.
    """
    mine = request.authapp.session
    record_in_index(request, mine)  # the store may have lost this entry
    listed = services_of(request).index.of(mine.identity.id)
    found = [_describe(request, each, mine.sid) for each in listed]
    return sorted(found, key=lambda each: not each["current"])


def _describe(request: Request, listed: ListedSession, sid: str) -> dict[str, Any]:
    return {
        "id": listed.id,
        "device": device_name(request, listed.agent),
        "address": listed.address,
        # Show no sign-in time in the future. After a sign-out everywhere, authapp may record such a
        # time for the next sign-in: see Revocation.next_start.
        "signed_in_at": min(int(listed.signed_in), listed.last_seen),
        "last_seen_at": listed.last_seen,
        "current": listed.session.sid == sid,
    }


def end_session(request: Request, session_id: str) -> list[tuple[str, str]] | None:
    """End one session of the signed-in user.

    If it is the session of this browser, this function signs the user out.

    :param session_id: an id from :func:`describe_sessions`. A client can send any string.
    :returns: headers that the response must have. None if the user has no session with this id.
    """
    mine = request.authapp.session
    if session_id == mine.digest:
        return sign_out(request)
    ended = services_of(request).index.end(mine.identity.id, session_id)
    if ended is None:
        return None
    notify(SessionRevoked(request, ended.session))
    return []


def end_others(request: Request) -> None:
    """End all sessions of the signed-in user except the session of this browser."""
    for ended in services_of(request).index.end_others(request.authapp.session):
        notify(SessionRevoked(request, ended.session))
