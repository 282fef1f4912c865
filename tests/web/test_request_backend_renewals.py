"""``request.backend`` sends the user's token, and renews the session if the backend refuses it:
contract section 5."""

from collections.abc import Iterator
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from webob import Response as Answer

from servers import NOT_VALID, REFRESH, Served
from site_under_test import COOKIE, Site, application, application_with_view
from web.example_application import caller


def test_request_backend_sends_the_users_token_and_renews_on_401(
    site: Site, backend: Served
) -> None:
    def me(request: Request) -> dict[str, Any]:
        answer = request.backend.get("/me")
        return {"status": answer.status_code, **answer.json()}

    site = application_with_view(backend.url, me)
    assert site.get("/view").json["status"] == 401
    site.sign_in()
    assert site.get("/view").json["email"] == "alice@example.com"
    assert backend.calls[REFRESH] == 0

    # The backend has revoked the access token before its expiry.
    token = site.opened().tokens.access

    def refuse(request: Any) -> Response | None:
        old = request.authorization and request.authorization[1] == token
        return Response(status=401, json_body=NOT_VALID) if old else None

    backend.instead["/me"] = refuse
    before = site.token()
    answer = site.get("/view")
    assert answer.json["email"] == "alice@example.com"
    assert backend.calls[REFRESH] == 1
    assert site.token() != before

    # If the backend refuses the new token too, the call is not repeated again.
    backend.instead["/me"] = Response(status=401, json_body={})
    calls = backend.calls["/me"]
    assert site.get("/view").json["status"] == 401
    assert backend.calls["/me"] == calls + 2
    # A 401 does not cause a renewal of this new token.
    assert site.get("/view").json["status"] == 401
    assert backend.calls["/me"] == calls + 3
    assert backend.calls[REFRESH] == 2
    site.sign_out()
    site.sign_in()
    backend.instead[REFRESH] = Response(status=401, json_body=NOT_VALID)
    calls = backend.calls["/me"]
    assert site.get("/view").json["status"] == 401
    assert backend.calls["/me"] == calls + 1
    assert COOKIE not in site.cookies


def test_request_backend_does_not_resend_a_body_that_cannot_be_read_again(backend: Served) -> None:
    def post(request: Request) -> int:
        return int(request.backend.post("me", data=iter([b"a", b"b"])).status_code)

    site = application_with_view(backend.url, post)
    site.sign_in()
    backend.instead["/me"] = Response(status=401, json_body={})
    assert site.get("/view").json == 401
    assert backend.calls["/me"] == 1


def test_request_backend_uses_the_configured_authorization_header(backend: Served) -> None:
    def call(request: Request) -> int:
        return int(request.backend.get("/me").status_code)

    site = application_with_view(backend.url, call, backend__authorization="JWT {access}")
    site.sign_in()
    site.get("/view")
    assert backend.requests[-1].headers["Authorization"].startswith("JWT ")


def test_a_lasting_401_renews_once(backend: Served) -> None:
    def call(request: Request) -> list[int]:
        return [request.backend.get(path).status_code for path in ("/me", "/other", "/me")]

    site = caller(backend, call)
    backend.instead |= dict.fromkeys(("/me", "/other"), Response(status=401, json_body={}))
    for _ in range(3):
        assert site.get("/view").json == [401, 401, 401]
    assert backend.calls[REFRESH] == 1
    assert site.get("/account").status_int == 200


def test_a_token_that_was_accepted_is_renewed_again(backend: Served) -> None:
    """The backend may revoke an access token that it has accepted, for example when it restarts.
    Then ``request.backend`` renews the session again."""
    refused: set[str] = set()

    def answer(request: Any) -> Response | None:
        token = request.authorization[1]
        return Response(status=401, json_body=NOT_VALID) if token in refused else None

    site = caller(backend, lambda request: request.backend.get("/me").status_code)
    backend.instead["/me"] = answer
    for number in (1, 2, 3):
        refused.add(site.opened().tokens.access)
        assert site.get("/view").json == 200
        assert backend.calls[REFRESH] == number


def test_a_401_to_other_credentials_renews_nothing(backend: Served) -> None:
    site = caller(
        backend, lambda request: request.backend.get("/me", auth=("api", "key")).status_code
    )
    backend.instead["/me"] = Response(status=401, json_body={})
    assert site.get("/view").json == 401
    assert backend.calls[REFRESH] == 0
    assert backend.calls["/me"] == 1


def test_renewal_after_the_headers_have_gone_is_kept_for_the_next_request(backend: Served) -> None:
    """If a streamed body renews the session after the headers were sent, authapp can no longer
    write the cookie. So the next request gets the new tokens."""

    def streamed(request: Request) -> Response:
        def body() -> Iterator[bytes]:
            yield b"status "
            yield str(request.backend.get("me").status_code).encode()

        return Response(app_iter=body())

    def more(config: Configurator) -> None:
        config.add_route("streamed", "/streamed")
        config.add_view(streamed, route_name="streamed")

    site = application(backend.url, more)
    site.sign_in()
    before = site.token()
    answers = iter([Answer(status=401, json_body=NOT_VALID)])
    backend.instead["/me"] = lambda request: next(answers, None)
    assert site.get("/streamed").text == "status 200"
    assert site.token() == before
    ((_, _, seconds),) = [
        each for each in site.services.store.living() if each[0].purpose == "spent refresh token"
    ]
    assert seconds > 3600
    site.post("/session", headers={"X-CSRF-Token": site.csrf()})
    assert site.token() != before
    assert backend.calls[REFRESH] == 1, "the request has got the successor"
