"""The language of pages and messages: ``Accept-Language`` chooses one of the catalogues."""

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from authapp.web.responses import vary_by

_LOCALES = {"en": "en", "zh": "zh_Hans"}
"""Language tag (RFC 4647) -> name of the catalogue."""


def negotiate_locale(request: Request) -> str:
    """Return the locale of a request.

    The parameter or cookie ``_LOCALE_`` decides, or else ``Accept-Language`` (RFC 4647 lookup).
    Only authapp's catalogues and the application's default locale are accepted, because Pyramid
    looks for any other name on disk and remembers it. An application with more languages sets a
    negotiator of its own.
    """
    default: str = request.registry.settings["pyramid.default_locale_name"]
    try:
        # Not request.params: that would parse a form, which takes memory, before the view asks.
        explicit = request.GET.get("_LOCALE_")
        # Parsing all cookies takes longer than opening the session, so it is avoided.
        if not explicit and "_LOCALE_" in request.environ.get("HTTP_COOKIE", ""):
            explicit = request.cookies.get("_LOCALE_")
    except Exception:  # WebOb cannot decode the request; the error page needs a locale too
        explicit = None
    if explicit == default or explicit in _LOCALES.values():
        return str(explicit)
    request.add_response_callback(_vary)
    locales = {default.replace("_", "-"): default, **_LOCALES}
    tag = request.accept_language.lookup(list(locales), default=default)
    return locales.get(tag, default)


def _vary(request: Request, response: Response) -> None:
    """Tell caches that the response depends on the reader's language."""
    vary_by(response, "Accept-Language")


def includeme(config: Configurator) -> None:
    """Add the catalogues, and the negotiator, which an application can replace."""
    config.add_translation_dirs("authapp:locale")
    config.set_locale_negotiator(negotiate_locale)
