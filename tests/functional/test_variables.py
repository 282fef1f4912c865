"""Every template sees ``identity``, ``validity`` and ``session_error``: contract section 5."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jinja2.runtime import Context
from pyramid import testing
from pyramid.config import Configurator
from pyramid.events import BeforeRender, NewRequest
from pyramid.renderers import render
from pyramid.request import Request

from backends import Served
from site_under_test import Site, application

PAGE = """
{%- macro inner(name) %}{{ identity.name if identity else "nobody" }} {{ name }}{% endmacro -%}
{{ inner("in a macro") }}, {% include "part.jinja2" %}, {{ validity is none }},
{{- session_error or "no error" }}, {{ unknown is defined }}, {{ identity is defined }}
"""


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    (tmp_path / "page.jinja2").write_text(PAGE)
    (tmp_path / "page.html").write_text(PAGE)
    (tmp_path / "part.jinja2").write_text("{{ identity.id }} in a part")
    return tmp_path


def page_of(
    backend: Served,
    templates: Path,
    more: Callable[[Configurator], None] = lambda config: None,
    renderer: str = "page.jinja2",
    **values: Any,
) -> Site:
    """An application with this one page."""

    def view(request: Request) -> dict[str, Any]:
        return values

    def add(config: Configurator) -> None:
        more(config)
        for name in (".jinja2", ".html"):
            config.add_jinja2_renderer(name)
            config.add_jinja2_search_path(str(templates), name)
        config.add_route("view", "/view")
        config.add_view(view, route_name="view", renderer=renderer)

    return application(backend.url, add)


def listen(config: Configurator) -> None:
    config.add_subscriber(lambda event: None, NewRequest)


class Shouting(Context):
    def resolve_or_missing(self, key: str) -> Any:
        return "there" if key == "unknown" else super().resolve_or_missing(key)


def shout(config: Configurator) -> None:
    def set_class() -> None:
        config.get_jinja2_environment().context_class = Shouting

    config.action("shout", set_class, order=999)


@pytest.mark.parametrize("renderer", ["page.jinja2", "page.html"])
@pytest.mark.parametrize(("more", "spared"), [(lambda config: None, True), (listen, False)])
def test_they_do_with_and_without_events(
    backend: Served, templates: Path, more: Any, spared: bool, renderer: str
) -> None:
    site = page_of(backend, templates, more, renderer)
    assert site.app.registry.has_listeners is not spared
    assert site.get("/view").text.split(", ") == [
        "nobody in a macro",
        " in a part",
        "True,no error",
        "False",
        "True",
    ]
    site.sign_in()
    assert site.get("/view").text.startswith("alice in a macro, 1 in a part, False,no error")


def test_what_a_view_returns_comes_first(backend: Served, templates: Path) -> None:
    site = page_of(backend, templates, identity={"name": "its own", "id": 7})
    site.sign_in()
    assert site.get("/view").text.startswith("its own in a macro, 7 in a part")


def test_a_context_of_the_applications_own_stays(backend: Served, templates: Path) -> None:
    site = page_of(backend, templates, shout)
    site.sign_in()
    text = site.get("/view").text
    assert text.startswith("alice in a macro")
    assert text.endswith("True, True")


def test_subscribers_see_them_too(backend: Served, templates: Path) -> None:
    seen: list[dict[str, Any]] = []
    site = page_of(
        backend,
        templates,
        lambda config: config.add_subscriber(lambda event: seen.append(dict(event)), BeforeRender),
    )
    site.sign_in()
    site.get("/view")
    assert seen[-1]["identity"].name == "alice"
    assert seen[-1]["session_error"] is None


def test_whoever_subscribes_later_hears_of_everything(backend: Served, templates: Path) -> None:
    site = page_of(backend, templates)
    heard: list[Any] = []
    site.app.registry.registerHandler(heard.append, (NewRequest,))
    site.sign_in()
    assert site.get("/view").text.startswith("alice in a macro")
    assert heard


def test_templates_of_another_kind_see_them(backend: Served, templates: Path) -> None:
    def write(info: Any) -> Any:
        return lambda value, system: f"{info.name}: {system['identity'].name}"

    def more(config: Configurator) -> None:
        config.add_renderer(".mako", write)

    site = page_of(backend, templates, more, "page.mako")
    site.sign_in()
    assert site.get("/view").text == "page.mako: alice"


@pytest.mark.parametrize("more", [lambda config: None, listen])
def test_nobody_is_signed_in_where_there_is_no_request(
    backend: Served, templates: Path, more: Any
) -> None:
    site = page_of(backend, templates, more)
    with testing.testConfig(registry=site.app.registry):
        assert render("page.jinja2", {}).startswith("nobody in a macro,  in a part, True,no error")
