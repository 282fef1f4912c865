"""The security policy: who is signed in, what ACLs permit, signing in and out."""

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
    """Pyramid's security policy, based on the session of the request."""

    def __init__(self) -> None:
        self._acl = ACLHelper()

    def identity(self, request: Request) -> Identity | None:
        """The signed-in user, or None."""
        ours: RequestSession = request.authapp
        return ours.identity

    def authenticated_userid(self, request: Request) -> str | None:
        """The user's id as text, or None."""
        identity = self.identity(request)
        return None if identity is None else str(identity.id)

    def permits(self, request: Request, context: Any, permission: str) -> Any:
        """Whether the ACLs of the context and its parents allow a permission."""
        return self._acl.permits(context, principals(self.identity(request)), permission)

    def remember(
        self, request: Request, userid: str, *, session: Session | None = None, **options: Any
    ) -> list[tuple[str, str]]:
        """Sign in: the response will carry this session.

        :param session: a session of the user ``userid``. authapp has no session without
            tokens, so a user id alone is not enough.
        :returns: no headers; a response callback writes the cookie.
        :raises ValueError: without a session of this user.
        :raises SessionTooLarge: if browsers would not store it.
        """
        if session is None or str(session.identity.id) != userid:
            raise ValueError("remember() needs session=, a session of this very user")
        cookies_for(session, services_of(request))
        request.authapp.use(session)
        write_to_response(request, request.authapp)
        return []

    def forget(self, request: Request, **options: Any) -> list[tuple[str, str]]:
        """Sign out of this session, in this browser and for every copy of its cookie.

        :returns: no headers; a response callback clears the cookie.
        """
        ours: RequestSession = request.authapp
        for session in ours.sessions:
            services_of(request).revocation.revoke(session)
        ours.end(None)
        write_to_response(request, ours)
        return []


def principals(identity: Identity | None) -> list[str]:
    """The principals of contract section 5, for ACLs."""
    if identity is None:
        return [Everyone]
    return [Everyone, Authenticated, *identity.principals]


def includeme(config: Configurator) -> None:
    """Set the policy."""
    config.set_security_policy(SessionSecurityPolicy())
