"""An encrypted cookie with the state of a sign-in between its two steps, valid for ten minutes.

The cookie contains the state that the backend needs for the second step. So any process can handle
the second step. The cookie also contains the visitor's CSRF token, so that another browser cannot
continue the sign-in (contract section 8).
"""

import hmac
import secrets
from dataclasses import asdict, dataclass, field
from functools import partial

from pyramid.csrf import get_csrf_token
from pyramid.request import Request
from pyramid.response import Response

from authapp.backend.protocol import BackendChallenge
from authapp.services import services_of
from authapp.session.sealed_value import SealedValue
from authapp.web.begin_session import Choices
from authapp.web.responses import see_other
from authapp.web.retried_requests import once

LIFETIME = 600
"""The longest time between the first and the second step of a sign-in, in seconds."""

_COMPLETED, _KEPT = "completed challenge", 2 * LIFETIME
"""The purpose under which the store keeps the id of a completed sign-in, and for how many seconds:
twice the lifetime, because a further step with the same id may begin just before the cookie
expires."""

_NAME = "authapp.challenge"

_MAX_NAME = 100
"""The maximum length of the user name in the cookie, in characters. The rest is cut off."""


@dataclass(frozen=True)
class Challenge:
    """A sign-in whose first step has succeeded. The second step is still to be done.

    :param id: a random id of this sign-in. A sign-in can be completed only once. If the backend
        asks for a further step, the id stays the same.
    :param name: the user name, as typed.
    :param state: see :class:`authapp.backend.protocol.BackendChallenge`, also for ``kind``.
    :param csrf_token: the CSRF token of the visitor.
    :param remember: see :class:`authapp.web.begin_session.Choices`, also for ``again``.
    """

    id: str
    name: str
    state: str = field(repr=False)
    kind: str
    csrf_token: str = field(repr=False)
    remember: bool | None = None
    again: bool = False

    @property
    def choices(self) -> Choices:
        """What the form of the first step says about the session."""
        return Choices(self.remember, self.again)


def begin_challenge(
    request: Request,
    asked: BackendChallenge,
    name: str,
    target: str,
    choices: Choices,
    id: str | None = None,
) -> Response:
    """Return a redirect to the page of the second step. The response sets the cookie.

    :param asked: the backend's request for a second step.
    :param name: the user name, as typed.
    :param target: the path to which the user goes after the sign-in.
    :param choices: what the form of the first step says about the session.
    :param id: the id of the sign-in, if this is a further step. With None, a new sign-in begins.
    """
    challenge = Challenge(
        id=id or secrets.token_urlsafe(16),
        name=name[:_MAX_NAME],
        state=asked.state,
        kind=asked.kind,
        csrf_token=get_csrf_token(request),
        remember=choices.remember,
        again=choices.again,
    )
    response = see_other(request.route_path("authapp.login_challenge", _query={"next": target}))
    _set_cookie(request, response, _sealed(request).seal(asdict(challenge)), LIFETIME)
    return response


def read_challenge(request: Request) -> Challenge | None:
    """Return the sign-in in the cookie of a request.

    :returns: the sign-in. None if the cookie is missing, cannot be decrypted, is older than ten
        minutes, or belongs to another browser. Also None if this sign-in was completed or
        cancelled already.
    """
    opened = _sealed(request).open(request.cookies.get(_cookie_name(request), ""))
    if opened is None:
        return None
    try:
        challenge = Challenge(**opened)
    except TypeError:  # another version of authapp has written the cookie
        return None
    if not hmac.compare_digest(challenge.csrf_token.encode(), get_csrf_token(request).encode()):
        return None
    # An earlier attempt of this request may have completed the sign-in.
    used = partial(is_completed, request, challenge)
    return None if once(request, ("challenge", challenge.id), used) else challenge


def is_completed(request: Request, challenge: Challenge) -> bool:
    """Return True if a sign-in was completed or cancelled."""
    return services_of(request).use_once.used(_COMPLETED, challenge.id)


def complete_challenge(request: Request, challenge: Challenge) -> bool:
    """Store the sign-in's id, so that no copy of the cookie works again.

    :returns: False if the sign-in was completed or cancelled already, perhaps by a request that
        came at the same time. Then this request must not sign the user in.
    """
    return services_of(request).use_once.first(_COMPLETED, challenge.id, _KEPT)


def end_challenge(request: Request, response: Response, challenge: Challenge) -> None:
    """Clear the cookie, and make sure that no copy of the cookie works again."""
    complete_challenge(request, challenge)
    _set_cookie(request, response, "", 0)


def _set_cookie(request: Request, response: Response, value: str, seconds: int) -> None:
    cookie = services_of(request).settings.cookie
    path = str(request.route_path("authapp.login_challenge"))
    response.set_cookie(
        _cookie_name(request),
        value,
        max_age=seconds,
        path=path.rpartition("/")[0] or path,  # "/login"
        secure=cookie.secure,
        httponly=True,
        samesite=cookie.samesite,
    )


def _sealed(request: Request) -> SealedValue:
    return SealedValue(services_of(request).settings.secrets, "challenge", LIFETIME)


def _cookie_name(request: Request) -> str:
    # A name with __Host- would need the path "/".
    return f"__Secure-{_NAME}" if services_of(request).settings.cookie.secure else _NAME
