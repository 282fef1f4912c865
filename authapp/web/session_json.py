"""The session as JSON, for ``GET /session`` and for the page's script, ``static/session.js``."""

import base64
import hmac
import json
import time
from typing import Any

from pyramid.csrf import get_csrf_token
from pyramid.i18n import TranslationStringFactory
from pyramid.request import Request

from authapp.services import services_of
from authapp.web.idle_activity import last_used
from authapp.web.request_locale import localizer_of

_ = TranslationStringFactory("authapp")

_TEXTS = {
    "ending": _("Your session ends soon, ${time}."),
    "fixed": _("Your session ends ${time}. Finish what you are doing, then sign in again."),
    "idle": _("You will be signed out soon, because you have not used this site for a while."),
    "stay": _("Stay signed in"),
    "close": _("Close"),
    "endedTitle": _("Your session has ended"),
    "ended": _("Sign in to continue."),
    "who": _("You were signed in as ${name}."),
    "kept": _("What you typed on this page is kept in this tab."),
    "signIn": _("Sign in"),
    "partly": _("Some of what you typed could not be put back. Check the page before you go on."),
    "unavailable": _(
        "The site is not responding right now. Nothing is lost, and this page keeps trying."
    ),
    "other": _("Someone else has signed in from another tab. This page will reload."),
}
"""Key of a sentence in ``session.js`` -> sentence for the user. The script fills in the
placeholders, such as ``${time}``."""


def describe(request: Request) -> dict[str, Any]:
    """Return the session as the JSON object of contract section 4, without ``csrf_token``.

    If a user is signed in, the object has the member ``draft_key``. When the session ends, the
    page's script encrypts with this key what the user has typed (the draft). Another user gets
    another key, and so cannot read the draft.

    The object contains no token of the backend. Times are in epoch seconds. All times are whole
    numbers, except ``signed_in_at``.
    """
    identity = request.identity
    validity, error = request.authapp.validity, request.authapp.error
    session = request.authapp.session  # may be None, because a program can send an access token
    description = {
        "user": identity
        and {"id": identity.id, "email": identity.email, "roles": list(identity.roles)},
        "validity": validity
        and {"valid_until": validity.valid_until, "refresh_until": validity.refresh_until},
        "error": error and error.value,
        "now": int(time.time()),
        "signed_in_at": identity and session and session.authenticated_at,
        **_describe_idle(request),
    }
    if identity:
        description["draft_key"] = _draft_key(request, str(identity.id))
    return description


def _draft_key(request: Request, userid: str) -> str:
    """Return the key that encrypts a user's drafts in the browser: 32 bytes in base64."""
    key = hmac.new(services_of(request).draft_secret, userid.encode(), "sha256")
    return base64.b64encode(key.digest()).decode()


def _describe_idle(request: Request) -> dict[str, int]:
    """Return the members for the setting ``authapp.session.idle``.

    - ``idle`` is the setting, in seconds.
    - ``idle_until`` is when the session ends if the user does nothing, in epoch seconds.

    :returns: an empty dict without the setting or without a session.
    """
    services, ours = services_of(request), request.authapp
    idle = services.settings.session_limits.idle
    if idle is None or ours.identity is None or ours.session is None:
        return {}
    return {"idle": idle, "idle_until": last_used(ours, ours.session, services) + idle}


def session_options(request: Request, *, waiting: bool = False) -> str:
    """Return the options of the page's script ``session.js``: ``request.session_options()``.

    Put the options into a page as ``<meta name="authapp" content="…">``. If no user is signed in,
    the options contain no CSRF token, so that caches may store the page.

    :param waiting: True for a page such as the sign-in page, which nobody needs after a sign-in. If
        the user signs in in another tab, the script reloads this page.
    :returns: a JSON object as a string.
    """
    session = describe(request)
    if session["user"]:
        session["csrf_token"] = get_csrf_token(request)
    localizer = localizer_of(request)
    options = {
        "url": request.route_path("authapp.session"),
        "login": request.route_path("authapp.login"),
        "watch": session["user"] and request.authapp_path("session_ended"),
        "waiting": waiting and not session["user"],
        "who": request.identity and (request.identity.name or request.identity.email),
        "site": request.authapp_site,
        "session": session,
        "texts": {name: localizer.translate(text) for name, text in _TEXTS.items()},
    }
    return json.dumps(options)
