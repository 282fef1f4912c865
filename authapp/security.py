"""The security policy, and what templates see of a session."""

from typing import Any

from pyramid.authorization import ACLHelper, Authenticated, Everyone
from pyramid.config import Configurator
from pyramid.events import BeforeRender
from pyramid.interfaces import ISecurityPolicy
from pyramid.request import Request
from zope.interface import implementer

from authapp.events import subscribe
from authapp.parts import parts_of
from authapp.session import Identity, Session
from authapp.state import State, cookies_for, write_on_the_way_out


@implementer(ISecurityPolicy)
class SessionSecurityPolicy:
    """Pyramid's security policy on top of the session of the request."""

    def __init__(self) -> None:
        self._acl = ACLHelper()

    def identity(self, request: Request) -> Identity | None:
        """Who is signed in, or None."""
        state: State = request.authapp
        return state.identity

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
        """Sign somebody in: the response will carry this session.

        :param session: whose identity must be ``userid``. authapp has no session without
            tokens, so a user id alone signs nobody in.
        :returns: no headers; the cookie is written on the way out.
        :raises ValueError: without a session of this user.
        :raises SessionTooLarge: when no browser would bring it back.
        """
        if session is None or str(session.identity.id) != userid:
            raise ValueError("remember() needs session=, a session of this very user")
        cookies_for(session, parts_of(request))
        request.authapp.use(session)
        write_on_the_way_out(request, request.authapp)
        return []

    def forget(self, request: Request, **options: Any) -> list[tuple[str, str]]:
        """Sign out of this session, here and for every copy of its cookie.

        :returns: no headers; the cookie is cleared on the way out.
        """
        state: State = request.authapp
        for session in state.sessions:
            parts_of(request).revocation.revoke(session)
        state.end(None)
        write_on_the_way_out(request, state)
        return []


def principals(identity: Identity | None) -> list[str]:
    """The principals of contract section 5, for ACLs."""
    if identity is None:
        return [Everyone]
    return [Everyone, Authenticated, *identity.principals]


def _add_template_variables(event: BeforeRender) -> None:
    """``identity``, ``validity``, ``session_error`` are there in every template."""
    request = event.get("request")
    state: State | None = getattr(request, "authapp", None)  # None where a script renders
    event.setdefault("identity", state and request.identity)
    event.setdefault("validity", state and state.validity)
    event.setdefault("session_error", state and state.error)


def includeme(config: Configurator) -> None:
    """Register the policy and the template variables."""
    config.set_security_policy(SessionSecurityPolicy())
    subscribe(config, _add_template_variables, BeforeRender)
