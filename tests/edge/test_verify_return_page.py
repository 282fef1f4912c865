"""After the sign-in, the user returns to the page for which a proxy asked ``/verify``, if a setting
names its host."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

import authapp
from edge.verify_site import AT_HOST, CADDY, EMPTY, HOST, identity, site_of
from servers import Served
from site_under_test import Site, settings

BACK = "/login?next=%2Freports%3Fpage%3D2%26all%3D1"
PAGE = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}


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
