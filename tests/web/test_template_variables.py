"""Templates have the variables ``identity``, ``validity`` and ``session_error``: contract section
5."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyramid import testing
from pyramid.config import Configurator
from pyramid.events import BeforeRender
from pyramid.renderers import render
from pyramid.request import Request

from servers import Served
from site_under_test import Site, application

PAGE = """
{%- macro inner(name) %}{{ identity.name if identity else "nobody" }} {{ name }}{% endmacro -%}
{{ inner("in a macro") }}, {% for request in [1] %}{% include "part.jinja2" %}{% endfor %},
{{- validity is none }}, {{ session_error or "no error" }}
"""


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    (tmp_path / "page.jinja2").write_text(PAGE)
    (tmp_path / "part.jinja2").write_text("{{ identity.id }} in a part")
    return tmp_path


def site_with_page(
    backend: Served,
    templates: Path,
    more: Callable[[Configurator], None] = lambda config: None,
    renderer: str = "page.jinja2",
    **values: Any,
) -> Site:
    """Return an application with a page at ``/view``.

    :param templates: the folder of the template.
    :param more: a function that adds more to the application.
    :param values: the values that the view returns.
    """

    def view(request: Request) -> dict[str, Any]:
        return values

    def add(config: Configurator) -> None:
        more(config)
        config.add_jinja2_search_path(str(templates))
        config.add_route("view", "/view")
        config.add_view(view, route_name="view", renderer=renderer)

    return application(backend.url, add)


def test_jinja2_macros_and_includes_see_the_variables(backend: Served, templates: Path) -> None:
    site = site_with_page(backend, templates)
    assert site.get("/view").text == "nobody in a macro,  in a part,True, no error"
    site.sign_in()
    assert site.get("/view").text == "alice in a macro, 1 in a part,False, no error"


def test_values_of_the_view_override_the_variables(backend: Served, templates: Path) -> None:
    site = site_with_page(backend, templates, identity={"name": "its own", "id": 7})
    site.sign_in()
    assert site.get("/view").text.startswith("its own in a macro, 7 in a part")


def test_before_render_subscribers_see_the_variables(backend: Served, templates: Path) -> None:
    seen: list[dict[str, Any]] = []
    site = site_with_page(
        backend,
        templates,
        lambda config: config.add_subscriber(lambda event: seen.append(dict(event)), BeforeRender),
    )
    site.sign_in()
    site.get("/view")
    assert seen[-1]["identity"].name == "alice"
    assert seen[-1]["session_error"] is None


def test_other_renderers_get_the_variables(backend: Served, templates: Path) -> None:
    def write(info: Any) -> Any:
        return lambda value, system: f"{info.name}: {system['identity'].name}"

    def more(config: Configurator) -> None:
        config.add_renderer(".mako", write)

    site = site_with_page(backend, templates, more, "page.mako")
    site.sign_in()
    assert site.get("/view").text == "page.mako: alice"


def test_user_is_anonymous_when_rendering_without_a_request(
    backend: Served, templates: Path
) -> None:
    site = site_with_page(backend, templates)
    with testing.testConfig(registry=site.app.registry):
        assert render("page.jinja2", {}) == "nobody in a macro,  in a part,True, no error"
