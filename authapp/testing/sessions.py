"""Creates sessions for a test, and finds the services of the application under test."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from authapp.backend.embedded import WSGIAdapter, WSGIApplication
from authapp.backend.expressions import expression
from authapp.backend.identity_reader import read_identity
from authapp.backend.protocol import Backend
from authapp.services import IServices, Services, wire
from authapp.session.session import Identity, Phase, Session, TokenPair, Validity, jwt_claims
from authapp.settings.settings import Settings
from authapp.testing.tokens import ACCESS_LIFETIME, REFRESH_LIFETIME, issue


def services_for(application: Any) -> Services:
    """Return the services of an application.

    :param application: a Pyramid application or a request. For an application in another process,
        its settings as a mapping: ``pyramid.paster.get_appsettings("site.ini")``.
    :raises TypeError: if ``application`` is none of these, or is an application without authapp.
    """
    if isinstance(application, Mapping):
        return wire(Settings.from_ini(application), None, (), None)
    registry = getattr(application, "registry", None)
    services: Services | None = registry and registry.queryUtility(IServices)
    if services is None:
        raise TypeError(
            f"{type(application).__name__} is not a Pyramid application that includes authapp."
            " Pass the application itself, without middleware, or its settings"
        )
    return services


def make_session(
    application: Any,
    *,
    id: int | str = 1,
    email: str | None = None,
    name: str | None = None,
    roles: Sequence[str] = (),
    scopes: Sequence[str] = (),
    claims: Mapping[str, Any] | None = None,
    phase: str = "fresh",
    signed_in: float = 0,
    used: float = 0,
    tokens: TokenPair | None = None,
) -> Session:
    """Return a session of any user, in any phase.

    :param application: see :func:`services_for`.
    :param claims: further claims of the access token. The parts of the identity that no parameter
        gives are read from these claims, with the settings ``authapp.claims.*``.
    :param phase: ``fresh``, ``due``, ``expired`` or ``ended``.
    :param signed_in: how many seconds ago the user signed in.
    :param used: how many seconds ago the user sent the last request: see ``authapp.session.idle``.
    :param tokens: the tokens of the session, if the backend must know them. None: the function
        creates tokens, which only :class:`authapp.testing.MemoryBackend` accepts.
    :raises ValueError: if there is no such phase, or if the settings allow no session in this
        phase.
    """
    services, now = services_for(application), time.time()
    buffer, wanted = services.settings.refresh_buffer, Phase(phase)
    left = {
        Phase.FRESH: ACCESS_LIFETIME,
        Phase.DUE: max(1, min(buffer, ACCESS_LIFETIME // 3) // 2),
        Phase.EXPIRED: -1,
        Phase.ENDED: -1,
    }[wanted]
    validity = Validity(
        int(now) + left, int(now) + (-1 if wanted is Phase.ENDED else REFRESH_LIFETIME)
    )
    given = {"email": email, "name": name, "roles": list(roles), "scope": " ".join(scopes)}
    held = {key: value for key, value in given.items() if value} | dict(claims or {}) | {"sub": id}
    tokens = tokens or issue(held, validity.valid_until, validity.refresh_until)
    names = replace(services.settings.claims, id=expression("sub"))
    read = read_identity(names, held, {})
    identity = Identity(
        id,
        email or read.email,
        name or read.name,
        tuple(roles) or read.roles,
        tuple(scopes) or read.scopes,
        jwt_claims(tokens.access),
    )
    began = services.revocation.next_start(id, now - signed_in)
    session = Session.start(identity, tokens, validity, now, began)
    issued_at = validity.valid_until - ACCESS_LIFETIME
    session = replace(session, issued_at=issued_at, used_at=int(now - used))
    if session.phase(now, buffer) is not wanted:
        raise ValueError(f"with authapp.refresh.buffer = {buffer}, no session is ever {phase}")
    return session


def use_backend(application: Any, backend: Backend) -> None:
    """Make an application use another backend object from now on.

    :param application: a Pyramid application in this process.
    :param backend: the backend, for example a :class:`authapp.testing.MemoryBackend`.
    :raises ValueError: if ``authapp.backend.verify`` is set, because then only tokens of the real
        backend can be verified.
    """
    services = services_for(application)
    if services.settings.verify is not None:
        raise ValueError("leave authapp.backend.verify out of the settings that tests use")
    services.backend.replace(backend)


def use_api(application: Any, api: WSGIApplication) -> None:
    """Make ``request.backend`` call a WSGI application in this process instead of the network.

    :param application: a Pyramid application in this process with ``authapp.backend.url``.
    :param api: the WSGI application. Its requests contain the user's access token.
    """
    services = services_for(application)
    services.http.mount(f"{services.backend_url}", WSGIAdapter(api))
