"""The application's own Pyramid session, ``request.session``: it must not pass to another user.

An application may keep a cart or a search in ``request.session``. This session is invalidated at
a sign-out, and at a sign-in as another user than the last one. A visitor's session is kept when
that visitor signs in. The setting ``authapp.host_session = keep`` turns this off.
"""

import hmac
from collections.abc import Callable

from pyramid.interfaces import ISessionFactory
from pyramid.request import Request

from authapp.request_log import request_log
from authapp.services import services_of
from authapp.session.encryption import derive
from authapp.session.session import Identity

log = request_log(__name__)

MARK = "authapp.user"
"""The key in ``request.session`` for the user who has signed in last, as a keyed digest."""


def pass_to(request: Request, identity: Identity) -> None:
    """Invalidate the application's session if it belongs to another user, and mark it.

    :param identity: the user who signs in.
    """

    def use() -> None:
        marks = _marks(request, identity)
        mark = request.session.get(MARK)
        opened = request.authapp.opened
        if mark is None and opened is not None:  # a session from before this setting
            is_other = opened.identity.id != identity.id
        else:
            is_other = mark is not None and mark not in marks
        if is_other:
            request.session.invalidate()
        if is_other or mark != marks[0]:
            request.session[MARK] = marks[0]

    _if_wanted(request, use)


def end(request: Request) -> None:
    """Invalidate the application's session, because the user signs out."""
    _if_wanted(request, lambda: request.session.invalidate())


def _if_wanted(request: Request, use: Callable[[], None]) -> None:
    """Use the application's session, if there is one. A failure does not stop the request."""
    if services_of(request).settings.host_session == "keep":
        return
    if request.registry.queryUtility(ISessionFactory) is None:
        return
    try:
        use()
    except Exception:
        log.exception("HostSession: request.session could not be invalidated")


def _marks(request: Request, identity: Identity) -> list[str]:
    """Return the digests of a user, one for each secret."""
    user = f"{type(identity.id).__name__} {identity.id}".encode(errors="replace")
    keys = [derive(each, "authapp user", 32) for each in services_of(request).settings.secrets]
    return [hmac.digest(key, user, "sha256").hex()[:32] for key in keys]
