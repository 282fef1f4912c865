"""The languages of authapp's pages and messages.

If an application includes authapp, the application's locale negotiator decides the language of a
request. The site ``egg:authapp`` uses the negotiator of this module, which reads the
``Accept-Language`` header.
"""

from pathlib import Path

from pyramid.config import Configurator
from pyramid.events import ApplicationCreated
from pyramid.i18n import Translations, make_localizer
from pyramid.interfaces import ILocalizer, ITranslationDirectories
from pyramid.request import Request
from pyramid.response import Response
from webob.acceptparse import create_accept_language_header

from authapp.web.request_locale import OTHER_NAMES, explicit_locale, localizer_of
from authapp.web.responses import vary_by

_DOMAIN = "authapp"
_CATALOGUES = Path(__file__).parents[1] / "locale"

_LOCALES: dict[str, str | None] = {
    "en": "en",
    "zh": "zh_Hans",
    "zh-cn": "zh_Hans",
    "zh-hans": "zh_Hans",
    "zh-hant": None,
    "zh-hk": None,
    "zh-mo": None,
    "zh-sg": "zh_Hans",
    "zh-tw": None,
}
"""Language tag (RFC 5646) in lower case -> locale of authapp's translation, or None if authapp has
no translation into this language."""


def negotiate_locale(request: Request) -> str:
    """Return the locale of a request to the site.

    The first of these that names an allowed locale decides:

    1. the query parameter ``_LOCALE_``, or the cookie ``_LOCALE_`` if there is no such parameter,
    2. the ``Accept-Language`` header (RFC 4647 section 3.4, lookup),
    3. the application's default locale.

    Allowed are the locales of authapp's translations, and the default locale. Any other name is
    ignored, because Pyramid would search the disk for each name, and keep the result in memory.

    :returns: a name such as ``en`` or ``zh_Hans``.
    """
    default: str = request.registry.settings["pyramid.default_locale_name"]
    explicit = explicit_locale(request)
    if explicit and (explicit == default or explicit in _LOCALES.values()):
        return explicit
    request.add_response_callback(_vary_by_language)
    # Pyramid's DummyRequest has headers, but no attribute ``accept_language``.
    ranges = create_accept_language_header(request.headers.get("Accept-Language")).parsed or ()
    return _look_up(sorted(ranges, key=lambda each: -each[1]), default)


def _look_up(ranges: list[tuple[str, float]], default: str) -> str:
    """Return the locale of the first language in ``Accept-Language`` for which there is a locale.

    A browser with ``zh-TW`` (traditional characters) sends ``zh-TW, zh``. After ``zh-TW``, the
    range ``zh`` also means traditional characters, so it does not lead to ``zh_Hans``.

    :param ranges: pairs of a language range and its weight, the greatest weight first.
    :param default: the locale to return if there is no locale for any of the languages.
    """
    locales = {**_LOCALES, default.replace("_", "-").lower(): default}
    for name, weight in ranges:
        tag = name.lower()
        while tag and tag not in locales:
            tag = tag.rpartition("-")[0]
        found = locales.get(tag)
        if tag and found is None:
            locales["zh"] = None
        elif found and weight > 0:
            return found
    return default


def _vary_by_language(request: Request, response: Response) -> None:
    """Add ``Accept-Language`` to ``Vary``, because the language of the response depends on it."""
    vary_by(response, "Accept-Language")


def add_other_names(event: ApplicationCreated) -> None:
    """Let applications use the translation ``zh_Hans`` under other names, such as ``zh_CN``.

    If an application has its own translation under one of these names, its translation is kept.
    """
    registry = event.app.registry
    directories = registry.queryUtility(ITranslationDirectories, default=[])
    file = _CATALOGUES / "zh_Hans" / "LC_MESSAGES" / f"{_DOMAIN}.mo"
    for name in OTHER_NAMES:
        localizer = make_localizer(name, directories)
        if localizer.translate("Sign in", domain=_DOMAIN) == "Sign in":
            with file.open("rb") as catalogue:
                localizer.translations.add(Translations(catalogue, _DOMAIN))
            registry.registerUtility(localizer, ILocalizer, name=name)


def includeme(config: Configurator) -> None:
    """Add authapp's translations. No locale negotiator is set: the application may set one."""
    config.add_translation_dirs("authapp:locale")
    config.add_request_method(localizer_of, "authapp_localizer", reify=True)
    config.add_subscriber(add_other_names, ApplicationCreated)
