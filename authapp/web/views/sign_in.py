"""The sign-in page: one view shows the form, and one view receives the form."""

from typing import Any

from pyramid.httpexceptions import HTTPNotFound
from pyramid.i18n import TranslationStringFactory
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.view import view_config

from authapp.backend.protocol import (
    BackendChallenge,
    BackendRejected,
    Credentials,
)
from authapp.services import Provider, services_of
from authapp.session.error_codes import SIGN_IN_AGAIN_SENTENCE, ErrorCode, reason_sentence
from authapp.session.session import TokenPair
from authapp.settings.allowed_values import EMBEDDED, resolve
from authapp.settings.oidc_settings import OIDC, PASSWORD
from authapp.settings.settings import settings_of
from authapp.web.begin_session import read_choices
from authapp.web.challenge_cookie import begin_challenge
from authapp.web.client_address import client_address
from authapp.web.csrf import check_csrf
from authapp.web.recent_auth import MAX_AGE, is_recent, read_max_age
from authapp.web.redirects import safe_next
from authapp.web.responses import lead_on, see_other, wait_sentence
from authapp.web.routes import is_at
from authapp.web.sign_in import SignInRefused, sign_in

MAX_FIELD = 4096
"""The maximum length of a user name or password, in bytes.

With a longer one, the sign-in fails, and the backend is not called.
"""

TO_PROVIDER = "authapp:templates/login_provider.jinja2"
"""The template of the page that sends the browser on to a provider."""

_ = TranslationStringFactory("authapp")

_BEFORE_WAIT = {
    ErrorCode.TOO_MANY_ATTEMPTS.sentence: _("There were too many failed sign-in attempts."),
    ErrorCode.BACKEND_UNAVAILABLE.sentence: _(
        "The sign-in service is not responding right now. Nothing is lost."
    ),
}
"""Sentence about an error -> a shorter sentence without advice. The page shows the shorter sentence
if "Try again in … seconds." follows."""


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.login",
    request_method="GET",
    renderer="authapp:templates/login.jinja2",
)
def login_form(request: Request) -> Any:
    """Show the sign-in form.

    In two cases, redirect instead:

    - To ``next``, if a user is signed in already. With ``max_age`` in the query, only if this user
      signed in at most ``max_age`` seconds ago.
    - To the OpenID Connect provider, if users can only sign in there. But after a sign-out or an
      error, show the form.

    :returns: the variables of the template, or a 303 redirect.
    """
    target = safe_next(request, request.GET.get("next"))
    max_age = read_max_age(request.GET.get(MAX_AGE))
    if request.identity is not None and (max_age is None or is_recent(request, max_age)):
        return see_other(target)
    services = services_of(request)
    providers = list(services.providers.values())
    passwords = PASSWORD in services.settings.login_methods
    # After a sign-out or an error, do not redirect to the provider without a click. The user would
    # be signed in again at once, or the error would come again and again.
    told = request.authapp.error or "reason" in request.GET or "error" in request.GET
    if len(providers) == 1 and not passwords and not told:
        return see_other(providers[0].start(request, target))
    if request.identity is not None:
        return form(request, target, notice=SIGN_IN_AGAIN_SENTENCE)
    reason = request.authapp.error or request.GET.get("reason", "")
    return form(request, target, notice=reason_sentence(str(reason)))


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.login",
    request_method="POST",
    renderer="authapp:templates/login.jinja2",
    require_csrf=False,
)
def login(request: Request) -> Any:
    """Sign the user in, and redirect to ``next``.

    :returns: a 303 redirect to ``next``, or to the page of the second step if the backend asks for
        one. If the sign-in failed, the variables of the template, to show the form again. If the
        user has pressed the button of a provider, a page that sends the browser to the provider.
    :raises pyramid.exceptions.BadCSRFToken: see :func:`authapp.web.csrf.check_csrf`.
    :raises pyramid.httpexceptions.HTTPNotFound: if this site does not accept passwords, or has no
        such provider.
    """
    check_csrf(request)
    if "provider" in request.POST:
        return _go_to_provider(request)
    if PASSWORD not in services_of(request).settings.login_methods:
        raise HTTPNotFound
    target = safe_next(request, _field(request, "next"))
    credentials = Credentials(
        _field(request, "username"), _field(request, "password"), client_address(request) or None
    )
    name, choices = credentials.username, read_choices(request)
    try:
        sign_in(request, name, lambda: _ask(request, credentials), choices)
    except SignInRefused as refused:
        return form(request, target, refused, name)
    except BackendChallenge as challenge:
        return begin_challenge(request, challenge, name, target, choices)
    return see_other(target)


def _go_to_provider(request: Request) -> Response:
    """Send the browser to the provider whose button was pressed in the sign-in form.

    With ``session.remember = ask``, the button sends the form, and with it the checkbox "Keep me
    signed in". With any other value of this setting, the button is a link.

    :raises pyramid.httpexceptions.HTTPNotFound: if there is no such provider.
    """
    label, target = _field(request, "provider"), safe_next(request, _field(request, "next"))
    for each in _providers(request):
        if each.label == label:
            return lead_on(request, TO_PROVIDER, each.start(request, target))
    raise HTTPNotFound


def _providers(request: Request) -> list[Provider]:
    """Return the providers that the sign-in page offers."""
    services = services_of(request)
    return list(services.providers.values()) if OIDC in services.settings.login_methods else []


def _ask(request: Request, credentials: Credentials) -> TokenPair:
    if not all(map(_plausible, (credentials.username, credentials.password))):
        raise BackendRejected("no user can have these credentials")
    return services_of(request).backend.login(credentials)


def _field(request: Request, name: str) -> str:
    """Return a field of the form, or an empty string if the field is missing or is a file."""
    value = request.POST.get(name, "")
    return value if isinstance(value, str) else ""


def _plausible(text: str) -> bool:
    """Return True if a string can be a user name or password.

    It must have from 1 to :data:`MAX_FIELD` bytes, and must not contain a null character.
    """
    return 0 < len(text.encode(errors="surrogatepass")) <= MAX_FIELD and "\0" not in text


def form(
    request: Request,
    target: str,
    refused: SignInRefused | None = None,
    username: str = "",
    notice: Any = None,
) -> dict[str, Any]:
    """Return the variables of the template of the sign-in page. Caches must not store the page.

    :param target: the path to which the user goes after the sign-in.
    :param refused: the sign-in that has just failed, or None.
    :param username: the user name to show in the form.
    :param notice: a sentence above the form, or None.
    """
    request.response.cache_control = "no-store"
    services = services_of(request)
    methods = services.settings.login_methods
    sentence, wait = refused and refused.sentence, None
    if refused and refused.retry_after is not None and sentence in _BEFORE_WAIT:
        sentence, wait = _BEFORE_WAIT[sentence], wait_sentence(refused.retry_after)
    return {
        "passwords": PASSWORD in methods,
        "providers": [(each.label, each.start(request, target)) for each in _providers(request)],
        # After a sign-in at a provider has failed, this page is the response at another path.
        "action": None if is_at(request, "login") else request.route_path("authapp.login"),
        "next": target,
        "error": refused and refused.code,
        "sentence": sentence,
        "words": refused.words if refused else "",
        "wait": wait,
        "retry_after": request.response.headers.get("Retry-After"),
        "links": settings_of(request.registry).login_links,
        "username": username[:MAX_FIELD],
        "notice": notice,
        "known_users": _known_users(request),
        "max_age": read_max_age(request.params.get(MAX_AGE)),
        "asks_to_remember": services_of(request).settings.session_limits.remember == "ask",
        "remembered": read_choices(request).remember,
    }


def _known_users(request: Request) -> list[Any]:
    """Return the users of the embedded issuer with their passwords, to show them in development.

    :returns: the users. An empty list if the backend is not the embedded issuer. Outside
        development, the embedded issuer is not allowed.
    """
    if services_of(request).settings.backend_url != EMBEDDED:
        return []
    from authapp.issuer import read_users

    return read_users(resolve(request.registry.settings.get("issuer.users", "")))
