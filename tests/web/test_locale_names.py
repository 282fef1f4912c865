"""In an application without a locale negotiator, the locale that a client names is used only if
there is a catalogue for it. If there is none, the client gets English (threat O6)."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from pyramid.config import Configurator
from pyramid.interfaces import ILocalizer
from pyramid.request import Request

from site_under_test import Site, application, application_with_view

OWN_PAGE = '{% extends "authapp:templates/layout.jinja2" %}'
OWN_LOGOUT = "<p>{{ request.localizer.locale_name }}</p>"

HOSTILE = ("xx", "zh_TW_x", "en_" + "x" * 5000, "../../locale/zh_Hans", "\0", "ZH_HANS")


@pytest.fixture(scope="module")
def site(tmp_path_factory: Any) -> Site:
    """Return a browser at an application that has:

    - a catalogue for ``de``
    - a page that extends authapp's layout
    - its own ``logout.jinja2`` in place of authapp's. It uses Pyramid's localizer.
    """
    folder: Path = tmp_path_factory.mktemp("own")
    (folder / "page.jinja2").write_text(OWN_PAGE)
    (folder / "logout.jinja2").write_text(OWN_LOGOUT)
    (folder / "locale/de/LC_MESSAGES").mkdir(parents=True)

    def more(config: Configurator) -> None:
        config.include("authapp.web.views.errors")
        config.add_translation_dirs(str(folder / "locale"))
        config.add_jinja2_search_path(str(folder))
        config.override_asset("authapp:templates/logout.jinja2", str(folder / "logout.jinja2"))
        for name, view in {"page": _page, "options": _options}.items():
            config.add_route(name, f"/{name}")
            config.add_view(view, route_name=name, renderer=f"{name}.jinja2", require_csrf=False)

    (folder / "options.jinja2").write_text("{{ request.session_options() }}")
    return application("http://127.0.0.1:9", more)


def _page(request: Request) -> dict[str, str]:
    return {}


_options = _page


def _localizers(site: Site) -> set[str]:
    """Return the names of the localizers that Pyramid keeps in memory."""
    return {name for name, _ in site.app.registry.getUtilitiesFor(ILocalizer)}


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize("way", ["query", "cookie", "form"])
@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/login", {}),
        ("/login", {"user": "alice", "password": "wrong"}),
        ("/login", {"user": "a" * 70_000}),
        ("/logout", {}),
        ("/account", {}),
        ("/nowhere", {}),
        ("/page", {}),
        ("/options", {}),
    ],
)
def test_o6_a_client_can_make_no_localizer_for_a_name_of_its_own(
    site: Site, path: str, fields: dict[str, str], way: str, accept: str
) -> None:
    """Pyramid keeps a localizer for each name for ever. authapp's pages, and pages that use its
    layout or its script, do not let a client choose the name."""
    site.reset()
    token = site.get("/login").forms[0]["csrf_token"].value
    site.get("/page")
    before = _localizers(site)
    headers = {"Accept": accept}
    for name in HOSTILE:
        query = urlencode({"_LOCALE_": name}) if way == "query" else ""
        if way == "cookie":
            site.set_cookie("_LOCALE_", name.replace("\0", "0"))
        if way == "form" or fields:
            form = {"csrf_token": token, "_LOCALE_": name if way == "form" else "", **fields}
            site.post(f"{path}?{query}", form, headers=headers, status="*")
        else:
            site.get(f"{path}?{query}", headers=headers, status="*")
    assert _localizers(site) == before


@pytest.mark.parametrize(
    ("name", "locale"),
    [
        ("de", "de"),
        ("de_AT", "de"),
        ("zh_Hans", "zh-Hans"),
        ("zh_CN", "zh-CN"),
        ("zh_TW", "en"),
        ("fr", "en"),
        ("", "en"),
    ],
)
@pytest.mark.parametrize("path", ["/login", "/page"])
def test_a_client_can_name_a_locale_that_has_a_catalogue(
    site: Site, path: str, name: str, locale: str
) -> None:
    site.reset()
    assert f'lang="{locale}"' in site.get(f"{path}?_LOCALE_={name}")
    site.set_cookie("_LOCALE_", name)
    assert f'lang="{locale}"' in site.get(path)


def test_a_replaced_template_gets_the_same_locale(site: Site) -> None:
    site.reset()
    for name, locale in {"zh_Hans": "zh_Hans", "xx": "en"}.items():
        assert f"<p>{locale}</p>" in site.get(f"/logout?_LOCALE_={name}")


def test_the_locale_of_the_application_s_own_pages_does_not_change() -> None:
    """If the application has no catalogues, authapp does not know its locales. authapp's pages are
    then in English, but ``request.locale_name`` is still the locale that the client names."""

    def name(request: Request) -> list[str]:
        before = request.authapp_localizer.locale_name
        return [before, request.locale_name]

    site = application_with_view("http://127.0.0.1:9", name)
    assert site.get("/view?_LOCALE_=fr").json == ["en", "fr"]
    site.set_cookie("_LOCALE_", "de_AT")
    assert site.get("/view").json == ["en", "de_AT"]
