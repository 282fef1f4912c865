"""A call of the backend whose response is lost, so that the backend may have done what it asks.

The view is the example of docs/pyramid.md.
"""

import re
from pathlib import Path
from typing import Any

import requests
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from authapp.testing import sign_in, use_api
from eventually import eventually
from site_under_test import application

DOCS = (Path(__file__).parents[2] / "docs/pyramid.md").read_text()
SECTION = DOCS.partition("## Calling the backend")[2].partition("\n## ")[0]
EXAMPLE = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)[-1]

FORM = """<form method="post">{{ notice }}
<input name="csrf_token" value="{{ get_csrf_token() }}"><input name="key" value="{{ key }}">
<input name="item" value="{{ item }}"></form>"""


def test_an_order_whose_response_was_lost_is_stored_once(tmp_path: Path) -> None:
    (tmp_path / "order.jinja2").write_text(FORM)
    orders: dict[str, Any] = {}
    lost = [True]

    def api(environ: Any, start_response: Any) -> Any:
        request = Request(environ)
        orders.setdefault(request.headers["Idempotency-Key"], request.json)
        if lost:
            raise requests.ReadTimeout("the response is lost")
        return Response(status=201)(environ, start_response)

    def more(config: Configurator) -> None:
        exec(EXAMPLE, views := {})  # type: ignore[var-annotated]
        config.add_jinja2_search_path(str(tmp_path))
        config.add_route("order", "/order")
        for name, method in (("new_order", "GET"), ("create_order", "POST")):
            options = {"route_name": "order", "renderer": "order.jinja2", "request_method": method}
            config.add_view(views[name], **options)

    site = application("http://backend.invalid", more)
    use_api(site.app, api)
    sign_in(site, id=1)
    form = site.get("/order").form
    form["item"] = "tea"
    page = form.submit(status=503)
    assert "may have arrived" in page
    assert (page.form["key"].value, page.form["item"].value) == (form["key"].value, "tea")
    lost.clear()
    eventually(lambda: page.form.submit(status="*").status_int == 303)
    assert orders == {form["key"].value: {"item": "tea"}}
