"""The responses of ``/verify`` to a proxy (contract section 11)."""

import string
import time
from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st
from pyramid.request import Request
from pyramid.response import Response
from webtest import TestResponse

import authapp
from authapp.edge.verify import MAX_COOKIES
from authapp.settings.ini import SettingsError
from eventually import eventually
from servers import REFRESH, Served
from site_under_test import COOKIE, Site, application, settings

NAMES = ("User", "Email", "Preferred-Username", "Groups", "Access-Token")
HOST = "app.example.com"
AT_HOST = {"X-Original-URL": f"https://{HOST}/reports?page=2&all=1"}
CADDY = {
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": HOST,
    "X-Forwarded-Uri": "/reports?page=2&all=1",
}
BACK = "/login?next=%2Freports%3Fpage%3D2%26all%3D1"
PAGE = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}


def site_of(backend: Served, **keys: str) -> Site:
    return Site(backend.url, **{"verify": "true", **keys})


def identity(answer: TestResponse) -> dict[str, str]:
    """Return the headers of a response that name the user. Every response must have all of them."""
    return {name: answer.headers[f"X-Auth-Request-{name}"] for name in NAMES}


EMPTY = dict.fromkeys(NAMES, "")


def test_a_signed_in_request_gets_202_and_the_identity(backend: Served) -> None:
    site = site_of(backend)
    site.sign_in("alice")
    answer = site.get("/verify", status=202)
    assert identity(answer) == {
        "User": "1",
        "Email": "alice@example.com",
        "Preferred-Username": "alice",
        "Groups": "admin",
        "Access-Token": "",
    }
    assert answer.body == b""
    assert answer.headers["Cache-Control"] == "no-store"


def test_what_is_unknown_is_empty(backend: Served) -> None:
    site = site_of(backend, claims__email="nothing", claims__roles="nothing")
    site.sign_in("alice")
    known = identity(site.get("/verify", status=202))
    assert (known["Email"], known["Groups"]) == ("", "")


def test_an_anonymous_request_gets_401_with_the_sign_in_page(backend: Served) -> None:
    answer = site_of(backend).get("/verify", status=401)
    assert answer.headers["Location"] == "/login?next=%2F"
    assert answer.content_type == "application/problem+json"
    assert identity(answer) == EMPTY
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("keys", [{}, {"verify": "false", "verify__hosts": HOST}])
def test_there_is_no_verify_unless_a_setting_asks_for_it(
    backend: Served, keys: dict[str, str]
) -> None:
    Site(backend.url, **keys).get("/verify", status=404)


@pytest.mark.parametrize("keys", [{"verify__hosts": HOST}, {"verify__token": "true"}])
def test_settings_of_verify_turn_it_on(backend: Served, keys: dict[str, str]) -> None:
    Site(backend.url, **keys).get("/verify", status=401)


def test_the_path_can_be_moved_or_left_out(backend: Served) -> None:
    site_of(backend, routes__verify="/auth/check").get("/auth/check", status=401)
    site_of(backend, routes__verify="none").get("/verify", status=404)


@pytest.mark.parametrize("headers", [AT_HOST, CADDY, AT_HOST | CADDY, CADDY | {"Host": HOST}])
def test_sign_in_leads_back_to_the_original_page(backend: Served, headers: dict[str, str]) -> None:
    site = site_of(backend, verify__hosts=HOST, development__hosts=HOST)
    assert site.get("/verify", headers=headers, status=401).headers["Location"] == BACK
    answer = site.get("/verify?redirect=1", headers=PAGE | headers, status=303)
    assert answer.headers["Location"] == BACK
    assert identity(answer) == EMPTY


def test_a_program_is_not_redirected(backend: Served) -> None:
    headers = {"Accept": "application/json, */*"}
    answer = site_of(backend).get("/verify?redirect=1", headers=headers, status=401)
    assert answer.headers["Location"] == "/login?next=%2F"


def test_htmx_gets_the_page_that_it_was_on(backend: Served) -> None:
    site = site_of(backend, verify__hosts=HOST)
    headers = CADDY | {"HX-Request": "true", "HX-Current-URL": f"https://{HOST}/list"}
    answer = site.get("/verify?redirect=1", headers=headers, status=401)
    assert answer.headers["HX-Redirect"] == "/login?next=%2Flist"


@pytest.mark.parametrize("headers", [AT_HOST, CADDY])
def test_forwarded_headers_are_not_believed_without_hosts(
    backend: Served, headers: dict[str, str]
) -> None:
    answer = site_of(backend).get("/verify", headers=headers, status=401)
    assert answer.headers["Location"] == "/login?next=%2F"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Original-URL": "https://evil.example/reports"},
        {"X-Original-URL": f"https://{HOST}.evil.example/"},
        {"X-Original-URL": f"https://evil.example/{HOST}"},
        {"X-Original-URL": f"https://evil-{HOST}/x"},
        {"X-Original-URL": f"https://{HOST}:444/x"},
        {"X-Original-URL": f"https://{HOST}@evil.example/x"},
        {"X-Original-URL": f"https://evil.example\\@{HOST}/x"},
        {"X-Original-URL": f"ftp://{HOST}/x"},
        {"X-Original-URL": f"https://{HOST}/a/../x"},
        {"X-Original-URL": f"https://{HOST}/%2e%2e/x"},
        {"X-Original-URL": f"https://{HOST}//evil.example"},
        {"X-Original-URL": f"https://{HOST}/login?next=/x"},
        {"X-Original-URL": f"https://{HOST}/x\ty"},
        {"X-Original-URL": ""},
        {"X-Original-URL": "x" * 999},
        {"X-Forwarded-Uri": "/reports"},
        CADDY | {"X-Forwarded-Host": "evil.example"},
        CADDY | {"X-Forwarded-Host": f"{HOST}, evil.example"},
        CADDY | {"X-Forwarded-Uri": "https://evil.example/"},
        CADDY | {"X-Forwarded-Uri": "@evil.example/"},
        CADDY | {"X-Forwarded-Uri": ".evil.example/"},
        CADDY | {"X-Forwarded-Uri": ""} | {"X-Original-URL": f"https://{HOST}/other"},
        CADDY | {"X-Forwarded-Proto": "javascript"},
        CADDY | {"X-Forwarded-Method": "POST"},
        AT_HOST | {"X-Original-Method": "DELETE"},
        AT_HOST | CADDY | {"X-Forwarded-Uri": "/other"},
    ],
)
def test_forged_addresses_lead_to_the_start_page(backend: Served, headers: dict[str, str]) -> None:
    site = site_of(backend, verify__hosts=HOST)
    answer = site.get("/verify", headers=headers, status=401)
    assert answer.headers["Location"] == "/login?next=%2F"


def elsewhere(backend: Served) -> Site:
    """Return a site that has another host than the applications that use its ``/verify``."""
    return site_of(
        backend,
        verify__hosts=f"{HOST} other.example.com:8443",
        verify__login="http://localhost/login",
    )


def test_sign_in_on_another_host_leads_back(backend: Served) -> None:
    site = elsewhere(backend)
    location = site.get("/verify", headers=AT_HOST, status=401).headers["Location"]
    assert (
        location
        == f"http://localhost/login?next=https%3A%2F%2F{HOST}%2Freports%3Fpage%3D2%26all%3D1"
    )
    page = site.get(location)
    assert f"https://{HOST}" in page.headers["Content-Security-Policy"]
    page.form["username"], page.form["password"] = "alice", "alice-password"
    assert page.form.submit(status=303).headers["Location"] == AT_HOST["X-Original-URL"]


def test_hosts_are_compared_exactly_when_the_form_is_sent(backend: Served) -> None:
    site = elsewhere(backend)

    def next_after(target: str) -> str:
        form = site.get("/login", {"next": target}).form
        return str(form["next"].value)

    assert next_after("https://OTHER.example.com:8443") == "https://other.example.com:8443/"
    assert next_after("http://app.example.com/x") == "http://app.example.com/x"
    for target in ("https://other.example.com/", "//app.example.com/", "https:app.example.com"):
        assert next_after(target) == "/"


def test_http_is_no_place_to_return_to_outside_development() -> None:
    ini = settings("https://auth.example.com", development="false", verify__hosts=HOST)
    site = Site(wsgi=authapp.main({}, **ini))
    for scheme, page in (("https", "%2Fx"), ("http", "%2F")):
        headers = {"X-Original-URL": f"{scheme}://{HOST}/x"}
        answer = site.get("/verify", headers=headers, status=401)
        assert answer.headers["Location"] == f"/login?next={page}"


@pytest.mark.parametrize(
    ("user", "query", "status"),
    [
        ("alice", "roles=admin", 202),
        ("alice", "roles=editor,admin", 202),
        ("alice", "roles=admin&roles=editor", 403),
        ("alice", "roles=editor", 403),
        ("alice", "roles=", 403),
        ("alice", "roles", 403),
        ("alice", "roles=Admin", 403),
        ("alice", "role=admin", 403),
        ("alice", "%72oles=editor", 403),
        ("alice", "roles=admin;x", 403),
        ("alice", "scopes=read", 403),
        ("carol", "roles=admin", 403),
        ("carol", "roles=,", 403),
        ("bob", "roles=editor&redirect=1&cookies=1", 202),
    ],
)
def test_roles_and_scopes_are_required(backend: Served, user: str, query: str, status: int) -> None:
    site = site_of(backend)
    site.sign_in(user)
    answer = site.get(f"/verify?{query}", status=status)
    if status == 403:
        assert identity(answer) == EMPTY
        assert answer.json["code"] == "Forbidden"


def test_all_scopes_are_needed_and_a_role_may_contain_a_comma(backend: Served) -> None:
    site = site_of(
        backend,
        claims__scopes="['read', 'write']",
        claims__roles="['a,b', 'plain', 'two words']",
    )
    site.sign_in("alice")
    site.get("/verify?scopes=read,write", status=202)
    site.get("/verify?scopes=read,delete", status=403)
    answer = site.get("/verify?roles=a%2Cb&roles=two+words", status=202)
    site.get("/verify?roles=a,b", status=403)
    assert answer.headers["X-Auth-Request-Groups"] == "plain,two words"


@pytest.mark.parametrize(
    ("name", "status", "sent"),
    [
        ("Zoë 李", 202, "Zoë 李".encode().decode("latin-1")),
        ("two\nlines", 202, ""),
        (" spaces ", 202, ""),
        ("\x7f", 202, ""),
    ],
)
def test_a_name_that_cannot_be_sent_is_left_out(
    backend: Served, name: str, status: int, sent: str
) -> None:
    site = site_of(backend, claims__name=f"`{_json(name)}`")
    site.sign_in("alice")
    answer = site.get("/verify", status=status)
    assert answer.headers["X-Auth-Request-Preferred-Username"] == sent


@pytest.mark.parametrize("user_id", ["1\r\nX-Evil: 1", " 1", "a\x00b"])
def test_an_id_that_cannot_be_sent_is_refused(backend: Served, user_id: str) -> None:
    site = site_of(backend, claims__id=f"`{_json(user_id)}`")
    site.sign_in("alice")
    assert identity(site.get("/verify", status=403)) == EMPTY


def _json(text: str) -> str:
    import json

    return json.dumps(text)


@pytest.mark.parametrize(
    "name", ["X_Auth_Request_User", "X-Auth_Request-Groups", "X_Forwarded_Uri", "x_original-url"]
)
def test_underscore_twins_are_refused(backend: Served, name: str) -> None:
    site = site_of(backend)
    site.sign_in("alice")
    twin = "HTTP_" + name.upper().replace("-", "_")
    environ: dict[str, Any] = {"authapp.underscored": frozenset({twin, "HTTP_OTHER_NAME"})}
    assert identity(site.get("/verify", extra_environ=environ, status=403)) == EMPTY
    environ["authapp.underscored"] = frozenset({"HTTP_OTHER_NAME"})
    site.get("/verify", extra_environ=environ, status=202)


@pytest.mark.parametrize(
    "name",
    [
        *("Remote-User", "Remote-Groups", "Remote-Name", "Remote-Anything", "remote-user"),
        *("X-Remote-User", "X-Remote-Extra-Scopes", "X-WEBAUTH-USER", "X-Webauth-Role"),
        *("X-Auth-Request-Roles", "X-Auth-Request-Set-Cookie-1", "X-Auth-Request-Id-Token"),
        *("X-Forwarded-User", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username"),
        *("X-Forwarded-Access-Token", "X-Forwarded-Email", "X-Forwarded-Roles", "X-Proxy-User"),
        *("X-Original-User", "X-Authentik-Username", "X-Vouch-User", "X-Authenticated-Userid"),
        *("X.Auth.Request.User", "X-Auth.Request-Groups", "X^Auth-Request-User"),
        *(
            "x~auth|request'access-token",
            "Remote.User",
            "X!Webauth+User",
            "X-Auth-Request.Redirect",
        ),
        *("X.Forwarded.For", "X-Forwarded.Proto", "X.Original-URL", "X.Real-IP", "Remote.Addr"),
    ],
)
def test_headers_that_name_the_user_are_refused(backend: Served, name: str) -> None:
    """``/verify`` returns 403 if a request has such a header. No proxy of docs/edge.md replaces the
    header, so the application would get it."""
    site = site_of(backend)
    environ = {"HTTP_" + name.upper().replace("-", "_"): "evil"}
    site.get("/verify", extra_environ=environ, status=403)
    site.sign_in("alice")
    answer = site.get("/verify", extra_environ=environ, status=403)
    assert identity(answer) == EMPTY
    assert answer.json["code"] == "Forbidden"


def test_headers_of_ordinary_proxies_are_not_refused(backend: Served) -> None:
    site = site_of(backend)
    site.sign_in("alice")
    names = [
        *(f"X-Auth-Request-{name}" for name in NAMES),  # the proxy replaces these
        "X-Auth-Request-Redirect",  # ingress-nginx
        *("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port"),
        *("X-Forwarded-Server", "X-Forwarded-Prefix", "X-Forwarded-Scheme", "X-Forwarded-Ssl"),
        *("X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Client-Cert", "X-Forwarded-By"),
        *("X-Forwarded-Tls-Client-Cert-Info", "X-Forwarded-User-Agent", "X-Original-Host"),
        *("X-Original-Forwarded-For", "X-Original-Method", "X-Original-URI", "X-Real-IP"),
        *("Forwarded", "Via", "Remote-Addr", "X-Remote-IP", "X-Remote-Addr", "X-Request-ID"),
        *("X-Client-IP", "X-Cluster-Client-IP", "X-Envoy-External-Address", "X-Amzn-Trace-Id"),
        *("CF-Connecting-IP", "True-Client-IP", "X-Azure-Ref", "X-Scheme", "X-Sent-From"),
        *("X-Goog-Authenticated-User-Email", "X-Amzn-Oidc-Identity", "X-MS-Client-Principal"),
        *("X-Requested-With", "X-CSRF-Token", "X-Auth-Token", "X-Api-Key", "B3", "Traceparent"),
        *("X-Forwarded-Namespace", "X-Original-Name", "X-Original-Email-Id", "X-Proxy-Namespace"),
        *("X-Forwarded-Users-Online", "X-Remote-Client-IP", "X-Remote-Proto", "X-Remote-Country"),
    ]
    for name in names:
        environ = {"HTTP_" + name.upper().replace("-", "_"): "something"}
        site.get("/verify", extra_environ=environ, status=202)
    for name in ("Remote-User", "X-Forwarded-User", "X-WEBAUTH-USER"):
        environ = {"HTTP_" + name.upper().replace("-", "_"): ""}  # a proxy has cleared the header
        site.get("/verify", extra_environ=environ, status=202)


def test_the_log_names_a_refused_header(backend: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    site = site_of(backend)
    site.get("/verify", extra_environ={"HTTP_REMOTE.USER\x9b" + "A" * 999: "evil"}, status=403)
    assert "Forbidden: /verify: a client must not send the header remote-user-aaa" in caplog.text
    assert "A" * 99 not in caplog.text.upper()


def test_the_access_token_is_returned_to_a_proxy_only_if_a_setting_asks(backend: Served) -> None:
    site = site_of(backend, verify__token="true")
    site.sign_in("alice")
    answer = site.get("/verify", status=202)
    assert answer.headers["X-Auth-Request-Access-Token"] == site.opened().tokens.access
    script = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    assert identity(site.get("/verify", headers=script))["Access-Token"] == ""


def test_a_due_session_is_renewed_and_the_cookie_comes_with_any_answer(backend: Served) -> None:
    site = site_of(backend)
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        site.sign_in("alice")
        clock.shift(700)
        before = site.token()
        assert site.get("/verify?roles=nobody", status=403).headers["Set-Cookie"]
        assert site.token() != before
        site.get("/verify", status=202)
    assert backend.calls[REFRESH] == 1


def test_cookies_can_be_had_in_headers_of_their_own(backend: Served) -> None:
    site = site_of(backend)
    script = {"Sec-Fetch-Site": "same-origin"}
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        site.sign_in("alice")
        clock.shift(700)
        old = site.cookie_header()
        stale = {"Cookie": f"{old['Cookie']}; {COOKIE}.0=x; {COOKIE}.1=y"}
        answer = site.get("/verify?cookies=1", headers=stale, status=202)
        assert "Set-Cookie" not in answer.headers
        first, *others = (answer.headers[f"X-Auth-Request-Set-Cookie-{n}"] for n in (1, 2, 3))
        assert first.startswith(f"{COOKIE}=ey")
        assert all("Max-Age=0" in each for each in others)
        assert answer.headers["X-Auth-Request-Set-Cookie-6"] == ""
        answer = site.get("/verify?cookies=1", headers=old | script, status=202)
        assert answer.headers["X-Auth-Request-Set-Cookie-1"] == ""
        assert answer.headers["Set-Cookie"]


def clear_many(handler: Callable[[Request], Response], registry: Any) -> Any:
    """A tween of the application that clears ``MAX_COOKIES`` cookies, the most that ``/verify`` can
    pass on to the proxy."""

    def tween(request: Request) -> Response:
        response = handler(request)
        for number in range(MAX_COOKIES):
            response.delete_cookie(f"old{number}")
        return response

    return tween


def test_the_session_comes_before_cookies_that_are_cleared(backend: Served) -> None:
    """``/verify`` passes only a limited number of cookies on to the proxy. The session cookie must
    be the first of them, even if the application clears many cookies."""
    site = application(
        backend.url, lambda config: config.add_tween(f"{__name__}.clear_many"), verify="true"
    )
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        site.sign_in("alice")
        clock.shift(700)
        answer = site.get("/verify?cookies=1", status=202)
        assert answer.headers["X-Auth-Request-Set-Cookie-1"].startswith(f"{COOKIE}=ey")


def test_an_answer_that_reaches_the_browser_has_its_cookies_where_scripts_cannot_read_them(
    backend: Served,
) -> None:
    site = site_of(backend)
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        site.sign_in("bob")
        clock.shift(700)
        answer = site.get("/verify?cookies=1&redirect=1&roles=admin", status=403)
    assert answer.headers["X-Auth-Request-Set-Cookie-1"] == ""
    assert answer.headers["Set-Cookie"].startswith(f"{COOKIE}=ey")


def test_a_browser_that_never_gets_the_new_cookie_stays_signed_in(backend: Served) -> None:
    site = site_of(backend)
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        site.services.store._clock = time.time  # the clock of the store must move too
        site.sign_in("alice")
        cookie = site.cookie_header()

        def allowed() -> bool:
            answer = site.get("/verify", headers=cookie, status="*")
            assert answer.status_int in (202, 503)  # 503: the end of the chain is cached for 0.25 s
            return bool(answer.status_int == 202)

        for _ in range(6):
            clock.shift(50 * 60)
            eventually(allowed)
    assert backend.calls[REFRESH] == 6


def test_an_ended_session_gets_401_and_the_reason(backend: Served) -> None:
    site = site_of(backend)
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        site.sign_in("alice")
        cookie = site.cookie_header()
        clock.shift(604_801)
        answer = site.get("/verify", headers=cookie, status=401)
    assert answer.headers["Location"] == "/login?next=%2F&reason=RefreshTokenExpired"
    assert "Max-Age=0" in answer.headers["Set-Cookie"]


def test_a_copy_of_a_signed_out_cookie_gets_401(backend: Served) -> None:
    site = site_of(backend)
    site.sign_in("alice")
    twin = site.twin()
    site.sign_out()
    answer = twin.get("/verify", status=401)
    assert answer.headers["Location"].endswith("&reason=SessionRevoked")


def test_nobody_is_signed_out_while_the_backend_is_down(backend: Served) -> None:
    from webob import Response

    site = site_of(backend)
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        site.sign_in("alice")
        clock.shift(1000)
        backend.instead[REFRESH] = Response(status=503)
        answer = site.get("/verify", status=503)
        assert answer.json["code"] == "BackendUnavailable"
        assert identity(answer) == EMPTY
        assert answer.headers["Retry-After"]
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("agent", ["", "GoogleHC/1.0", "kube-probe/1.30", "Traefik", "curl/8"])
def test_no_kind_of_client_is_let_through(backend: Served, agent: str) -> None:
    headers = {"User-Agent": agent, "X-Health-Check": "1", "X-Forwarded-Uri": "/health"}
    site_of(backend, verify__hosts=HOST).get("/verify", headers=headers, status=401)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_methods_are_no_questions(backend: Served, method: str) -> None:
    site = site_of(backend)
    site.sign_in()
    headers = {"X-CSRF-Token": site.csrf()}
    site.request("/verify", method=method, headers=headers, status=405)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("verify", "maybe", "authapp.verify = 'maybe': must be true or false"),
        ("verify.hosts", "https://a.example", "must be hosts such as app.example.com"),
        ("verify.hosts", "*.example.com", "must be hosts such as"),
        ("verify.hosts", ".example.com", "must be hosts such as"),
        ("verify.login", "http://auth.example.com/login", "has no effect without"),
        ("verify.login", "/login", "must be a URL such as https://auth.example.com/login"),
        ("verify.token", "perhaps", "must be true or false"),
    ],
)
def test_impossible_settings_stop_the_start(key: str, value: str, problem: str) -> None:
    with pytest.raises(SettingsError) as error:
        authapp.main({}, **settings("http://127.0.0.1:9"), **{f"authapp.{key}": value})
    assert problem in str(error.value)


SITE = Site("http://127.0.0.1:9", verify__hosts=HOST)


@given(
    st.dictionaries(
        st.sampled_from([*CADDY, "X-Original-URL", "X-Original-Method", "HX-Current-URL"]),
        st.text(st.characters(min_codepoint=1, max_codepoint=255)) | st.just(HOST),
    ),
    st.text(string.printable),
)
def test_any_forwarded_headers_and_any_query_are_answered(
    headers: dict[str, str], query: str
) -> None:
    environ = {f"HTTP_{name.upper().replace('-', '_')}": each for name, each in headers.items()}
    answer = SITE.get("/verify", extra_environ=environ | {"QUERY_STRING": query}, status=401)
    assert answer.headers["Location"].startswith("/login?next=%2F")
