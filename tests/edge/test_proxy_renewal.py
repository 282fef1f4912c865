"""The proxy renews a session that has expired, or whose token the API refuses, and signs nobody out
because a server is down."""

import io
import threading
import time

import time_machine
from webob import Request, Response

from edge import proxied_api
from edge.proxied_api import Signed
from eventually import eventually
from servers import REFRESH, Served
from site_under_test import Site

# The fixtures of these tests.
api, site = proxied_api.api, proxied_api.site

PROBLEM = "application/problem+json"


def refuse_first(api: Served, token: str) -> None:
    """Make the API return 401 to requests with this access token."""

    def answer(request: Request) -> Response | None:
        if request.headers["Authorization"] == f"Bearer {token}":
            return Response(json_body={"from": "the API"}, status=401)
        return None

    api.instead["/v1/x"] = answer


def test_a_401_of_the_api_renews_once_and_repeats(
    site: Signed, backend: Served, api: Served
) -> None:
    before = site.opened()
    refuse_first(api, before.tokens.access)
    got = site.post("/api/x", b"the body" * 1000, headers=site.csrf_header).json
    assert got["body"] == "the body" * 1000
    after = site.opened()
    assert got["headers"]["Authorization"] == f"Bearer {after.tokens.access}"
    assert (after.sid, backend.calls[REFRESH], api.calls["/v1/x"]) == (before.sid, 1, 2)


def test_a_body_that_cannot_be_read_again_is_not_repeated(
    site: Signed, backend: Served, api: Served
) -> None:
    class Once(io.BytesIO):
        def seek(self, *position: int) -> int:
            raise OSError("a pipe")

    refuse_first(api, site.opened().tokens.access)
    asked = Request.blank("/api/x", method="POST", headers=site.csrf_header | site.cookie_header())
    asked.environ |= {"wsgi.input": Once(b"once"), "CONTENT_LENGTH": "4"}
    answer = asked.get_response(site.app)
    assert answer.status_int == 401
    assert answer.json_body == {"from": "the API"}
    assert (backend.calls[REFRESH], api.calls["/v1/x"]) == (0, 1)


def test_a_401_that_a_new_token_does_not_change_is_the_apis_answer(
    site: Signed, backend: Served, api: Served
) -> None:
    api.instead["/v1/x"] = Response(json_body={"from": "the API"}, status=401)
    assert site.get("/api/x", status=401).json == {"from": "the API"}
    assert (backend.calls[REFRESH], api.calls["/v1/x"]) == (1, 2)
    site.get("/api/x", status=401)
    assert (backend.calls[REFRESH], api.calls["/v1/x"]) == (1, 3)


def test_a_401_while_the_backend_is_down_signs_nobody_out(
    site: Signed, backend: Served, api: Served
) -> None:
    api.instead["/v1/x"] = Response(json_body={"from": "the API"}, status=401)
    backend.instead[REFRESH] = Response(status=503)
    answer = site.get("/api/x", status=401)
    assert (answer.json, "Set-Cookie" in answer.headers) == ({"from": "the API"}, False)
    assert site.get("/session").json["user"]["id"] == 1


def test_a_401_while_the_backend_is_down_is_503_if_the_token_has_ended_meanwhile(
    site: Signed, backend: Served, api: Served
) -> None:
    with time_machine.travel(time.time(), tick=False) as clock:

        def answer(request: Request) -> Response:
            clock.shift(1000)
            return Response(status=401)

        api.instead["/v1/x"] = answer
        backend.instead[REFRESH] = Response(status=503)
        refused = site.get("/api/x", status=503)
    assert refused.json["code"] == "BackendUnavailable"
    assert int(refused.headers["Retry-After"]) > 0
    assert "Set-Cookie" not in refused.headers


def test_a_401_of_a_session_that_has_ended_leads_to_sign_in(
    site: Signed, backend: Served, api: Served
) -> None:
    from servers import NOT_VALID

    api.instead["/v1/x"] = Response(status=401)
    backend.instead[REFRESH] = Response(json_body=NOT_VALID, status=401)
    answer = site.get("/api/x", status=401)
    assert answer.json["code"] == "RefreshTokenRejected"
    assert "Max-Age=0" in answer.headers["Set-Cookie"]


def test_an_expired_session_is_renewed_or_kept(site: Signed, backend: Served) -> None:
    with time_machine.travel(time.time() + 1000, tick=False):
        backend.instead[REFRESH] = Response(status=503)
        answer = site.get("/api/x", headers={"Accept": "text/html"}, status=503)
        assert (answer.content_type, answer.json["code"]) == (PROBLEM, "BackendUnavailable")
        assert answer.headers["Retry-After"]
        del backend.instead[REFRESH]
        eventually(lambda: site.get("/api/x", status="*").status_int == 200)
    assert site.opened().sid


def test_an_api_that_is_down_signs_nobody_out(backend: Served) -> None:
    site = Signed(backend, "http://127.0.0.1:9")
    answer = site.get("/api/x", headers={"Accept": "text/html"}, status=503)
    assert (answer.content_type, answer.json["code"]) == (PROBLEM, "BackendUnavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert site.get("/session").json["user"]["id"] == 1


def test_400_requests_with_one_expired_session_renew_once(
    site: Signed, backend: Served, api: Served
) -> None:
    cookie = site.cookie_header()
    twins = [Site(wsgi=site.app) for _ in range(8)]
    answers: list[int] = []
    with time_machine.travel(time.time() + 1000, tick=True):

        def many(browser: Site) -> None:
            for _ in range(50):
                answers.append(browser.get("/api/x", headers=cookie, status="*").status_int)

        threads = [threading.Thread(target=many, args=(each,)) for each in twins]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert (len(answers), set(answers)) == (400, {200})
    assert (backend.calls[REFRESH], api.calls["/v1/x"]) == (1, 400)
