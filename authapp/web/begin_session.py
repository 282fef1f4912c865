"""Begins the session of a user who has just signed in, by password or in another way."""

from dataclasses import dataclass, replace

from pyramid.request import Request

from authapp.services import services_of
from authapp.session.session import Identity, Session, TokenPair, Validity
from authapp.web.recent_auth import MAX_AGE, read_max_age
from authapp.web.request_session import RequestSession

REMEMBER = "remember"
"""The name of a form field and of a query parameter. The value is ``1`` if the box is ticked."""


@dataclass(frozen=True)
class Choices:
    """What the sign-in form says about the new session, apart from the user.

    :param remember: see :class:`authapp.session.session.Session`.
    :param again: True if a view has asked for a recent sign-in: see
        :mod:`authapp.web.recent_auth`.
    """

    remember: bool | None = None
    again: bool = False


def read_choices(request: Request) -> Choices:
    """Read the choices from the sign-in form, or from the query.

    The form is sent to the address of its page, whose query may say the opposite of the box.
    """
    fields = request.POST if request.method == "POST" else request.GET
    asks = services_of(request).settings.session_limits.remember == "ask"
    return Choices(
        remember=fields.get(REMEMBER) == "1" if asks else None,
        again=read_max_age(request.params.get(MAX_AGE)) is not None,
    )


def begin_session(
    request: Request,
    identity: Identity,
    tokens: TokenPair,
    validity: Validity,
    now: float,
    choices: Choices,
) -> Session:
    """Return the session of a user who has just signed in.

    If a view has asked for a recent sign-in and the same user signs in again, the session continues
    with the new tokens and a new time of sign-in. Otherwise a new session begins, and the earlier
    sessions of the browser are revoked.

    :param now: the time at which the tokens arrived, in epoch seconds.
    :returns: the session, to be passed to :func:`authapp.web.sign_in.complete_sign_in`.
    """
    ours: RequestSession = request.authapp
    began = services_of(request).revocation.next_start(identity.id, now, tokens.groups)
    current = ours.session if ours.identity is not None else None
    same = current is not None and str(current.identity.id) == str(identity.id)
    if current is None or not same or not choices.again:
        return Session.start(identity, tokens, validity, now, began, choices.remember)
    renewed = current.renewed(identity, tokens, validity, now)
    return replace(renewed, authenticated_at=began, used_at=int(now))
