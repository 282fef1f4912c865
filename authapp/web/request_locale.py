"""The locale in which authapp translates its own texts, on its pages and on the application's.

A client can send any name as its locale. For each name, Pyramid looks for a catalogue on the disk,
and keeps a localizer in memory. So this module accepts only the names of known locales.
"""

from functools import lru_cache
from pathlib import Path

from pyramid.i18n import Localizer, make_localizer
from pyramid.interfaces import ILocaleNegotiator, ILocalizer, ITranslationDirectories
from pyramid.request import Request

from authapp.web.routes import is_at

OTHER_NAMES = ("zh", "zh_CN", "zh_SG", "zh_Hans_CN", "zh_Hans_SG")
"""Other names that applications use for the locale ``zh_Hans``."""


def localizer_of(request: Request) -> Localizer:
    """Return the localizer for authapp's texts: ``request.authapp_localizer``.

    The application decides the locale, with its locale negotiator or ``request._LOCALE_``. If the
    application has set neither, the client decides, but only a known locale is used. On a page of
    the application, the locale of the request (``request.locale_name``) does not change.
    """
    if is_at(request):  # a template that replaces authapp's may use request.localizer
        set_locale(request)
    if _application_decides(request):
        return request.localizer
    name, registry = _locale_from_client(request), request.registry
    localizer = registry.queryUtility(ILocalizer, name=name)
    if localizer is None:  # as pyramid.i18n.get_localizer creates and keeps it
        localizer = make_localizer(name, registry.queryUtility(ITranslationDirectories, default=()))
        registry.registerUtility(localizer, ILocalizer, name=name)
    return localizer


def set_locale(request: Request) -> None:
    """Set ``request._LOCALE_`` for an error page, if the application does not decide the locale.

    If ``_LOCALE_`` is set, Pyramid's own negotiator uses it, and does not read the request. Without
    it, the negotiator parses the form (``request.params``), even on a path that expects no form.
    """
    if not _application_decides(request):
        request._LOCALE_ = _locale_from_client(request)


def _application_decides(request: Request) -> bool:
    negotiator = request.registry.queryUtility(ILocaleNegotiator)
    return negotiator is not None or getattr(request, "_LOCALE_", None) is not None


def _locale_from_client(request: Request) -> str:
    default: str = request.registry.settings["pyramid.default_locale_name"]
    return _known(request, explicit_locale(request)) or default


def explicit_locale(request: Request) -> str | None:
    """Return the locale that the query parameter or the cookie ``_LOCALE_`` names.

    The form is not read. It may have any length, and parsing it takes long.

    :returns: a name from the client, which can be any text. None if the request has neither the
        parameter nor the cookie, or if one of them cannot be decoded.
    """
    try:
        explicit: str | None = request.GET.get("_LOCALE_")
        # request.cookies parses all cookies, which is slow. So use it only if the header contains
        # the name.
        if not explicit and "_LOCALE_" in request.environ.get("HTTP_COOKIE", ""):
            explicit = request.cookies.get("_LOCALE_")
    except Exception:  # WebOb cannot decode the request, but an error page needs a locale
        return None
    return explicit


def _known(request: Request, name: str | None) -> str | None:
    """Return a locale that the application has a catalogue for, or None.

    :param name: the locale that the client wants, or None. For ``de_AT``, the result is ``de`` if
        there is a catalogue for ``de`` only.
    """
    if not name:
        return None
    catalogues = _catalogues(*request.registry.queryUtility(ITranslationDirectories, default=()))
    language = name.partition("_")[0]
    if name in catalogues or name in OTHER_NAMES:
        return name
    return language if language in catalogues else None


@lru_cache(maxsize=16)
def _catalogues(*directories: str) -> frozenset[str]:
    """Return the names of the locales that have catalogues in an application's directories."""
    found = (each for name in directories for each in Path(name).glob("*/LC_MESSAGES"))
    return frozenset(each.parent.name for each in found)
