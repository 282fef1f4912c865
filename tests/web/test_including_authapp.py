"""An application includes authapp: route prefix, mount point, overrides, introspection and errors
at start-up."""

import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.request import Request
from pyramid.response import Response

from servers import Served
from session.test_session import make
from site_under_test import COOKIE, Site, add_view, application, settings
from web.example_application import OwnBackend, Root


def test_startup_fails_when_no_backend_is_configured() -> None:
    ini = settings("")
    del ini["authapp.backend.url"]
    config = Configurator(settings=ini)
    config.include("authapp")
    with pytest.raises(ConfigurationError, match=r"authapp\.backend\.url is missing"):
        config.commit()


def test_authapp_works_under_a_route_prefix(backend: Served) -> None:
    with Configurator(settings=settings(backend.url)) as config:
        config.include("authapp", route_prefix="auth")
        add_view(config, lambda request: request.identity.id, permission="see")
        config.set_root_factory(Root)
        site = Site(wsgi=config.make_wsgi_app())
    answer = site.get("/view", status=303)
    assert answer.location.endswith("/auth/login?next=%2Fview")
    form = answer.follow().form
    assert form.action == "", "so the browser keeps the fragment"
    form["username"], form["password"] = "alice", "alice-password"
    assert form.submit(status=303).follow().json == 1
    for path in ("/auth/account", "/auth/session", "/auth/health", "/auth/authapp-static/icon.svg"):
        site.get(path, status=200)
    site.get("/account", status=404)
    with time_machine.travel(time.time() + 901):
        assert "Set-Cookie" not in site.get("/auth/authapp-static/authapp.css").headers
    site.post("/auth/logout", {"csrf_token": site.get("/auth/session").json["csrf_token"]})
    assert COOKIE not in site.cookies


def test_authapp_works_below_a_mount_point(backend: Served) -> None:
    site = application(backend.url)
    site.extra_environ["SCRIPT_NAME"] = "/app"
    answer = site.get("/app/account", status=303)
    assert answer.location.endswith("/app/login?next=%2Fapp%2Faccount")
    form = site.get("/app/login?next=/app/logout").form
    assert form["next"].value == "/app/"


@pytest.mark.parametrize(("mount", "prefix"), [("/my app", None), ("/a%b", "pré"), ("", "pré")])
def test_own_paths_are_recognized_with_unusual_mount_points_and_prefixes(
    backend: Served, mount: str, prefix: str | None
) -> None:
    settings_ = settings(backend.url, cors__origins="https://other.example")
    with Configurator(settings=settings_) as config:
        config.include("authapp", route_prefix=prefix)
        site = Site(wsgi=config.make_wsgi_app())
    site.extra_environ["SCRIPT_NAME"] = mount
    prefix = f"/{quote(prefix)}" if prefix else ""
    login = quote(mount) + prefix + "/login"
    assert site.get(f"{prefix}/login", {"next": login}).form["next"].value == f"{mount}/"
    cookie = f"{COOKIE}={site.services.sealer.seal(make(refresh_until=1))}"
    headers = {"Origin": "https://other.example", "Cookie": cookie}
    answer = site.get(f"{prefix}/session", headers=headers)
    assert answer.json["error"] == "RefreshTokenExpired"
    assert answer.headers["Access-Control-Allow-Origin"] == "https://other.example"


def test_the_layout_can_be_overridden(backend: Served, tmp_path: Path) -> None:
    (tmp_path / "layout.jinja2").write_text("<p>Acme</p>{% block content %}{% endblock %}")

    def more(config: Configurator) -> None:
        config.override_asset("authapp:templates/layout.jinja2", str(tmp_path / "layout.jinja2"))

    page = application(backend.url, more).get("/login")
    assert "<p>Acme</p>" in page.text
    assert 'name="password"' in page.text


def test_the_brand_can_be_overridden_on_all_pages(backend: Served, tmp_path: Path) -> None:
    (tmp_path / "brand.jinja2").write_text("<p>Acme</p>")

    def more(config: Configurator) -> None:
        config.override_asset("authapp:templates/brand.jinja2", str(tmp_path / "brand.jinja2"))

    page = application(backend.url, more).get("/login").text
    assert "<p>Acme</p>" in page
    assert 'class="brand"' not in page


def test_views_and_locale_negotiator_can_be_overridden(backend: Served) -> None:
    def more(config: Configurator) -> None:
        config.add_view(
            lambda request: Response("mine"), route_name="authapp.account", request_method="GET"
        )
        config.set_locale_negotiator(lambda request: "zh_Hans")

    site = application(backend.url, more)
    assert site.get("/account").text == "mine"
    assert "登录" in site.get("/login").text


@pytest.mark.servers
def test_introspection_proutes_and_ptweens_list_authapp() -> None:
    config = Configurator(settings=settings("http://127.0.0.1:1", shared="memory:"))
    config.include("authapp")
    config.set_auth_backend(OwnBackend())
    config.commit()
    shown = config.introspector
    assert shown.get("authapp", "settings")["authapp.secret"] == "***"
    titles = {each["introspectable"].title for each in shown.get_category("authapp")}
    assert len(titles) == 2

    scripts = Path(sys.executable).parent
    routes = subprocess.run(
        [scripts / "proutes", "development.ini"], capture_output=True, text=True, check=True
    ).stdout
    for name in ("login", "logout", "session", "account", "health", "home", "admin"):
        assert f"{name} " in routes
    tweens = subprocess.run(
        [scripts / "ptweens", "development.ini"], capture_output=True, text=True, check=True
    ).stdout
    assert "authapp.web.renewal_tween.renewal_tween_factory" in tweens


def test_startup_fails_when_the_redis_extra_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "authapp.store.redis", None)
    config = Configurator(settings=settings("http://127.0.0.1:1", shared="redis://127.0.0.1:1"))
    config.include("authapp")
    with pytest.raises(ConfigurationError, match=r"pip install 'authapp\[redis\]'"):
        config.commit()


def test_default_permission_does_not_apply_to_authapps_own_pages(backend: Served) -> None:
    def more(config: Configurator) -> None:
        config.set_root_factory(Root)
        config.set_default_permission("see")
        add_view(config, lambda request: "seen")

    site = application(backend.url, more)
    for path in ("/login", "/session", "/health", "/logout"):
        site.get(path, status=200)
    site.get("/view", status=303)
    site.sign_in()
    assert site.get("/view").json == "seen"
    site.sign_out()


def test_startup_fails_when_jinja2_autoescape_is_false(backend: Served) -> None:
    config = Configurator(settings=settings(backend.url) | {"jinja2.autoescape": "false"})
    with pytest.raises(ConfigurationError, match="authapp's pages require true"):
        config.include("authapp")


@pytest.mark.parametrize("url", ["redis://h:abc", "redis://127.0.0.1:1?foo=bar"])
def test_startup_fails_when_the_redis_url_is_invalid(url: str) -> None:
    config = Configurator(settings=settings("http://127.0.0.1:1", shared=url))
    config.include("authapp")
    with pytest.raises(ConfigurationError, match=r"authapp\.shared: redis://host:port/db"):
        config.commit()


def test_pyramid_can_prevent_the_hash_in_urls_of_static_files(backend: Served) -> None:
    def urls(request: Request) -> list[str]:
        files = ("authapp:static/page.js", "authapp:static/icon.svg")
        return [request.static_path(each) for each in files]

    def more(config: Configurator) -> None:
        config.add_settings({"pyramid.prevent_cachebust": True})
        add_view(config, urls)

    site = application(backend.url, more)
    assert site.get("/view").json == ["/authapp-static/page.js", "/authapp-static/icon.svg"]
