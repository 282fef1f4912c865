"""What users see on authapp's pages: links, waiting times, names, titles, ids, and hashed file
names."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPServiceUnavailable
from pyramid.request import Request

from authapp.settings.ini import SettingsError
from authapp.settings.settings import Settings
from authapp.web.responses import wait_sentence
from servers import Served
from site_under_test import Site, add_view, application, settings

HTML = {"Accept": "text/html"}


def styled(site: Site) -> str:
    """Return the URL of the stylesheet that a page uses."""
    found = re.search('href="([^"]+authapp.css)"', site.get("/login").text)
    assert found
    return found[1]


def test_files_have_a_hash_in_their_url_and_are_kept_for_a_year(site: Site) -> None:
    url = styled(site)
    assert re.fullmatch("/authapp-static/[0-9a-f]{12}/authapp.css", url)
    kept = site.get(url).headers
    assert kept["Cache-Control"] == "public, max-age=31536000, immutable"
    assert "Set-Cookie" not in kept
    script = url.replace("authapp.css", "session.js")
    assert "immutable" in site.get(script).headers["Cache-Control"]


def test_a_hash_of_another_version_is_not_kept(site: Site) -> None:
    other = site.get("/authapp-static/0123456789ab/authapp.css")
    assert other.headers["Cache-Control"] == "no-cache"
    assert "max-age=0" in site.get("/authapp-static/authapp.css").headers["Cache-Control"]
    site.get("/authapp-static/0123456789ab/nothing.css", status=404)
    site.get("/authapp-static/0123456789ab/../../settings/ini.py", status=404)


def test_the_hash_changes_with_a_file_that_the_application_overrides(
    backend: Served, tmp_path: Path
) -> None:
    (tmp_path / "own.css").write_text("body { color: red }")

    def override(config: Configurator) -> None:
        config.override_asset("authapp:static/authapp.css", str(tmp_path / "own.css"))

    own, plain = application(backend.url, override), application(backend.url)
    assert styled(own) != styled(plain)
    assert own.get(styled(own)).text == "body { color: red }"


def test_files_of_the_application_keep_their_urls(backend: Served, tmp_path: Path) -> None:
    (tmp_path / "its.css").write_text("")
    urls: list[str] = []

    def more(config: Configurator) -> None:
        config.add_static_view("its", str(tmp_path))
        add_view(config, lambda request: urls.append(request.static_path(f"{tmp_path}/its.css")))

    application(backend.url, more).get("/view")
    assert urls == ["/its/its.css"]


def test_the_hash_is_computed_once_in_production(backend: Served) -> None:
    ini = settings("https://auth.example", development="false")
    with Configurator(settings=ini) as config:
        config.include("authapp")
        site = Site(wsgi=config.make_wsgi_app())
    assert styled(site) == styled(site)


def test_links_are_below_the_form(backend: Served) -> None:
    links = "Forgot password? = https://example.com/reset?a=b\n Join = /join\n Ask = mailto:a@b.c"
    page = application(backend.url, login__links=links).get("/login")
    for label, url in (("Forgot password?", "https://example.com/reset?a=b"), ("Join", "/join")):
        assert f'<a href="{url}">{label}</a>' in page.text
    assert '<a href="mailto:a@b.c">Ask</a>' in page.text
    assert 'class="links"' not in application(backend.url).get("/login").text


@pytest.mark.parametrize(
    "line",
    [
        "no url",
        "= /x",
        "Bad = javascript:alert(1)",
        "Bad = //evil.example",
        "Bad = /\\evil.example",
        "Bad = https://",
        "Bad = reset",
        "Bad = /a b",
    ],
)
def test_other_links_are_refused_at_start(line: str) -> None:
    with pytest.raises(SettingsError, match=r"authapp\.login\.links.*lines such as"):
        Settings.from_ini(settings("http://x.invalid", login__links=line))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.1, "Try again in a moment."),
        (2, "Try again in a moment."),
        (2.5, "Try again in 3 seconds."),
        (90, "Try again in 90 seconds."),
        (91, "Try again in 2 minutes."),
        (5400, "Try again in 90 minutes."),
        (5401, "Try again in 2 hours."),
    ],
)
def test_a_wait_is_told_in_words(seconds: float, words: str) -> None:
    assert wait_sentence(seconds).interpolate() == words


def test_too_many_sign_ins_tell_how_long_to_wait(backend: Served) -> None:
    site = application(backend.url, login__rate="1/minute")
    site.sign_in(password="wrong", status=401)
    page = site.sign_in(password="wrong", status=429)
    seconds = page.headers["Retry-After"]
    assert "There were too many failed sign-in attempts. <span" in page.text
    assert f"Try again in {seconds} seconds." in page.text
    assert f'data-wait="{seconds}"' in page.text
    assert page.form["next"].value == "/"


def test_titles_and_the_brand_have_the_name_of_the_site(backend: Served) -> None:
    named = application(backend.url, site__name="Ours & Theirs").get("/login").text
    assert "<title>Sign in · Ours &amp; Theirs</title>" in named
    assert 'alt="" width="24" height="24"> <span>Ours &amp; Theirs</span></a>' in named
    assert "<title>Sign in · localhost</title>" in application(backend.url).get("/login").text


def test_the_sign_in_page_has_no_link_to_itself_and_others_keep_next(site: Site) -> None:
    assert "Sign in</a>" not in site.get("/login").text
    missing = site.get("/nowhere?a=b", headers=HTML, status=404).text
    assert '<a class="button quiet" href="/login?next=%2Fnowhere%3Fa%3Db">Sign in</a>' in missing
    assert '<a class="button quiet" href="/login">Sign in</a>' in site.get("/").text
    undecodable = Request.blank("/", headers=HTML)
    undecodable.environ["PATH_INFO"] = "/\xff"
    page = undecodable.get_response(site.app)
    assert (page.status_code, 'href="/login">Sign in</a>' in page.text) == (400, True)


def test_a_stale_sign_in_form_keeps_next(site: Site) -> None:
    fields = {"csrf_token": "old", "username": "alice", "password": "alice-password"}
    page = site.post("/login?next=%2Faccount", fields, headers=HTML, status=403)
    assert 'href="/login?next=%2Faccount">Try again</a>' in page.text


def test_sign_out_can_be_cancelled(site: Site) -> None:
    site.sign_in()
    back = {"Referer": "http://localhost/account?a=b"}
    assert 'href="/account?a=b">Cancel</a>' in site.get("/logout", headers=back).text
    assert 'href="/">Cancel</a>' in site.get("/logout", headers={"Referer": "http://x/"}).text
    assert "on all devices" in site.get("/logout").text
    assert "You are not signed in" in Site(wsgi=site.app).get("/logout").text


def test_the_account_page_has_tokens_in_development_only(backend: Served) -> None:
    site = application(backend.url)
    site.sign_in()
    page = site.get("/account").text
    assert "For developers" in page
    assert "Renew now" in page
    ini = settings("https://auth.example", development="false")
    with Configurator(settings=ini) as config:
        config.include("authapp")
        config.add_route("authapp.account_sessions", "/account/sessions")
        production = Site(wsgi=config.make_wsgi_app())
    production.extra_environ["wsgi.url_scheme"] = "https"
    token = site.opened()
    sealed = production.services.sealer.seal(token)
    cookie = {"Cookie": f"__Host-authapp.session={sealed}"}
    page = production.get("/account", headers=cookie).text
    for text in ("For developers", "Renew now", "token_type", "renewed so far"):
        assert text not in page
    assert "Signed in until" in page
    assert '<a href="/account/sessions">Your sessions</a>' in page


@pytest.fixture
def kept(backend: Served) -> Iterator[Site]:
    """Yield a site with an expired session, which is kept because the backend cannot renew it."""
    site = Site(backend.url, backend__refresh="POST /nowhere")
    site.sign_in()
    with time_machine.travel(site.opened().validity.valid_until + 1, tick=True):
        yield site


def test_a_kept_session_keeps_the_name_and_does_not_ask_to_sign_in(kept: Site) -> None:
    home = kept.get("/").text
    assert "We can't check your sign-in right now" in home.replace("&#39;", "'")
    assert "still signed in as alice" in home
    assert ">Sign in</a>" not in home
    page = kept.get("/account", headers=HTML, status=503).text
    assert "We can't check your sign-in right now" in page.replace("&#39;", "'")
    assert "still signed in as alice" in page
    assert ">Sign in</a>" not in page
    assert '<a href="/login?next=%2Faccount">If this lasts, sign in again.</a>' in page


def test_error_pages_show_the_request_id_and_no_code(site: Site) -> None:
    answer = site.get("/nowhere", headers=HTML | {"X-Request-ID": "given-1"}, status=404)
    assert answer.headers["X-Request-ID"] == "given-1"
    assert "<code>given-1</code>" in answer.text
    text = re.sub("<[^>]*>", "", answer.text.partition("<main")[2])
    assert "NotFound" not in text
    assert "404" not in text


def site_with_a_broken_view(backend: Served) -> Site:
    def broken(request: Request) -> Any:
        raise ValueError

    def more(config: Configurator) -> None:
        add_view(config, broken)
        config.include("authapp.web.views.errors")

    return application(backend.url, more)


def test_a_request_has_one_id_in_the_response_the_view_and_the_audit_log(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "authapp.audit")
    site = application(
        backend.url, lambda config: add_view(config, lambda request: request.request_id)
    )
    answer = site.get("/view", headers={"Accept": "application/json"})
    assert answer.json == answer.headers["X-Request-ID"]
    refused = site.sign_in("alice", "wrong", status=401)
    (line,) = (json.loads(each) for each in caplog.messages)
    assert line["request"] == refused.headers["X-Request-ID"]


def test_every_response_has_an_id_and_the_log_has_it_too(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    site = site_with_a_broken_view(backend)
    caplog.set_level(logging.INFO)
    for path, status in (
        ("/view", 500),
        ("/login", 200),
        ("/health", 200),
        ("/authapp-static/authapp.css", 200),
        ("/account", 303),
    ):
        answer = site.get(path, status=status)
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])
        if status == 500:
            assert f"InternalError: GET /view [request {answer.headers['X-Request-ID']}]" in (
                caplog.text
            )
    logging.getLogger("authapp.other").warning("after")
    assert "after\n" in caplog.text


def test_only_pages_that_may_work_later_offer_to_try_again(backend: Served) -> None:
    site = site_with_a_broken_view(backend)
    page = site.get("/view?a=b", headers=HTML, status=500).text
    assert '<a class="button" href="/view?a=b">Try again</a>' in page
    assert "Try again</a>" not in site.get("/nowhere", headers=HTML, status=404).text


def test_the_key_of_drafts_is_for_the_user_alone(site: Site) -> None:
    assert "draft_key" not in site.get("/session").json
    site.sign_in("alice")
    first = site.get("/session").json["draft_key"]
    site.sign_out()
    site.sign_in("alice")
    assert site.get("/session").json["draft_key"] == first
    site.sign_out()
    site.sign_in("bob")
    assert site.get("/session").json["draft_key"] != first


def test_all_templates_work_with_strict_undefined(backend: Served) -> None:
    def away(request: Request) -> Any:
        raise HTTPServiceUnavailable()

    ini = settings(backend.url, login__links="Join = /join", login__rate="1/minute")
    ini |= {"jinja2.undefined": "strict"}
    with Configurator(settings=ini) as config:
        config.include("authapp")
        config.include("authapp.web.views.pages")
        add_view(config, away)
        site = Site(wsgi=config.make_wsgi_app())
    for path, status in (("/", 200), ("/login", 200), ("/logout", 200), ("/nowhere", 404)):
        site.get(path, headers=HTML, status=status)
    site.get("/view", headers=HTML, status=503)
    site.sign_in(password="wrong", status=401)
    site.sign_in(password="wrong", status=429)
    site.sign_in("bob", status=303)
    for path, status in (("/", 200), ("/account", 200), ("/logout", 200), ("/admin", 403)):
        site.get(path, headers=HTML, status=status)
    options = re.search('name="authapp" content="([^"]+)"', site.get("/").text)
    assert options
    assert json.loads(options[1].replace("&#34;", '"').replace("&#39;", "'"))["who"] == "bob"


def test_sign_in_page_shows_the_passwords_of_the_embedded_issuer() -> None:
    import authapp
    from servers import ISSUER_SETTINGS

    ini = settings("embedded:", backend__verify="jwks:embedded:") | ISSUER_SETTINGS
    site = Site(wsgi=authapp.main({}, **ini))
    assert "carol-password" in site.get("/login").text
    site.sign_in("carol")
    assert site.get("/session").json["user"]["roles"] == []
    assert site.get("/health?deep=1").json["backend"] == "ok"
    restarted = Site(wsgi=authapp.main({}, **ini))
    restarted.cookiejar = site.cookiejar
    assert restarted.get("/session").json["user"]["id"] == 3
