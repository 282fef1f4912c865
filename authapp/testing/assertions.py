"""Assertions about the session of a client. If an assertion fails, the error describes the
session."""

import time
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from authapp.services import Services
from authapp.session.session import Phase, Session
from authapp.testing.clients import read, services_of_client

HAS_ENDED = "has ended"
"""The text in an error about a session whose refresh token has expired."""


def assert_session(
    client: Any,
    application: Any = None,
    *,
    url: str | None = None,
    phase: str | None = None,
    **identity: Any,
) -> Session:
    """Fail if a client has no session, or if its session has ended, is idle, or was revoked.

    A session is idle after ``authapp.session.idle`` seconds without a request of the user.

    This function reads the cookie of the client. It sends no request.

    :param client: see :mod:`authapp.testing.clients`. ``application`` and ``url`` are as in
        :func:`authapp.testing.sign_in`.
    :param phase: the phase that the session must have. None: any phase except ``ended``.
    :param identity: the values that the user must have: ``id``, ``email``, ``name``, ``roles``,
        ``scopes``. The order of ``roles`` and ``scopes`` does not matter.
    :returns: the session.
    :raises AssertionError: with a description of the session.
    """
    services, now = services_of_client(client, application), time.time()
    session = read(client, services, url).session
    told = f"\nthe client holds {describe(client, application, url=url)}"
    if session is None:
        raise AssertionError(f"there is no session{told}")
    found = session.phase(now, services.settings.refresh_buffer)
    if phase is not None and found is not Phase(phase):
        raise AssertionError(f"the phase is {found.value}, not {phase}{told}")
    ended = _ended(session, services, now)
    if ended and not (ended == HAS_ENDED and phase):
        raise AssertionError(f"the session {ended}{told}")
    for name, wanted in identity.items():
        have = getattr(session.identity, name)
        if _comparable(have) != _comparable(wanted):
            raise AssertionError(f"{name} is {have!r}, not {wanted!r}{told}")
    return session


def assert_no_session(client: Any, application: Any = None, *, url: str | None = None) -> None:
    """Fail if a client has a usable session.

    A session is not usable if it has ended, is idle (see :func:`assert_session`) or was revoked.

    The parameters are those of :func:`assert_session`.

    :raises AssertionError: with a description of the session.
    """
    services = services_of_client(client, application)
    session = read(client, services, url).session
    if session is not None and not _ended(session, services, time.time()):
        told = describe(client, application, url=url)
        raise AssertionError(f"there is a session\nthe client holds {told}")


def describe(client: Any, application: Any = None, *, url: str | None = None) -> str:
    """Return the session of a client in words, without tokens.

    The parameters are those of :func:`assert_session`.
    """
    services = services_of_client(client, application)
    found = read(client, services, url)
    if found.session is not None:
        return _in_words(found.session, services, time.time())
    if found.names:
        return f"{', '.join(found.names)}, which no secret of the application decrypts"
    return f"no cookie named {services.cookie.name}"


def _in_words(session: Session, services: Services, now: float) -> str:
    user, validity = session.identity, session.validity
    phase = session.phase(now, services.settings.refresh_buffer)
    ended = _ended(session, services, now)
    return (
        f"a session of user {user.id!r}{f', which {ended}' if ended else ''}\n"
        f"  name {user.name!r}, email {user.email!r}\n"
        f"  roles {_words(user.roles)}, scopes {_words(user.scopes)}\n"
        f"  phase {phase.value}: access token until {_moment(validity.valid_until, now)},"
        f" refresh token until {_moment(validity.refresh_until, now)}\n"
        f"  signed in {_moment(session.authenticated_at, now)},"
        f" used {_moment(session.last_used, now)}, session {session.digest}"
    )


def _ended(session: Session, services: Services, now: float) -> str | None:
    """Return why a session has ended, or None if it has not ended."""
    if services.revocation.revoked(session):
        return "was revoked"
    if session.phase(now, services.settings.refresh_buffer) is Phase.ENDED:
        return HAS_ENDED
    return "is idle" if services.settings.session_limits.is_idle(session, now) else None


def _words(values: Iterable[str]) -> str:
    return ", ".join(values) or "none"


def _moment(time: float, now: float) -> str:
    shown = datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
    distance = round(abs(time - now))
    return f"{shown} ({distance} s {'ago' if time <= now else 'from now'})"


def _comparable(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, list | tuple | set | frozenset) else value
