"""Keeps the application's own Pyramid session, ``request.session``, from passing to another user.

An application may store a cart or a search in ``request.session``. authapp invalidates
``request.session`` in three cases:

- a user signs out in this browser;
- the browser sends a session that was signed out elsewhere, such as in another browser;
- a user signs in, and the last user who signed in in this browser was another user.

With ``authapp.host_session = keep``, authapp never invalidates ``request.session``.
"""

import hmac
from collections.abc import Callable

from pyramid.interfaces import ISessionFactory
from pyramid.request import Request

from authapp.request_log import request_log
from authapp.services import services_of
from authapp.session.encryption import derive
from authapp.session.error_codes import ErrorCode
from authapp.session.session import Identity, Session

log = request_log(__name__)

MARK = "authapp.user"
"""Under this key, ``request.session`` contains a digest of the id of the last user who signed in
(the mark)."""


def pass_to(request: Request, identity: Identity) -> None:
    """Invalidate ``request.session`` if it belongs to another user. Then mark it as this user's.

    :param identity: the user who signs in. The mark is a digest of this user's id.
    """

    def use() -> None:
        marks = _marks(request, identity)
        mark = request.session.get(MARK)
        opened = request.authapp.opened
        if mark is None and opened is not None:  # signed in before authapp wrote marks
            is_other = opened.identity.id != identity.id
        else:
            is_other = mark is not None and mark not in marks
        if is_other:
            request.session.invalidate()
        if is_other or mark != marks[0]:
            request.session[MARK] = marks[0]

    _if_wanted(request, use)


def end(request: Request) -> None:
    """Invalidate ``request.session``, because the user was signed out."""
    _if_wanted(request, lambda: request.session.invalidate())


def end_if_revoked(request: Request, session: Session) -> None:
    """Invalidate ``request.session`` if the user's session was signed out elsewhere.

    If a sign-out or a new sign-in in this browser ended the session, this function does nothing.
    This request may be a late one, and ``request.session`` may have data of the next visitor.

    :param session: the session that the request had.
    """
    if request.authapp.error is not ErrorCode.SESSION_REVOKED:
        return
    if services_of(request).revocation.ended_elsewhere(session):
        end(request)


def _if_wanted(request: Request, use: Callable[[], None]) -> None:
    """Call a function that uses ``request.session``.

    If the setting is ``keep``, or the application has no session factory, the function is not
    called. If the function raises an exception, it is logged, and the request continues.
    """
    if services_of(request).settings.host_session == "keep":
        return
    if request.registry.queryUtility(ISessionFactory) is None:
        return
    try:
        use()
    except Exception:
        log.exception("HostSession: request.session could not be invalidated")


def _marks(request: Request, identity: Identity) -> list[str]:
    """Return the digests of a user's id, one for each secret. The first is the mark to write."""
    user = f"{type(identity.id).__name__} {identity.id}".encode(errors="replace")
    keys = [derive(each, "authapp user", 32) for each in services_of(request).settings.secrets]
    return [hmac.digest(key, user, "sha256").hex()[:32] for key in keys]
