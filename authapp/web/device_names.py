"""Names a device for people, such as "Firefox on Linux", from a ``User-Agent`` header."""

from functools import lru_cache

from pyramid.i18n import TranslationStringFactory
from pyramid.request import Request

from authapp.web.request_locale import localizer_of

_ = TranslationStringFactory("authapp")


def device_name(request: Request, agent: str) -> str:
    """Return the name of a device, such as "Firefox on Linux", in the language of a request.

    :param agent: a ``User-Agent`` header. A client can send any string. The caller must have
        limited its length.
    """
    browser, system = browser_and_system(agent)
    if browser and system:
        text = _("${browser} on ${system}", mapping={"browser": browser, "system": system})
        return str(localizer_of(request).translate(text))
    return browser or system or str(localizer_of(request).translate(_("Unknown device")))


@lru_cache(maxsize=256)
def browser_and_system(agent: str) -> tuple[str, str]:
    """Return the names of the browser and of the operating system. An unknown name is ""."""
    # Importing ua_parser takes a quarter of a second, and only the list of sessions needs it.
    from ua_parser import parse

    found = parse(agent)
    browser = found.user_agent.family if found.user_agent else ""
    system = found.os.family if found.os else ""
    if system == "iOS" and found.device:
        system = found.device.family  # iPhone or iPad
    return browser.replace("Mobile", "").strip(), system
