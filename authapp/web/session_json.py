"""What a page tells its script, ``static/session.js``: the session as it is now."""

import json
import time
from typing import Any

from pyramid.csrf import get_csrf_token
from pyramid.i18n import TranslationStringFactory
from pyramid.request import Request

_ = TranslationStringFactory("authapp")

_TEXTS = {
    "ending": _("Your session ends soon. Finish what you are doing, then sign in again."),
    "ended": _("Your session has ended. What you typed in this tab is kept: sign in to go on."),
    "signIn": _("Sign in"),
    "unavailable": _("There is no answer right now. Nothing is lost."),
    "other": _("Somebody else has signed in in another tab. This page is loaded anew."),
}


def describe(request: Request) -> dict[str, Any]:
    """The session as the JSON of contract section 4, and when the user signed in.

    Never a token of the backend. Times are epoch seconds, whole but for that moment.
    """
    identity, validity, error = request.identity, request.validity, request.session_error
    return {
        "user": identity
        and {"id": identity.id, "email": identity.email, "roles": list(identity.roles)},
        "validity": validity
        and {"valid_until": validity.valid_until, "refresh_until": validity.refresh_until},
        "error": error and error.value,
        "now": int(time.time()),
        "signed_in_at": identity and request.authapp.session.authenticated_at,
    }


def session_options(request: Request, *, waiting: bool = False) -> str:
    """``request.session_options()``: JSON for ``watchSession`` of ``session.js``.

    To be put into a page as ``<meta name="authapp" content="…">``. A page for everybody gets
    no CSRF token by it, so that caches may keep it.

    :param waiting: the page is there until somebody is signed in: it then goes on by itself.
    """
    session = describe(request)
    if session["user"]:
        session["csrf_token"] = get_csrf_token(request)
    options = {
        "url": request.route_path("session"),
        "login": request.route_path("login"),
        "waiting": waiting and not session["user"],
        "session": session,
        "texts": {name: request.localizer.translate(text) for name, text in _TEXTS.items()},
    }
    return json.dumps(options)
