"""The language of authapp's pages. An application chooses it, and the site reads
``Accept-Language``."""

from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.request import Request

from authapp.web.localization import _look_up
from servers import Served
from site_under_test import Site, add_view, application, settings

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
    site = application(
        backend.url, lambda config: add_view(config, lambda request: request.locale_name)
    )
    headers = {"Accept-Language": "zh-CN"}
    assert site.get("/view", headers=headers).json == "en"
    answer = site.get("/login", headers=headers)
    assert ENGLISH in answer
    assert "Accept-Language" not in answer.headers["Vary"]
    assert CHINESE in site.get("/login?_LOCALE_=zh_Hans", headers=headers)


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
def test_the_applications_negotiator_decides(
    backend: Served, name: str, chinese: bool, first: bool
) -> None:
    def negotiate(request: Request) -> str:
        return name

    ini = settings(backend.url)
    with Configurator(settings=ini) as config:
        if first:
            config.set_locale_negotiator(negotiate)
            config.include("authapp")
        else:
            config.include("authapp")
            config.set_locale_negotiator(negotiate)
        site = Site(wsgi=config.make_wsgi_app())
    assert ("登录" in site.get("/login")) is chinese
    json: Any = site.get("/account", headers={"Accept": "application/json"}, status=401).json
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
