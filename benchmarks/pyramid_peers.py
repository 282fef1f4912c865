"""What authapp is compared with: other packages that keep users signed in to Pyramid applications,
and tweens, routes and other parts that do nothing (:func:`idle`)."""

import hashlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from pyramid.authentication import AuthTktCookieHelper, SessionAuthenticationHelper
from pyramid.authorization import ACLAuthorizationPolicy, ACLHelper, Authenticated, Everyone
from pyramid.config import Configurator
from pyramid.events import BeforeRender
from pyramid.interfaces import ISecurityPolicy
from pyramid.request import Request, RequestLocalCache
from pyramid.session import JSONSerializer, SignedCookieSessionFactory, SignedSerializer
from zope.interface import implementer

from authapp.session.session import Session
from benchmarks.pyramid_pages import TEMPLATES, Include
from benchmarks.samples import SECRET, claims_of

NACL_KEY = hashlib.sha256(SECRET.encode()).digest()


class Peer(NamedTuple):
    """A package, or a part of Pyramid, that keeps users signed in.

    :ivar include: a function that adds it to an application.
    :ivar environ: the keys that a signed-in user's request adds to the WSGI environ.
    """

    include: Include
    environ: dict[str, str]


@implementer(ISecurityPolicy)
class Policy:
    """A security policy as in Pyramid's tutorial.

    :param userid: a function that reads the user's id with a helper of Pyramid.
    """

    def __init__(self, userid: Callable[[Request], str | None]) -> None:
        self._cache = RequestLocalCache(userid)
        self._acl = ACLHelper()

    def authenticated_userid(self, request: Request) -> str | None:
        userid: str | None = self._cache.get_or_create(request)
        return userid

    identity = authenticated_userid

    def permits(self, request: Request, context: Any, permission: str) -> Any:
        userid = self.authenticated_userid(request)
        principals = [Everyone] if userid is None else [Everyone, Authenticated, userid]
        return self._acl.permits(context, principals, permission)


def auth_tkt(config: Configurator) -> None:
    helper = AuthTktCookieHelper(SECRET, hashalg="sha512")

    def userid(request: Request) -> str | None:
        found = helper.identify(request)
        return None if found is None else found["userid"]

    config.set_security_policy(Policy(userid))


def session_policy(config: Configurator, factory: Any) -> None:
    config.set_session_factory(factory)
    config.set_security_policy(Policy(SessionAuthenticationHelper().authenticated_userid))


def signed_cookie_session(config: Configurator) -> None:
    session_policy(config, SignedCookieSessionFactory(SECRET))


def kept_cookie_session(config: Configurator) -> None:
    """Use Pyramid's signed cookie session, but do not write a new cookie in every request.

    By default, Pyramid writes one in every request.
    """
    session_policy(config, SignedCookieSessionFactory(SECRET, reissue_time=None))


def encrypted_session(config: Configurator) -> None:
    from pyramid_nacl_session import EncryptedCookieSessionFactory

    session_policy(config, EncryptedCookieSessionFactory(NACL_KEY, serializer=JSONSerializer()))


def kept_encrypted_session(config: Configurator) -> None:
    """Use an encrypted cookie session, but do not write a new cookie in every request."""
    from pyramid_nacl_session import EncryptedCookieSessionFactory

    factory = EncryptedCookieSessionFactory(
        NACL_KEY, serializer=JSONSerializer(), reissue_time=None
    )
    session_policy(config, factory)


def pyramid_jwt(config: Configurator) -> None:
    config.set_authorization_policy(ACLAuthorizationPolicy())
    config.include("pyramid_jwt")
    config.set_jwt_authentication_policy(SECRET, algorithm="HS256", auth_type="Bearer")


def peers(session: Session) -> dict[str, Peer]:
    """Return name -> peer. Each peer stores as much of the session as it can."""
    from pyramid_nacl_session.serializer import EncryptedSerializer

    now, claims = int(time.time()), claims_of(session)
    ticket = AuthTktCookieHelper(SECRET, hashalg="sha512").remember(Request.blank("/"), "1")
    signed = SignedSerializer(SECRET, "pyramid.session.", "sha512", serializer=JSONSerializer())
    nacl = EncryptedSerializer(NACL_KEY, JSONSerializer())

    def cookie(serializer: Any, values: dict[str, object]) -> dict[str, str]:
        text = serializer.dumps((now, now, {**values, "auth.userid": "1"})).decode()
        return {"HTTP_COOKIE": f"session={text}"}

    return {
        "AuthTkt policy, an id alone": Peer(
            auth_tkt, {"HTTP_COOKIE": ticket[0][1].partition(";")[0]}
        ),
        "SignedCookieSession policy": Peer(signed_cookie_session, cookie(signed, claims)),
        "SignedCookieSession policy, an id alone, never renewed": Peer(
            kept_cookie_session, cookie(signed, {})
        ),
        "pyramid_nacl_session (encrypted)": Peer(encrypted_session, cookie(nacl, claims)),
        "pyramid_nacl_session (encrypted), never renewed": Peer(
            kept_encrypted_session, cookie(nacl, claims)
        ),
        "pyramid_jwt": Peer(pyramid_jwt, {"HTTP_AUTHORIZATION": f"Bearer {session.tokens.access}"}),
    }


class Somebody(Policy):
    """A security policy that takes the least time: every visitor is user 1."""

    def __init__(self) -> None:
        self._acl = ACLHelper()

    def authenticated_userid(self, request: Request) -> str:
        return "1"

    identity = authenticated_userid


class Nobody(Somebody):
    """A security policy that takes the least time: no visitor is signed in."""

    def authenticated_userid(self, request: Request) -> None:  # type: ignore[override]
        return None

    identity = authenticated_userid


def same_tween(handler: Any, registry: Any) -> Any:
    return lambda request: handler(request)


outer = middle = inner = same_tween


def nothing(request: Request) -> None:
    return None


def idle(config: Configurator, policy: Callable[[], Any] = Somebody) -> None:
    """Register as many tweens, routes and other parts as authapp does. None of them does anything.

    :param policy: a function that returns the security policy.
    """
    config.set_security_policy(policy())
    config.set_default_csrf_options(require_csrf=True)
    config.add_subscriber(lambda event: None, BeforeRender)
    for name in ("first", "second", "third", "fourth"):
        config.add_request_method(nothing, name, reify=True)
    for name in ("login", "logout", "session", "account", "health"):
        config.add_route(name, f"/{name}")
    config.add_static_view("own-static", str(TEMPLATES))
    for name in ("outer", "middle", "inner"):
        config.add_tween(f"{__name__}.{name}")
