"""Put a session into a client of an application, and read the session that a client has.

A client is one of the objects below. This module does not import the packages of these objects.

- a WebTest application (``webtest.TestApp``),
- a browser context of Playwright's sync API,
- a ``requests`` session,
- a Pyramid request, also a ``pyramid.testing.DummyRequest``.
"""

from collections.abc import Coroutine, Iterable
from http.cookiejar import Cookie, CookieJar
from typing import Any
from urllib.parse import urlsplit

from pyramid.request import apply_request_extensions

from authapp.services import Services
from authapp.session.cookie_reader import ReadCookie
from authapp.session.session import Session
from authapp.testing.sessions import make_session, services_for


def sign_in(
    client: Any, application: Any = None, *, url: str | None = None, **user: Any
) -> Session:
    """Sign a client in, without a backend and without a form.

    >>> sign_in(webtest_app, name="alice", roles=["admin"])
    >>> sign_in(playwright_context, get_appsettings("site.ini"), url="http://localhost:6543")

    :param client: see :mod:`authapp.testing.clients`. Its earlier session is removed.
    :param application: the application, or its settings: see
        :func:`authapp.testing.sessions.services_for`. Leave it out for a WebTest application or a
        request, which know their application.
    :param url: the address of the site. A Playwright context and a ``requests`` session need it.
    :param user: ``id``, ``email``, ``name``, ``roles``, ``scopes``, ``claims``, ``phase``,
        ``signed_in``, ``used`` and ``tokens``: see :func:`authapp.testing.make_session`.
    :returns: the session.
    :raises SessionTooLarge: if the session does not fit into cookies.
    """
    services = services_of_client(client, application)
    session = make_session(application or _application_of(client), **user)
    _put(client, services, dict(_pairs(services, session)), url)
    return session


def session_of(client: Any, application: Any = None, *, url: str | None = None) -> Session | None:
    """Return the session in a client's cookies, or None.

    The parameters are those of :func:`sign_in`. The session may be in any phase.
    """
    return read(client, services_of_client(client, application), url).session


def playwright_cookies(application: Any, session: Session, url: str) -> list[dict[str, Any]]:
    """Return the parameter of ``BrowserContext.add_cookies``, for Playwright's async API.

    :param session: what :func:`authapp.testing.make_session` returned.
    :param url: the address of the site.
    """
    services = services_for(application)
    return [_browser_cookie(services, url, *pair) for pair in _pairs(services, session)]


def read(client: Any, services: Services, url: str | None) -> ReadCookie:
    """Read the cookies of a client as the application would."""
    if hasattr(client, "environ"):
        header = client.environ.get("HTTP_COOKIE", "")
    elif hasattr(client, "add_cookies"):
        header = _header((each["name"], each["value"]) for each in _in_browser(client, url))
    else:
        header = _header((each.name, each.value or "") for each in _jar(client))
    return services.cookie_reader.read(header)


def services_of_client(client: Any, application: Any) -> Services:
    """Return the services of ``application``, or of the client's own application if None."""
    return services_for(application or _application_of(client))


def _application_of(client: Any) -> Any:
    """Return the application that a client knows. If it knows none, return the client itself."""
    return client if hasattr(client, "environ") else getattr(client, "app", client)


def _pairs(services: Services, session: Session) -> Iterable[tuple[str, str]]:
    """Return the names and values of the cookies that contain a session."""
    for each in services.cookie.write(services.sealer.seal(session), 0):
        name, _, value = each.partition(";")[0].partition("=")
        yield name, value


def _put(client: Any, services: Services, cookies: dict[str, str], url: str | None) -> None:
    """Replace the session cookies of a client. The new cookies have no expiry time."""
    if hasattr(client, "environ"):
        client.environ["HTTP_COOKIE"] = _header(cookies.items())
        vars(client).pop("authapp", None)  # it may have been read before
        apply_request_extensions(client)
    elif hasattr(client, "add_cookies"):
        for held in _in_browser(client, url):
            if services.cookie.owns(f"{held['name']}="):
                client.clear_cookies(name=held["name"])
        client.add_cookies([_browser_cookie(services, url, *pair) for pair in cookies.items()])
    else:
        jar = _jar(client)
        for each in list(jar):
            if services.cookie.owns(f"{each.name}="):
                jar.clear(each.domain, each.path, each.name)
        domain = f".{services.cookie.domain}" if services.cookie.domain else _host(client, url)
        for name, value in cookies.items():
            jar.set_cookie(_jar_cookie(domain, name, value))


def _in_browser(context: Any, url: str | None) -> list[dict[str, Any]]:
    """Return the cookies of a Playwright context for a site."""
    found = context.cookies(_root(url))
    if isinstance(found, Coroutine):
        found.close()
        raise TypeError("this context has Playwright's async API: use playwright_cookies()")
    cookies: list[dict[str, Any]] = found
    return cookies


def _jar(client: Any) -> CookieJar:
    jar = getattr(client, "cookiejar", getattr(client, "cookies", None))
    if not isinstance(jar, CookieJar):
        raise TypeError(
            f"{type(client).__name__} is not a client that authapp.testing knows: WebTest,"
            " Playwright (sync), requests, a Pyramid request"
        )
    return jar


def _host(client: Any, url: str | None) -> str:
    """Return the host of a client's requests, as a cookie jar names it."""
    environ = getattr(client, "extra_environ", None)
    if url is None and environ is not None:
        url = f"http://{environ.get('HTTP_HOST', 'localhost')}"
    host = urlsplit(_root(url)).hostname or ""
    return host if "." in host else f"{host}.local"  # as http.cookiejar does


def _root(url: str | None) -> str:
    if url is None:
        raise ValueError("url= is missing: the address of the site")
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/"


def _header(pairs: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{name}={value}" for name, value in pairs)


def _browser_cookie(services: Services, url: str | None, name: str, value: str) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "url": _root(url),
        "httpOnly": True,
        "secure": services.cookie.secure,
        "sameSite": services.cookie.samesite,
    }


def _jar_cookie(domain: str, name: str, value: str) -> Cookie:
    """Return a cookie that the client sends over http too, because tests use no TLS."""
    return Cookie(
        version=0,
        name=name,
        value=value,
        port=None,
        port_specified=False,
        domain=domain,
        domain_specified=domain.startswith("."),
        domain_initial_dot=domain.startswith("."),
        path="/",
        path_specified=True,
        secure=False,
        expires=None,
        discard=True,
        comment=None,
        comment_url=None,
        rest={},
    )
