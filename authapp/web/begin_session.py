"""Begins the session of a user who has just signed in, with a password or at a provider."""

from dataclasses import dataclass, replace

from pyramid.request import Request

from authapp.services import services_of
from authapp.session.session import Identity, Session, TokenPair, Validity
from authapp.web.recent_auth import MAX_AGE, read_max_age
from authapp.web.request_session import RequestSession

REMEMBER = "remember"
"""The name of the checkbox "Keep me signed in", and of a query parameter. ``1`` means ticked."""


@dataclass(frozen=True)
class Choices:
    """What the sign-in form says about the new session, and when the sign-in began.

    :param remember: True if the user has ticked the checkbox :data:`REMEMBER`. None if the form
        has no such checkbox.
    :param again: True if the user signs in because a view needs a recent sign-in: see
        :mod:`authapp.web.recent_auth`.
    :param began: when the user was sent to a provider, in epoch seconds. If the provider has ended
        the user's sessions since then, the sign-in is refused.
    """

    remember: bool | None = None
    again: bool = False
    began: float = float("inf")


def read_choices(request: Request) -> Choices:
    """Read the choices of a sign-in: from the form for a POST, otherwise from the query.

    For a POST, ``remember`` is not read from the query, because the user may have changed the
    checkbox in the form.
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

    - If the user was signed in already, and signs in again because a view needs a recent sign-in,
      the session continues. It gets the new tokens and a new time of sign-in.
    - Otherwise a new session begins. The browser's earlier sessions are revoked later, when the
      cookie is written.

    :param now: the time at which the tokens arrived, in epoch seconds.
    :returns: the session for :func:`authapp.web.sign_in.complete_sign_in`.
    """
    ours: RequestSession = request.authapp
    began = services_of(request).revocation.next_start(identity.id, now, tokens.groups)
    current = ours.session if ours.identity is not None else None
    same = current is not None and str(current.identity.id) == str(identity.id)
    if current is None or not same or not choices.again:
        return Session.start(identity, tokens, validity, now, began, choices.remember)
    renewed = current.renewed(identity, tokens, validity, now)
    return replace(renewed, authenticated_at=began, used_at=int(now))
