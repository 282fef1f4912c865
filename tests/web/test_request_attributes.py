"""What a view learns from the request about the user, and how it changes the session."""

import time
from dataclasses import replace
from typing import Any

import jwt
import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.security import forget, remember

from authapp.session.session import TokenPair
from servers import Served
from site_under_test import COOKIE, Site, add_view, application, application_with_view
from web.example_application import KeepingBackend, Root


def test_principals_of_the_user_match_acls(backend: Served) -> None:
    def may(request: Request) -> list[str]:
        return [name for name in ("see", "own", "edit", "write") if request.has_permission(name)]

    def more(config: Configurator) -> None:
        config.set_root_factory(Root)
        add_view(config, may)

    site = application(backend.url, more, claims__scopes="roles")
    assert site.get("/view").json == []
    site.sign_in("bob")
    assert site.get("/view").json == ["see", "own", "edit"]
    carol = Site(wsgi=site.app)
    carol.sign_in("carol")
    assert carol.get("/view").json == ["see"]


def test_request_attributes_describe_the_signed_in_user(backend: Served) -> None:
    def tell(request: Request) -> dict[str, Any]:
        identity = request.identity
        return {
            "identity": identity and [identity.id, identity.name, identity.claims["username"]],
            "userid": request.authenticated_userid,
            "authenticated": request.is_authenticated,
            "valid": request.validity is not None,
            "error": request.session_error,
        }

    site = application_with_view(backend.url, tell)
    assert site.get("/view").json == {
        "identity": None,
        "userid": None,
        "authenticated": False,
        "valid": False,
        "error": None,
    }
    site.sign_in("bob")
    assert site.get("/view").json == {
        "identity": [2, "bob", "bob"],
        "userid": "2",
        "authenticated": True,
        "valid": True,
        "error": None,
    }


@pytest.mark.parametrize("excluded", ["/view", "/other"])
def test_forget_in_a_response_callback_clears_the_cookie(backend: Served, excluded: str) -> None:
    """``forget`` clears the session cookie even if a view's response callback calls it. This
    callback runs after authapp's own callback."""

    def view(request: Request) -> dict[str, Any]:
        assert request.identity
        request.add_response_callback(lambda request, response: forget(request))
        return {}

    site = application_with_view(backend.url, view, refresh__exclude=excluded)
    site.sign_in()
    site.get("/view")
    assert COOKIE not in site.cookies


def test_same_request_object_can_be_handled_twice(backend: Served) -> None:
    """The application can handle one request object more than once, as pyramid_retry does."""

    def again(request: Request) -> dict[str, Any]:
        inner = Request.blank("/session", headers={"Cookie": request.headers["Cookie"]})
        answers = [request.invoke_subrequest(inner) for _ in range(2)]
        return {"users": [answer.json["user"]["id"] for answer in answers]}

    site = application_with_view(backend.url, again)
    site.sign_in()
    assert site.get("/view").json == {"users": [1, 1]}


def test_remember_raises_value_error_without_a_session(backend: Served) -> None:
    def view(request: Request) -> str:
        try:
            remember(request, "1")
        except ValueError as error:
            return str(error)
        return "remembered"

    site = application_with_view(backend.url, view)
    assert "needs session=" in site.get("/view").json


@pytest.mark.parametrize("after", [0, 10])
@pytest.mark.parametrize("dated", [True, False])
def test_session_set_by_a_view_is_not_replaced_by_a_renewal(after: float, dated: bool) -> None:
    """A view replaces the access token of the session, and keeps its refresh token. The next
    request still has the view's access token, although the session was just renewed.

    The view runs in the request that renews the session, or ten seconds after that request.
    """
    promoted = jwt.encode({"sub": "dora", "promoted": True}, "k" * 32)

    def promote(request: Request) -> None:
        session = request.authapp.session
        tokens = TokenPair(promoted, session.tokens.refresh)
        issued_at = int(time.time()) if dated else session.issued_at
        remember(request, "dora", session=replace(session, tokens=tokens, issued_at=issued_at))

    def more(config: Configurator) -> None:
        config.set_auth_backend(KeepingBackend())
        add_view(config, promote)

    site = application("http://localhost:9", more)
    with time_machine.travel(time.time(), tick=False) as clock:
        site.sign_in("dora", "sesame")
        clock.shift(61)
        if after:
            site.get("/account", status=200)
            clock.shift(after)
        site.get("/view")
        site.get("/account", status=200)
        assert site.opened().tokens.access == promoted
        if dated:
            site.post("/session", headers={"X-CSRF-Token": site.csrf()}, status=200)
            assert jwt.decode(site.opened().tokens.access, "k" * 32, ["HS256"])["n"] == time.time()


def test_view_can_switch_to_another_session_and_back(backend: Served) -> None:
    """Some applications let their support staff see what a user sees. So a view can replace the
    session by another user's session, and later switch back."""
    kept: list[Any] = []

    def change(request: Request) -> None:
        state = request.authapp
        kept.append(state.session)
        session = kept[0]
        remember(request, str(session.identity.id), session=session)

    site = application_with_view(backend.url, change)
    site.sign_in("alice")
    site.get("/view")
    bob = Site(wsgi=site.app)
    bob.sign_in("bob")
    mine = bob.opened()
    bob.get("/view")
    assert bob.get("/session").json["user"]["id"] == 1
    kept.insert(0, mine)
    bob.get("/view")
    assert bob.get("/session").json["user"]["id"] == 2


def test_application_can_assign_request_validity(backend: Served) -> None:
    """A view can assign ``request.validity``, as it can assign any attribute that
    ``add_request_method`` adds."""

    def view(request: Request) -> Any:
        request.validity = "what the application makes of it"
        return request.validity

    site = application_with_view(backend.url, view)
    assert site.get("/view").json == "what the application makes of it"


def test_forget_without_a_session_returns_no_headers(backend: Served) -> None:
    site = application_with_view(backend.url, forget)
    assert site.get("/view").json == []
