"""The audit log: one line of JSON for each event of :mod:`authapp.web.events`."""

import json
import logging
import time
from typing import Any

from pyramid.config import Configurator

from authapp.web.client_address import client_address
from authapp.web.events import AuthEvent, SessionEvent, SignInFailed
from authapp.web.retried_requests import once

audit = logging.getLogger("authapp.audit")
"""The logger of the audit log."""


def write_audit_line(event: SessionEvent | SignInFailed) -> None:
    """Write an event to the logger ``authapp.audit`` as one line of JSON.

    The JSON is ASCII without line breaks. So a user name with a line break cannot forge a line.
    """
    request = event.request
    line: dict[str, Any] = {
        "event": type(event).__name__,
        "address": client_address(request) or None,
        "request": request.authapp_request_id,
    }
    if isinstance(event, SessionEvent):
        line |= {"user": str(event.identity.id), "session": event.session.digest}
    else:
        line["username"] = event.username[:256]
    for name in ("code", "reason", "everywhere"):
        if hasattr(event, name):
            line[name] = getattr(event, name)
    # If pyramid_retry handles the request again, authapp sends the event again. The audit log gets
    # only one line for all attempts.
    once(request, ("audit", repr(line)), lambda: _write(line))


def _write(line: dict[str, Any]) -> None:
    audit.info("%s", json.dumps({"time": round(time.time(), 3), **line}))


def includeme(config: Configurator) -> None:
    """Subscribe the audit log to all events of authapp."""
    config.add_subscriber(write_audit_line, AuthEvent)
