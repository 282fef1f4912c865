"""The events of authapp. Subscribe to an event with ``config.add_subscriber``.

If a subscriber raises an exception, the request continues: :func:`notify` logs the exception and
calls the next subscriber. Only for :class:`SignedIn`, the exception stops the request and undoes
the sign-in.

The ``repr`` of an event contains no token, password or secret.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pyramid.httpexceptions import HTTPException
from pyramid.registry import Registry
from pyramid.request import Request
from zope.interface import providedBy

from authapp.request_log import request_log
from authapp.session.error_codes import ErrorCode
from authapp.session.session import Identity, Session
from authapp.web.retried_requests import will_be_retried

log = request_log(__name__)


@dataclass(frozen=True)
class AuthEvent:
    """The base class of all events of authapp.

    :ivar request: the request in which the event happened.
    :cvar refusable: True if a subscriber can refuse the event by raising an exception. authapp then
        undoes what has happened.
    """

    refusable: ClassVar[bool] = False

    request: Request = field(repr=False)


@dataclass(frozen=True)
class SessionEvent(AuthEvent):
    """The base class of the events about a session."""

    session: Session = field(repr=False)

    @property
    def identity(self) -> Identity:
        """The user of the session."""
        return self.session.identity


@dataclass(frozen=True)
class SignedIn(SessionEvent):
    """Sent when a user has signed in, before the response.

    If a subscriber raises an exception, the sign-in is undone: the browser gets no session
    cookie, the new session is revoked here and at the backend, and :class:`SignedOut` is sent. The
    browser gets the response that belongs to the exception, such as 403 for ``HTTPForbidden``.
    """

    refusable: ClassVar[bool] = True


@dataclass(frozen=True)
class SignInFailed(AuthEvent):
    """Sent when an attempt to sign in has failed.

    :ivar username: the user name as typed.
    :ivar code: why the attempt failed.
    :ivar reason: details for the log, without secrets. It may be empty.
    """

    username: str
    code: ErrorCode
    reason: str = ""


@dataclass(frozen=True)
class SessionRenewed(SessionEvent):
    """Sent when a request has called the backend and renewed a session.

    ``session`` is the renewed session, with the new tokens. Other requests that waited for this
    renewal do not send the event.
    """


@dataclass(frozen=True)
class RenewalFailed(SessionEvent):
    """Sent when a request has called the backend and the renewal of a session has failed.

    :ivar code: ``BackendUnavailable`` if the session is kept. Otherwise the reason why the session
        has ended.
    :ivar reason: details for the log, without secrets.
    """

    code: ErrorCode
    reason: str


@dataclass(frozen=True)
class SessionEnded(SessionEvent):
    """Sent when authapp notices during a request that the session has ended.

    A sign-out sends :class:`SignedOut` and not this event.

    :ivar code: why the session has ended.
    """

    code: ErrorCode


@dataclass(frozen=True)
class SessionRevoked(SessionEvent):
    """Sent when a user has ended another one of the user's sessions, such as on another device.

    ``session`` is the session that was ended. It has no tokens, because only the cookie on the
    other device contains the tokens.
    """


@dataclass(frozen=True)
class SignedOut(SessionEvent):
    """Sent when a user has signed out, or when a sign-in was undone.

    :ivar everywhere: True if all sessions of the user were revoked. False if only the sessions of
        this browser were revoked (usually one).
    """

    everywhere: bool


def notify(event: AuthEvent) -> None:
    """Call the subscribers of an event.

    If a subscriber raises an exception, this function logs the exception and the name of the
    subscriber. If the event is not ``refusable``, it then calls the next subscriber.

    :raises Exception: the exception of a subscriber, if the event is ``refusable``.
    """
    registry: Registry = event.request.registry
    # registry.notify() stops at the first exception, and does not name the subscriber.
    for subscriber in registry.adapters.subscriptions([providedBy(event)], None):
        try:
            subscriber(event)
        except Exception as error:
            _log_failure(event, _name_of(registry, subscriber), error)
            if event.refusable:
                raise


def _log_failure(event: AuthEvent, name: str, error: Exception) -> None:
    if event.refusable and isinstance(error, HTTPException):
        log.info("SignInRefused: %s raised %s", name, type(error).__name__)
    elif event.refusable and will_be_retried(event.request, error):
        log.info("SignInRetried: %s raised %s: the request is retried", name, type(error).__name__)
    else:
        log.error("SubscriberFailed: %s: %s", type(event).__name__, name, exc_info=error)


def _name_of(registry: Registry, handler: Callable[..., Any]) -> str:
    """Return the dotted name of a subscriber.

    If the subscriber is an object and not a function, this is the name of its class.

    :param handler: what the registry contains. ``config.add_subscriber`` puts a wrapper around the
        subscriber, and registers the wrapper.
    """
    known = registry.introspector.get_category("subscribers") or ()
    added = [each["introspectable"] for each in known]
    found = [each["subscriber"] for each in added if each.get("derived_subscriber") is handler]
    subscriber = found[0] if found else handler
    named = subscriber if hasattr(subscriber, "__qualname__") else type(subscriber)
    return f"{named.__module__}.{named.__qualname__}"
