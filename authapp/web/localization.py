"""The language of pages and messages, which is chosen by the ``Accept-Language`` header."""

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from authapp.web.responses import vary_by

_LOCALES = {"en": "en", "zh": "zh_Hans"}
"""Language tag (RFC 4647) -> name of the message catalogue."""


def negotiate_locale(request: Request) -> str:
    """Return the locale of a request.

    The locale comes from the first of these that names an accepted locale:

    1. the query parameter ``_LOCALE_``, or the cookie ``_LOCALE_`` if there is no such parameter,
    2. the ``Accept-Language`` header (RFC 4647 section 3.4, lookup),
    3. the application's default locale.

    The accepted locales are authapp's message catalogues and the application's default locale.
    Other names are refused, because Pyramid would search the disk for each name and cache the
    result. An application with more languages sets its own locale negotiator.

    :returns: the name of a message catalogue, or the application's default locale.
    """
    default: str = request.registry.settings["pyramid.default_locale_name"]
    try:
        # request.params is not used, because it also parses the form, which takes memory.
        explicit = request.GET.get("_LOCALE_")
        # request.cookies parses all cookies, which takes longer than opening the session. So
        # search for the name first.
        if not explicit and "_LOCALE_" in request.environ.get("HTTP_COOKIE", ""):
            explicit = request.cookies.get("_LOCALE_")
    except Exception:  # WebOb cannot decode the request, but the error page needs a locale
        explicit = None
    if explicit == default or explicit in _LOCALES.values():
        return str(explicit)
    request.add_response_callback(_vary_by_language)
    locales = {default.replace("_", "-"): default, **_LOCALES}
    tag = request.accept_language.lookup(list(locales), default=default)
    return locales.get(tag, default)


def _vary_by_language(request: Request, response: Response) -> None:
    """Add ``Accept-Language`` to ``Vary``, because the header chooses the language."""
    vary_by(response, "Accept-Language")


def includeme(config: Configurator) -> None:
    """Add the message catalogues and the locale negotiator.

    An application can replace the negotiator with ``config.set_locale_negotiator``.
    """
    config.add_translation_dirs("authapp:locale")
    config.set_locale_negotiator(negotiate_locale)
