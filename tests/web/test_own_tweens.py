"""Applications with tweens of their own: the example of docs/pyramid.md."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden
from pyramid.interfaces import ITweens
from pyramid.request import Request
from pyramid.tweens import EXCVIEW

from authapp.testing import MemoryBackend, sign_in, use_backend
from site_under_test import Site, add_view, application

DOCS = (Path(__file__).parents[2] / "docs/pyramid.md").read_text()
SECTION = DOCS.partition("## Your own tweens")[2].partition("\n## ")[0]
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)

SEEN: list[tuple[int, str | None, str | None]] = []


def name_of(request: Request) -> str | None:
    return None if request.identity is None else request.identity.name


def outside_tween_factory(handler: Callable[..., Any], registry: object) -> Callable[..., Any]:
    def outside_tween(request: Request) -> Any:
        before = name_of(request)
        response = handler(request)
        SEEN.append((response.status_int, before, name_of(request)))
        return response

    return outside_tween


def view(request: Request) -> Any:
    if "refuse" in request.GET:
        raise HTTPForbidden()
    return [request.tenant, request.new_request]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_backend: MemoryBackend) -> Site:
    (tmp_path / "own_tweens_of_the_docs.py").write_text(EXAMPLE)
    monkeypatch.syspath_prepend(tmp_path)

    def more(config: Configurator) -> None:
        config.include("own_tweens_of_the_docs")
        config.add_tween(f"{__name__}.outside_tween_factory")
        config.add_subscriber(
            lambda event: setattr(event.request, "new_request", event.request.identity.name),
            "pyramid.events.NewRequest",
        )
        add_view(config, view)

    site = application("http://backend.invalid", more)
    use_backend(site.app, memory_backend)
    SEEN.clear()
    return site


def test_a_tween_under_the_renewal_tween_sees_the_user_of_an_expired_session(site: Site) -> None:
    sign_in(site, phase="expired", name="alice", claims={"tenant": "north"})
    assert site.get("/view").json == ["north", "alice"]
    assert SEEN == [(200, None, "alice")], "a tween outside sees the user only afterwards"


def test_a_tween_outside_sees_what_authapp_answers(site: Site) -> None:
    sign_in(site, phase="ended")
    site.get("/view", headers={"Accept": "text/html"}, status=303)
    sign_in(site, phase="fresh", name="alice")
    site.get("/view?refuse", status=403)
    assert SEEN == [(303, None, None), (403, "alice", "alice")]


def test_the_tween_is_between_the_renewal_tween_and_the_error_pages(site: Site) -> None:
    names = [name for name, _ in site.app.registry.getUtility(ITweens).implicit()]
    own = names.index("own_tweens_of_the_docs.tenant_tween_factory")
    renewal = names.index("authapp.web.renewal_tween.renewal_tween_factory")
    assert renewal < own < names.index(EXCVIEW)
