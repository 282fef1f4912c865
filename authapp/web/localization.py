"""The language a person reads: chosen by Accept-Language among the catalogues there are."""

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from authapp.web.responses import vary_by

_LOCALES = {"en": "en", "zh": "zh_Hans"}
"""Language tags offered to the browser (RFC 4647 lookup) and the catalogues they stand for."""


def negotiate_locale(request: Request) -> str:
    """The locale of a request: asked for explicitly (``_LOCALE_``), or by Accept-Language.

    Only authapp's and the application's default: Pyramid looks for any other on disk, and
    remembers it. An application with more languages sets a negotiator of its own.
    """
    default: str = request.registry.settings["pyramid.default_locale_name"]
    try:
        # Not in a form: reading one that nobody asked for takes memory.
        explicit = request.GET.get("_LOCALE_")
        # To parse all cookies costs more than to open the session among them.
        if not explicit and "_LOCALE_" in request.environ.get("HTTP_COOKIE", ""):
            explicit = request.cookies.get("_LOCALE_")
    except Exception:  # a request that cannot be read still gets a page that says so
        explicit = None
    if explicit == default or explicit in _LOCALES.values():
        return str(explicit)
    request.add_response_callback(_vary)
    locales = {default.replace("_", "-"): default, **_LOCALES}
    tag = request.accept_language.lookup(list(locales), default=default)
    return locales.get(tag, default)


def _vary(request: Request, response: Response) -> None:
    """Another reader of this address may get another language."""
    vary_by(response, "Accept-Language")


def includeme(config: Configurator) -> None:
    """Register the catalogues and the negotiator, which an application can replace."""
    config.add_translation_dirs("authapp:locale")
    config.set_locale_negotiator(negotiate_locale)
