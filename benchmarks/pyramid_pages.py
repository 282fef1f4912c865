"""The page of the benchmarks in Pyramid: without sign-in, with authapp, with its peers."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyramid.authentication import AuthTktCookieHelper, SessionAuthenticationHelper
from pyramid.authorization import (
    ACLAuthorizationPolicy,
    ACLHelper,
    Allow,
    Authenticated,
    Everyone,
)
from pyramid.config import Configurator
from pyramid.events import BeforeRender
from pyramid.interfaces import ISecurityPolicy
from pyramid.request import Request, RequestLocalCache
from pyramid.session import SignedCookieSessionFactory
from zope.interface import implementer

from benchmarks.samples import SECRET

TEMPLATES = Path(__file__).parent / "templates"
VALUES = {"title": "Orders", "orders": [("bread", 1), ("butter", 2), ("milk", 3), ("tea", 4)]}

Include = Callable[[Configurator], None]


class Root:
    """The root resource. Only signed-in users may view the page."""

    __acl__ = ((Allow, Authenticated, "read"),)

    def __init__(self, request: Request) -> None:
        pass


def page(request: Request) -> dict[str, Any]:
    return {**VALUES, "name": request.authenticated_userid or "nobody"}


BY_NAME, BY_SPECIFICATION = "page.jinja2", "benchmarks:templates/page.jinja2"
"""With a bare name, pyramid_jinja2 searches for the template with every request."""


def pyramid_page(
    include: Include = lambda config: None, renderer: str = BY_NAME, **settings: str
) -> Any:
    """Return an application with this one page, and with what ``include`` adds."""
    with Configurator(settings=settings, root_factory=Root) as config:
        config.include("pyramid_jinja2")
        config.add_jinja2_search_path(str(TEMPLATES))
        include(config)
        config.add_route("page", "/page")
        config.add_view(page, route_name="page", permission="read", renderer=renderer)
        return config.make_wsgi_app()


def wsgi(app: Any, path: str = "/page", cookie: str = "", authorization: str = "") -> Any:
    """A function that visits a page and returns its body."""
    environ = Request.blank(path, base_url="http://localhost").environ
    if cookie:
        environ["HTTP_COOKIE"] = cookie
    if authorization:
        environ["HTTP_AUTHORIZATION"] = authorization
    statuses = []

    def start_response(status: str, headers: Any, error: Any = None) -> Any:
        statuses[:] = [status]

    def visit() -> bytes:
        answer = app({**environ, "wsgi.input": io.BytesIO()}, start_response)
        body = b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()
        return body

    body = visit()
    expected = b"Hello 1" if cookie or authorization else b"Hello nobody"
    assert statuses == ["200 OK"], (statuses, body)
    assert expected in body, body
    return visit


@implementer(ISecurityPolicy)
class Policy:
    """A security policy around one of Pyramid's helpers, as in Pyramid's tutorial."""

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
    config.set_security_policy(Policy(lambda request: (helper.identify(request) or {})["userid"]))


def signed_cookie_session(config: Configurator) -> None:
    config.set_session_factory(SignedCookieSessionFactory(SECRET))
    config.set_security_policy(Policy(SessionAuthenticationHelper().authenticated_userid))


def kept_cookie_session(config: Configurator) -> None:
    """Turn off the default, by which every request signs and sets a new cookie."""
    config.set_session_factory(SignedCookieSessionFactory(SECRET, reissue_time=None))
    config.set_security_policy(Policy(SessionAuthenticationHelper().authenticated_userid))


class Somebody(Policy):
    """A security policy that costs the least: the user is fixed."""

    def __init__(self) -> None:
        self._acl = ACLHelper()

    def authenticated_userid(self, request: Request) -> str:
        return "1"

    identity = authenticated_userid


class Nobody:
    """A request method that does nothing. Pyramid adds it to every request."""

    def __get__(self, request: Any, request_class: type) -> None:
        pass


def same_tween(handler: Any, registry: Any) -> Any:
    return lambda request: handler(request)


outer = inner = same_tween


def idle(config: Configurator) -> None:
    """Register with Pyramid as much as authapp does, in parts that do nothing."""
    config.set_security_policy(Somebody())
    config.set_default_csrf_options(require_csrf=True)
    config.add_subscriber(lambda event: None, BeforeRender)
    config.add_request_method(Nobody(), "nobody")
    for name in ("login", "logout", "session", "account", "health"):
        config.add_route(name, f"/{name}")
    config.add_static_view("own-static", str(TEMPLATES))
    for name in ("outer", "inner"):
        config.add_tween(f"{__name__}.{name}")


def pyramid_jwt(config: Configurator) -> None:
    config.set_authorization_policy(ACLAuthorizationPolicy())
    config.include("pyramid_jwt")
    config.set_jwt_authentication_policy(SECRET, algorithm="HS256", auth_type="Bearer")
