"""Pyramid's security policy: tells who is signed in, checks permissions, signs users in and out."""

from collections.abc import Collection, Mapping
from typing import Any

from pyramid.authorization import ACLHelper, Authenticated, Everyone
from pyramid.config import Configurator
from pyramid.events import ApplicationCreated
from pyramid.interfaces import ISecurityPolicy
from pyramid.registry import Registry
from pyramid.request import Request
from zope.interface import implementer

from authapp.request_log import request_log
from authapp.services import services_of
from authapp.session.session import Identity, Session
from authapp.web import host_session
from authapp.web.cookie_writer import cookies_for, write_to_response
from authapp.web.request_session import RequestSession

log = request_log(__name__)

_DEPTH = 3
"""How many levels of attributes :func:`check_policy` searches for authapp's policy."""


@implementer(ISecurityPolicy)
class SessionSecurityPolicy:
    """The security policy for Pyramid, based on the session of the request.

    An application can write its own policy, which calls an object of this class.
    """

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
        """Decide whether the signed-in user has a permission.

        The ACLs of the context and its parents decide.

        :returns: an ``ACLAllowed`` (true) or ``ACLDenied`` (false) of :mod:`pyramid.authorization`.
        """
        return self._acl.permits(context, principals(self.identity(request)), permission)

    def remember(
        self, request: Request, userid: str, *, session: Session | None = None, **options: Any
    ) -> list[tuple[str, str]]:
        """Sign a user in with a session.

        :param userid: the id of the user.
        :param session: a session of this user. It is required, because a session needs tokens.
        :param options: not used.
        :returns: an empty list of headers, because a response callback writes the cookie.
        :raises ValueError: if ``session`` is missing or belongs to another user.
        :raises SessionTooLarge: if the session does not fit into cookies.
        """
        if session is None or str(session.identity.id) != userid:
            raise ValueError("remember() needs session=, a session of the user userid")
        cookies_for(session, services_of(request))
        host_session.pass_to(request, session.identity)
        request.authapp.use(session)
        write_to_response(request, request.authapp)
        return []

    def forget(self, request: Request, **options: Any) -> list[tuple[str, str]]:
        """Sign the user out: revoke the sessions of the request, and clear the session cookies.

        Copies of these cookies do not sign anybody in any more. This method also invalidates the
        application's own ``request.session``: see :mod:`authapp.web.host_session`.

        :param options: not used.
        :returns: an empty list of headers, because a response callback clears the cookies.
        """
        ours: RequestSession = request.authapp
        for session in ours.sessions:
            services_of(request).revocation.revoke(session)
        host_session.end(request)
        ours.end(None)
        write_to_response(request, ours)
        return []


def principals(identity: Identity | None) -> list[str]:
    """Return the principals of a user, which ACLs name (contract section 5).

    :param identity: the user. None if no user is signed in.
    """
    if identity is None:
        return [Everyone]
    return [Everyone, Authenticated, *identity.principals]


def policy_replaced(registry: Registry) -> str:
    """Return the warning that the application's security policy does not call authapp's policy."""
    policy = type(registry.queryUtility(ISecurityPolicy))
    ours = SessionSecurityPolicy
    return (
        f"{policy.__module__}.{policy.__qualname__} replaces"
        f" {ours.__module__}.{ours.__qualname__}, so nobody can sign in at the pages of authapp;"
        " remove set_security_policy, or let that policy call authapp.SessionSecurityPolicy"
    )


def check_policy(event: ApplicationCreated) -> None:
    """Log a warning at start-up if the application's security policy cannot call authapp's policy.

    It can if it is or contains a :class:`SessionSecurityPolicy`.
    """
    registry = event.app.registry
    if not _contains_ours(registry.queryUtility(ISecurityPolicy), _DEPTH):
        log.warning("SecurityPolicy: %s", policy_replaced(registry))


def _contains_ours(value: object, depth: int) -> bool:
    """Return True if an object is authapp's policy, or contains it in an attribute or an element.

    :param depth: how many levels of attributes and elements to search.
    """
    if isinstance(value, SessionSecurityPolicy):
        return True
    if isinstance(value, Mapping):
        parts: Collection[object] = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        parts = value
    else:
        parts = getattr(value, "__dict__", {}).values()
    return depth > 0 and any(_contains_ours(each, depth - 1) for each in parts)


def includeme(config: Configurator) -> None:
    """Set the security policy."""
    config.set_security_policy(SessionSecurityPolicy())
    config.add_subscriber(check_policy, ApplicationCreated)
