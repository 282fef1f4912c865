"""The security policy: the signed-in user, permissions by ACL, sign-in and sign-out."""

from typing import Any

from pyramid.authorization import ACLHelper, Authenticated, Everyone
from pyramid.config import Configurator
from pyramid.interfaces import ISecurityPolicy
from pyramid.request import Request
from zope.interface import implementer

from authapp.services import services_of
from authapp.session.session import Identity, Session
from authapp.web.cookie_writer import cookies_for, write_to_response
from authapp.web.request_session import RequestSession


@implementer(ISecurityPolicy)
class SessionSecurityPolicy:
    """The security policy for Pyramid, based on the session of the request."""

    def __init__(self) -> None:
        self._acl = ACLHelper()

    def identity(self, request: Request) -> Identity | None:
        """Return the signed-in user, or None."""
        ours: RequestSession = request.authapp
        return ours.identity

    def authenticated_userid(self, request: Request) -> str | None:
        """Return the id of the signed-in user as a string, or None."""
        identity = self.identity(request)
        return None if identity is None else str(identity.id)

    def permits(self, request: Request, context: Any, permission: str) -> Any:
        """Decide whether the ACLs of a context and its parents grant a permission to the user.

        :returns: ``ACLAllowed`` or ``ACLDenied`` of :mod:`pyramid.authorization`.
        """
        return self._acl.permits(context, principals(self.identity(request)), permission)

    def remember(
        self, request: Request, userid: str, *, session: Session | None = None, **options: Any
    ) -> list[tuple[str, str]]:
        """Sign a user in with a session, and write the session's cookie to the response.

        :param userid: the id of the user.
        :param session: a session of this user. It is required, because a user id without tokens is
            not enough to sign a user in.
        :param options: not used.
        :returns: an empty list, because a response callback writes the cookie.
        :raises ValueError: if ``session`` is missing or belongs to another user.
        :raises SessionTooLarge: if the session does not fit into cookies.
        """
        if session is None or str(session.identity.id) != userid:
            raise ValueError("remember() needs session=, a session of the user userid")
        cookies_for(session, services_of(request))
        request.authapp.use(session)
        write_to_response(request, request.authapp)
        return []

    def forget(self, request: Request, **options: Any) -> list[tuple[str, str]]:
        """Sign out: revoke the sessions of the request, and clear the session cookies.

        Every copy of these cookies becomes invalid.

        :param options: not used.
        :returns: an empty list, because a response callback clears the cookies.
        """
        ours: RequestSession = request.authapp
        for session in ours.sessions:
            services_of(request).revocation.revoke(session)
        ours.end(None)
        write_to_response(request, ours)
        return []


def principals(identity: Identity | None) -> list[str]:
    """Return the principals of a user for ACLs (contract section 5).

    :param identity: the user, or None if no user is signed in.
    """
    if identity is None:
        return [Everyone]
    return [Everyone, Authenticated, *identity.principals]


def includeme(config: Configurator) -> None:
    """Set the security policy."""
    config.set_security_policy(SessionSecurityPolicy())
