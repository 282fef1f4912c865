"""What an application that includes authapp returns if its view fails: docs/pyramid.md."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.request import Request

from authapp.testing import MemoryBackend, session_of, sign_in, use_backend
from site_under_test import Site, add_view, settings

PAGE = {"Accept": "text/html"}

DOCS = (Path(__file__).parents[2] / "docs/pyramid.md").read_text()
SECTION = DOCS.partition("## Exceptions of your views")[2].partition("\n## ")[0]
INCLUDE, OWN = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


def fail(request: Request) -> Any:
    raise LookupError("the view has failed")


def nothing(config: Configurator) -> None:
    pass


def as_documented(config: Configurator) -> None:
    exec(INCLUDE, {"config": config})


@pytest.fixture
def serve(tmp_path: Path, memory_backend: MemoryBackend) -> Callable[..., Site]:
    """Return a function that makes an application whose view fails."""
    (tmp_path / "error.jinja2").write_text("OWN: {{ heading }} {{ id }}")

    def serve(
        development: bool,
        before: Callable[[Configurator], None] = nothing,
        after: Callable[[Configurator], None] = nothing,
    ) -> Site:
        ini = settings("https://backend.invalid", development=str(development).lower())
        with Configurator(settings=ini) as config:
            before(config)
            config.include("authapp")
            config.add_jinja2_search_path(str(tmp_path))
            add_view(config, fail)
            after(config)
            site = Site(wsgi=config.make_wsgi_app())
        use_backend(site.app, memory_backend)
        site.extra_environ["wsgi.url_scheme"] = "https"
        return site

    return serve


def check(site: Site, caplog: pytest.LogCaptureFixture, text: str, line: str) -> None:
    """Assert that the failed view gives an error page, a renewed cookie, and a line in the log."""
    sign_in(site, phase="expired")
    before = session_of(site)
    page = site.get("/view", headers=PAGE, status=500)
    assert text in page
    assert page.headers["X-Request-ID"] in page
    assert session_of(site) != before
    (record,) = (each for each in caplog.records if each.message.startswith(line))
    assert f"[request {page.headers['X-Request-ID']}]" in record.message
    assert "the view has failed" in caplog.text


def test_in_production_a_failed_view_gives_an_error_page(
    serve: Callable[..., Site], caplog: pytest.LogCaptureFixture
) -> None:
    check(serve(False), caplog, "Something went wrong on our side", "InternalError: GET /view")


def test_in_development_the_exception_of_a_view_reaches_a_test(serve: Callable[..., Site]) -> None:
    with pytest.raises(LookupError, match="the view has failed"):
        serve(True).get("/view")


@pytest.mark.parametrize("development", [True, False])
@pytest.mark.parametrize("order", ["before", "after"])
def test_one_line_gives_the_error_page_everywhere(
    serve: Callable[..., Site], caplog: pytest.LogCaptureFixture, development: bool, order: str
) -> None:
    site = serve(development, **{order: as_documented})
    check(site, caplog, "Something went wrong on our side", "InternalError: GET /view")
    assert site.get("/view?x=%ff", headers=PAGE, status=400)


@pytest.mark.parametrize("development", [True, False])
@pytest.mark.parametrize("before", [nothing, as_documented])
def test_the_applications_own_view_for_exceptions_replaces_authapps(
    serve: Callable[..., Site],
    caplog: pytest.LogCaptureFixture,
    development: bool,
    before: Callable[[Configurator], None],
) -> None:
    def own(config: Configurator) -> None:
        exec(OWN, {"config": config, "__name__": "shop"})

    site = serve(development, before, own)
    check(site, caplog, "OWN: Something went wrong on our side.", "broken: /view")
    assert "InternalError" not in caplog.text
    assert "OWN" not in site.get("/nowhere", headers=PAGE, status=404)
    assert "OWN" not in site.get("/account", headers=PAGE, status="*")


def test_a_failed_commit_is_handled_as_a_failed_view(
    serve: Callable[..., Site], caplog: pytest.LogCaptureFixture
) -> None:
    def more(config: Configurator) -> None:
        config.include("pyramid_tm")
        config.add_route("commit", "/commit")
        config.add_view(
            lambda request: request.tm.get().addBeforeCommitHook(fail, (request,)),
            route_name="commit",
            renderer="json",
        )

    page = serve(False, more).get("/commit", headers=PAGE, status=500)
    assert page.headers["X-Request-ID"] in page
    assert "InternalError: GET /commit" in caplog.text


def failing_tween_factory(handler: object, registry: object) -> Callable[[Request], Any]:
    return fail


def test_an_exception_of_a_tween_reaches_the_server(serve: Callable[..., Site]) -> None:
    name = f"{__name__}.failing_tween_factory"
    site = serve(False, after=lambda config: config.add_tween(name))
    with pytest.raises(LookupError):
        site.get("/view")
