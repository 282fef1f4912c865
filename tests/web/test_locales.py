"""The language of authapp's pages. The site ``egg:authapp`` reads ``Accept-Language``. An
application that includes authapp chooses the language with its own locale negotiator."""

import functools
import io
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.events import NewRequest
from pyramid.interfaces import ILocaleNegotiator
from pyramid.request import Request
from pyramid.router import Router

from authapp.web.localization import _look_up
from servers import Served
from site_under_test import Site, application, application_with_view, settings

ENGLISH, CHINESE = 'lang="en"', 'lang="zh-Hans"'


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("zh", CHINESE),
        ("zh-CN,zh;q=0.9,en;q=0.8", CHINESE),
        ("zh-SG", CHINESE),
        ("zh-Hans-HK", CHINESE),
        ("ZH-hans", CHINESE),
        ("fr, zh-CN;q=0.9, en;q=0.8", CHINESE),
        ("zh-TW;q=0.5, zh-CN;q=0.8", CHINESE),
        ("zh-TW, zh-CN;q=0.8", CHINESE),
        ("zh-TW", ENGLISH),
        ("zh-TW,zh;q=0.9,en-US;q=0.8,en;q=0.7", ENGLISH),
        ("zh-HK,zh;q=0.9", ENGLISH),
        ("zh-MO", ENGLISH),
        ("zh-Hant-CN", ENGLISH),
        ("zh-hant", ENGLISH),
        ("zh;q=0", ENGLISH),
        ("en-GB, zh;q=0.5", ENGLISH),
        ("fr", ENGLISH),
        ("*", ENGLISH),
        ("nonsense;;;=", ENGLISH),
        ("", ENGLISH),
    ],
)
def test_the_site_reads_accept_language(site: Site, accept: str, expected: str) -> None:
    answer = site.get("/login", headers={"Accept-Language": accept})
    assert expected in answer
    assert "Accept-Language" in answer.headers["Vary"]


def test_a_default_locale_is_a_language_like_the_others() -> None:
    for accept, expected in {"de-DE": "de", "en": "en", "fr": "de", "zh": "zh_Hans"}.items():
        assert _look_up([(accept, 1.0)], "de") == expected
    assert _look_up([("zh-TW", 1.0)], "zh_TW") == "zh_TW"


def test_the_site_accepts_a_language_in_the_query(site: Site) -> None:
    assert CHINESE in site.get("/login?_LOCALE_=zh_Hans", headers={"Accept-Language": "en"})
    assert ENGLISH in site.get("/login?_LOCALE_=zh_TW")


def test_another_application_does_not_read_accept_language(backend: Served) -> None:
    site = application_with_view(backend.url, lambda request: request.locale_name)
    headers = {"Accept-Language": "zh-CN"}
    assert site.get("/view", headers=headers).json == "en"
    answer = site.get("/login", headers=headers)
    assert ENGLISH in answer
    assert "Accept-Language" not in answer.headers["Vary"]
    assert CHINESE in site.get("/login?_LOCALE_=zh_Hans", headers=headers)


def negotiate(request: Request) -> str:
    return request.headers["X-Locale"]


@functools.cache
def negotiating(first: bool) -> Router:
    """Return an application that sets its negotiator before or after it includes authapp."""
    with Configurator(settings=settings("http://127.0.0.1:9")) as config:
        if first:
            config.set_locale_negotiator(negotiate)
        config.include("authapp")
        if not first:
            config.set_locale_negotiator(negotiate)
        return config.make_wsgi_app()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("name", "chinese"),
    [
        ("zh_Hans", True),
        ("zh", True),
        ("zh_CN", True),
        ("zh_Hans_CN", True),
        ("zh_TW", False),
        ("zh_HK", False),
        ("zh_Hant", False),
        ("de", False),
    ],
)
def test_the_applications_negotiator_decides(name: str, chinese: bool, first: bool) -> None:
    site, headers = Site(wsgi=negotiating(first)), {"X-Locale": name}
    assert ("登录" in site.get("/login", headers=headers)) is chinese
    headers["Accept"] = "application/json"
    json: Any = site.get("/account", headers=headers, status=401).json
    assert json["detail"].startswith("此操作需要登录") is chinese


def test_the_applications_own_translations_are_kept(backend: Served, tmp_path: Any) -> None:
    from babel.messages.catalog import Catalog
    from babel.messages.mofile import write_mo

    catalogue = Catalog(locale="zh_CN", domain="authapp")
    catalogue.add("Sign in", "进入")
    folder = tmp_path / "zh_CN" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    with (folder / "authapp.mo").open("wb") as file:
        write_mo(file, catalogue)

    def more(config: Configurator) -> None:
        config.add_translation_dirs(str(tmp_path))
        config.set_locale_negotiator(lambda request: "zh_CN")

    assert "进入" in application(backend.url, more).get("/login")


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize("path", ["/nowhere", "/view", "/broken", "/forbidden", "/login"])
def test_an_error_response_does_not_read_the_form(backend: Served, path: str, accept: str) -> None:
    """An error response does not read the form, even in an application without a locale negotiator.
    Pyramid's own negotiator would parse it. A form of 8 MB took eleven seconds of processor
    time."""
    site = application(backend.url, _pages)
    body = io.BytesIO(b"a=1&" * 1000)
    environ = {"CONTENT_TYPE": "application/x-www-form-urlencoded", "CONTENT_LENGTH": "8000000"}
    answer = site.request(
        f"{path}?_LOCALE_=zh_Hans",
        method="POST",
        headers={"Accept": accept},
        environ={**environ, "wsgi.input": body},
        status="*",
    )
    assert body.tell() == 0
    if answer.status_int != 303:
        assert CHINESE in answer if accept == "text/html" else "。" in answer.json["detail"]


def _pages(config: Configurator) -> None:
    for name, options in _VIEWS.items():
        config.add_route(name, f"/{name}")
        config.add_view(_fail, route_name=name, require_csrf=False, **options)
    config.include("authapp.web.views.errors")


_VIEWS: dict[str, dict[str, str]] = {
    "broken": {},
    "forbidden": {"permission": "nobody's"},
    "view": {"request_method": "GET"},
}


def _fail(request: Request) -> None:
    raise RuntimeError("broken")


def test_a_language_that_the_application_has_set_is_the_language_of_the_error_page(
    backend: Served,
) -> None:
    def more(config: Configurator) -> None:
        config.add_subscriber(_speak_chinese, NewRequest)

    site = application(backend.url, more)
    assert CHINESE in site.get("/nowhere?_LOCALE_=en", status=404)
    assert site.app.registry.queryUtility(ILocaleNegotiator) is None


def _speak_chinese(event: NewRequest) -> None:
    event.request._LOCALE_ = "zh_Hans"


def test_pages_and_problems_use_the_language_of_the_request(site: Site) -> None:
    chinese = site.get("/login", headers={"Accept-Language": "fr, zh-CN;q=0.9, en;q=0.8"})
    assert 'lang="zh-Hans"' in chinese.text
    assert "登录" in chinese.text
    assert "Accept-Language" in chinese.headers["Vary"]
    for asked in ("fr", "en-GB, zh;q=0.5", "nonsense;;;=", ""):
        assert "Sign in" in site.get("/login", headers={"Accept-Language": asked}).text
    assert "登录" in site.get("/login?_LOCALE_=zh_Hans").text
    problem = site.get(
        "/account", headers={"Accept-Language": "zh", "Accept": "application/json"}, status=401
    )
    assert problem.json["detail"].startswith("此操作需要登录")
    form = site.get("/login", headers={"Accept-Language": "zh"}).form
    form["username"], form["password"] = "alice", "wrong"
    assert "不匹配" in form.submit(headers={"Accept-Language": "zh"}, status=401).text


@pytest.mark.parametrize("locale", ["%00", "xx", "../../etc", "%ff", "z" * 9000])
def test_unknown_locale_gives_english_pages(site: Site, locale: str) -> None:
    answer = site.get(f"/nowhere?_LOCALE_={locale}", status="*")
    assert answer.status_int in (400, 404)
    assert 'lang="en"' in answer.text
    cookie = {"Cookie": f'_LOCALE_="{locale}"; x="\\000"'}
    assert 'lang="en"' in site.get("/", headers=cookie).text
