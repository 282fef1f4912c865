"""The session as JSON, for ``GET /session`` and for the page's script, ``static/session.js``."""

import json
import time
from typing import Any

from pyramid.csrf import get_csrf_token
from pyramid.i18n import TranslationStringFactory
from pyramid.request import Request

from authapp.services import services_of
from authapp.web.activity import last_used

_ = TranslationStringFactory("authapp")

_TEXTS = {
    "ending": _("Your session ends soon. Finish what you are doing, then sign in again."),
    "ended": _("Your session has ended. What you typed in this tab is kept. Sign in to continue."),
    "idle": _("You will be signed out soon, because you have not used this site for a while."),
    "stay": _("Stay signed in"),
    "signIn": _("Sign in"),
    "unavailable": _(
        "The site is not responding right now. Nothing is lost, and this page keeps trying."
    ),
    "other": _("Someone else has signed in from another tab. This page will reload."),
}
"""Name of a text in ``session.js`` -> text for the user."""


def describe(request: Request) -> dict[str, Any]:
    """Return the session as the JSON object of contract section 4, without ``csrf_token``.

    The object contains no token of the backend. Times are seconds since the epoch. All times are
    whole numbers, except ``signed_in_at``.
    """
    identity, validity, error = request.identity, request.validity, request.session_error
    session = request.authapp.session  # None beside an identity: a program has brought a token
    return {
        "user": identity
        and {"id": identity.id, "email": identity.email, "roles": list(identity.roles)},
        "validity": validity
        and {"valid_until": validity.valid_until, "refresh_until": validity.refresh_until},
        "error": error and error.value,
        "now": int(time.time()),
        "signed_in_at": identity and session and session.authenticated_at,
        **_describe_idle(request),
    }


def _describe_idle(request: Request) -> dict[str, int]:
    """Return the members for ``authapp.session.idle``: its seconds, and when the session ends."""
    services, ours = services_of(request), request.authapp
    idle = services.settings.lifetimes.idle
    if idle is None or ours.identity is None or ours.session is None:
        return {}
    return {"idle": idle, "idle_until": last_used(ours, ours.session, services) + idle}


def session_options(request: Request, *, waiting: bool = False) -> str:
    """Return the options of ``watchSession`` in ``session.js``: ``request.session_options()``.

    Put the options into a page as ``<meta name="authapp" content="…">``. The options contain a
    CSRF token only if a user is signed in. So caches may store a page for anonymous users.

    :param waiting: True for a page that is no longer useful once a user is signed in, such as the
        sign-in page. When a user signs in in another tab, the script reloads the page.
    :returns: a JSON object as a string.
    """
    session = describe(request)
    if session["user"]:
        session["csrf_token"] = get_csrf_token(request)
    options = {
        "url": request.route_path("authapp.session"),
        "login": request.route_path("authapp.login"),
        "waiting": waiting and not session["user"],
        "session": session,
        "texts": {name: request.localizer.translate(text) for name, text in _TEXTS.items()},
    }
    return json.dumps(options)
