"""What subscribers can hear (``config.add_subscriber``), and the audit log that is one.

No event holds a token, a password or a secret in anything that is printed.
"""

import json
import logging
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request
from zope.interface.registry import Components

from authapp.errors import ErrorCode
from authapp.session import Identity, Session

audit = logging.getLogger("authapp.audit")


@dataclass(frozen=True)
class SessionEvent:
    """Something happened to a session."""

    request: Request = field(repr=False)
    session: Session = field(repr=False)

    @property
    def identity(self) -> Identity:
        """Whose session it is."""
        return self.session.identity


@dataclass(frozen=True)
class SignedIn(SessionEvent):
    """Somebody signed in."""


@dataclass(frozen=True)
class SignInFailed:
    """Somebody tried to sign in, and why that failed."""

    request: Request = field(repr=False)
    username: str
    code: ErrorCode


@dataclass(frozen=True)
class SessionRenewed(SessionEvent):
    """A refresh token was spent, and the session goes on with new tokens."""


@dataclass(frozen=True)
class RenewalFailed(SessionEvent):
    """A refresh token could not be spent: rejected, or the backend gave no answer."""

    code: ErrorCode
    reason: str


@dataclass(frozen=True)
class SessionEnded(SessionEvent):
    """A session that came in has ended otherwise than by a sign-out on this request."""

    code: ErrorCode


@dataclass(frozen=True)
class SignedOut(SessionEvent):
    """Somebody signed out, of this session or everywhere."""

    everywhere: bool


def write_audit_line(event: "SessionEvent | SignInFailed") -> None:
    """One line of JSON on the logger ``authapp.audit``: ASCII only, so none can be forged."""
    request = event.request
    line = {
        "time": round(time.time(), 3),
        "event": type(event).__name__,
        "address": request.remote_addr,
        "request": request.request_id,
    }
    if isinstance(event, SessionEvent):
        line |= {"user": str(event.identity.id), "session": event.session.digest}
    else:
        line["username"] = event.username[:256]
    for name in ("code", "reason", "everywhere"):
        if hasattr(event, name):
            line[name] = getattr(event, name)
    audit.info("%s", json.dumps(line))


def request_id(request: Request) -> str:
    """``request.request_id``: what the proxy calls this request (``X-Request-ID``), or a name."""
    given: str = request.headers.get("X-Request-ID", "")
    return given if re.fullmatch("[A-Za-z0-9._-]{1,64}", given) else uuid.uuid4().hex


def subscribe(config: Configurator, subscriber: Callable[[Any], None], kind: type) -> None:
    """As ``config.add_subscriber``, without making Pyramid send what nobody has asked for.

    As soon as a registry ``has_listeners``, Pyramid sends four events with every request, which
    takes about as long as all that authapp does with a session. So for subscribers of ours it
    has none, and sends what it is given to send all the same; any other subscriber changes that.
    """
    registry = config.registry

    def register() -> None:
        Components.registerHandler(registry, subscriber, (kind,))
        registry.notify = lambda *events: registry.subscribers(events, None)

    description = config.object_description(subscriber)
    name = (id(subscriber), kind.__name__)
    shown = config.introspectable("subscribers", name, description, "subscriber")
    shown.update({"subscriber": subscriber, "interfaces": (kind,)})
    config.action(None, register, introspectables=(shown,))


def includeme(config: Configurator) -> None:
    """Subscribe the audit log."""
    subscribe(config, write_audit_line, SessionEvent)
    subscribe(config, write_audit_line, SignInFailed)
