"""authapp works in an application whose request methods and predicates have authapp's names."""

import uuid
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.request import Request

from servers import Served
from site_under_test import COOKIE, Site, add_view, application, settings

NAMES = ("backend", "request_id", "session_error", "session_options", "validity")
JSON = {"Accept": "application/json"}


class Readable:
    """The application's own view predicate."""

    def __init__(self, wanted: str, config: Configurator) -> None:
        self.wanted = wanted

    def text(self) -> str:
        return f"readable = {self.wanted}"

    phash = text

    def __call__(self, context: object, request: Request) -> bool:
        return True


@pytest.mark.parametrize("value", [uuid.uuid4(), None, 5, "a text"])
def test_request_methods_of_the_application_do_not_break_authapps_pages(
    backend: Served, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def more(config: Configurator) -> None:
        for name in NAMES:
            config.add_request_method(lambda request: value, name, reify=True)
        config.add_view_predicate("readable", Readable)
        add_view(config, _tell, readable="by everybody", permission="see")
        config.include("authapp.web.views.errors")

    site = application(backend.url, more)
    for name in NAMES:
        (line,) = (each for each in caplog.messages if each.endswith(f"request.{name}"))
        assert line.startswith(f"NameTaken: {__file__}, line ")
    caplog.clear()
    _use(site)
    assert site.get("/view", status=403).headers["X-Request-ID"]
    site.set_cookie(COOKIE, "nonsense")
    assert "reason=SessionInvalid" in site.get("/view", status=303).location
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


def test_authapp_works_in_an_application_without_introspection(backend: Served) -> None:
    config = Configurator(settings=settings(backend.url), introspection=False)
    config.include("authapp")
    Site(wsgi=config.make_wsgi_app()).get("/login", status=200)


def _tell(request: Request) -> str:
    return str(request.validity)


def _use(site: Site) -> None:
    """Visit authapp's pages, and cause error pages."""
    site.get("/login")
    for headers in ({}, JSON):
        site.post("/login", headers=headers, status=403)
        site.get("/nowhere", headers=headers, status=404)
        site.get("/login?next=%ff", headers=headers, status=400)
    assert site.get("/session").json["validity"] is None
    site.sign_in()
    assert site.get("/session").json["validity"]["valid_until"]
    site.get("/account")
    site.get("/account/sessions")
    site.post("/session", headers={"X-CSRF-Token": site.csrf()}, status=200)


def test_names_that_the_application_does_not_use_are_not_logged(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    application(backend.url, lambda config: config.add_request_method(_tell, "tell"))
    assert "NameTaken" not in caplog.text
