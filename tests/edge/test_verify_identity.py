"""The headers that name the user: ``/verify`` returns them, and refuses them from a client."""

from typing import Any

import pytest

from edge.verify_site import EMPTY, NAMES, identity, site_of
from servers import Served


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
