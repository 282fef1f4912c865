"""The memory backend, and what an application does while verbs of the backend fail."""

import io
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from authapp import BackendDown, BackendRejected, TokenPair
from authapp.backend.protocol import ChallengeExpired
from authapp.issuer import main as issuer
from authapp.testing import MemoryBackend, session_of, sign_in, use_api, use_backend
from eventually import eventually
from servers import ISSUER_SETTINGS, Served
from site_under_test import Site, add_view, application, application_with_view


@pytest.fixture(scope="module")
def app() -> Site:
    return application_with_view(
        "http://backend.invalid",
        lambda request: request.backend.get("/me").json(),
        # On a busy machine, a request that waits for another one must not fail.
        backend__timeout="20",
        backend__bulkhead="8",
    )


@pytest.fixture
def backend(memory_backend: MemoryBackend) -> MemoryBackend:
    memory_backend.timeout = 20
    memory_backend.add_user("alice", "alice-password", id=1, roles=["admin"])
    return memory_backend


@pytest.fixture
def site(app: Site, backend: MemoryBackend) -> Site:
    use_backend(app.app, backend)
    return Site(wsgi=app.app)


def test_users_sign_in_by_the_form_and_out(site: Site, backend: MemoryBackend) -> None:
    site.sign_in("alice", "wrong", status=401)
    site.sign_in("mallory", status=401)
    site.sign_in("alice", status=303)
    session = session_of(site)
    assert session is not None
    assert session.identity.roles == ("admin",)
    site.sign_out()
    assert backend.calls == {"login": 3, "logout": 1}
    with pytest.raises(BackendRejected):
        backend.refresh(session.tokens)


def test_a_user_with_a_code_is_challenged(site: Site, backend: MemoryBackend) -> None:
    backend.add_user("carol", "carol-password", id=3, code="123456")
    form = site.sign_in("carol", status=303).follow().form
    form["code"] = "654321"
    form.submit(status=401)
    backend.fail("challenge", times=1)
    form.submit(status=503)
    form["code"] = "123 456"
    form.submit(status=303)
    session = session_of(site)
    assert session is not None
    assert session.identity.name == "carol"
    assert backend.calls == {"login": 1, "challenge": 3}
    with pytest.raises(ChallengeExpired):
        backend.challenge("another state", "123456")


@pytest.mark.parametrize("phase", ["due", "expired"])
def test_a_session_that_the_backend_never_started_is_renewed(
    site: Site, backend: MemoryBackend, phase: str
) -> None:
    before = sign_in(site, id=7, name="Zoe", roles=["clerk"], phase=phase)
    assert site.get("/session").json["user"]["id"] == 7
    after = session_of(site)
    assert after is not None
    assert after.identity.roles == ("clerk",)
    assert after.tokens.refresh != before.tokens.refresh
    assert backend.calls == {"refresh": 1}
    with pytest.raises(BackendRejected):
        backend.refresh(before.tokens)


def test_without_rotation_the_refresh_token_stays(site: Site, backend: MemoryBackend) -> None:
    backend.rotates = False
    before = sign_in(site, id=7, phase="expired")
    site.get("/session")
    after = session_of(site)
    assert after is not None
    assert after.tokens.refresh == before.tokens.refresh
    assert after.tokens.access != before.tokens.access


def test_a_renewal_brings_what_has_changed_about_the_user(
    site: Site, backend: MemoryBackend
) -> None:
    sign_in(site, id=1, name="alice", roles=["admin"], phase="expired")
    backend.add_user("alice", "alice-password", id=1, roles=["retired"])
    assert site.get("/session").json["user"]["roles"] == ["retired"]


def test_a_verb_fails_as_told_and_recovers(site: Site, backend: MemoryBackend) -> None:
    backend.fail("login")
    site.sign_in("alice", status=503)
    backend.recover("login")
    site.sign_in("alice", status=303)
    backend.fail("refresh", BackendRejected("revoked"))
    sign_in(site, id=1, phase="expired")
    assert site.get("/session").json["error"] == "RefreshTokenRejected"


def test_a_backend_that_was_down_is_forgotten_with_it(app: Site, backend: MemoryBackend) -> None:
    before = MemoryBackend()
    use_backend(app.app, before)
    before.fail("login", BackendDown("down"))
    site = Site(wsgi=app.app)
    site.sign_in("alice", status=503)
    use_backend(app.app, backend)
    site.sign_in("alice", status=303)


def test_a_verb_fails_as_often_as_told(backend: MemoryBackend) -> None:
    backend.add_user("bob", "bob-password", id=2)
    tokens = sign_in_tokens(backend)
    backend.fail("refresh", BackendDown("down"), times=2)
    for _ in range(2):
        with pytest.raises(BackendDown):
            backend.refresh(tokens)
    backend.refresh(tokens)


def sign_in_tokens(backend: MemoryBackend) -> TokenPair:
    from authapp import Credentials

    return backend.login(Credentials("alice", "alice-password"))


def test_a_verb_that_is_held_waits_for_the_test(site: Site, backend: MemoryBackend) -> None:
    """While a test makes calls of ``refresh`` wait, two requests of an expired session wait too.
    Both get the result of one renewal."""
    sign_in(site, id=7, phase="expired")
    answers: list[int] = []

    def get() -> None:
        answers.append(site.twin().get("/session").json["user"]["id"])

    threads = [threading.Thread(target=get) for _ in range(2)]
    with backend.held("refresh"):
        for thread in threads:
            thread.start()
        eventually(lambda: backend.calls["refresh"])
        assert answers == []
    for thread in threads:
        thread.join(10)
    assert answers == [7, 7]
    assert backend.calls["refresh"] == 1


def test_a_slow_verb_answers_late_and_a_very_slow_one_not_at_all() -> None:
    backend = MemoryBackend(timeout=0.1)
    backend.add_user("alice", "alice-password")
    backend.slow("login", 0.01)
    began = time.monotonic()
    tokens = sign_in_tokens(backend)
    assert time.monotonic() - began >= 0.01
    backend.slow("refresh", 60)
    with pytest.raises(BackendDown, match=r"no response within 0.1 s"):
        backend.refresh(tokens)


def test_tokens_expire(backend: MemoryBackend) -> None:
    tokens = sign_in_tokens(backend)
    later = time.time() + backend.refresh_lifetime + 1
    with time_machine.travel(later), pytest.raises(BackendRejected):
        backend.refresh(tokens)
    with pytest.raises(BackendRejected):
        backend.refresh(TokenPair("a", "not one of ours"))


def test_a_verb_that_does_not_exist_is_refused(backend: MemoryBackend) -> None:
    with pytest.raises(ValueError, match="no verb 'renew', but login, challenge, refresh, logout"):
        backend.fail("renew")


def test_an_application_that_verifies_tokens_is_refused(backend: MemoryBackend) -> None:
    site = application("http://backend.invalid", backend__verify="secret:" + "s" * 40)
    with pytest.raises(ValueError, match=r"leave authapp.backend.verify out"):
        use_backend(site.app, backend)


def test_the_application_brings_the_backend_itself(backend: MemoryBackend) -> None:
    site = application("http://x.invalid", lambda config: set_backend(config, backend))
    site.sign_in("alice", status=303)


def set_backend(config: Configurator, backend: MemoryBackend) -> None:
    config.set_auth_backend(backend)


def test_request_backend_calls_an_application_in_this_process(site: Site) -> None:
    api = issuer({}, **ISSUER_SETTINGS)
    use_api(site.app, api)
    sign_in(site, id=1)
    assert site.get("/view").json["code"] == "token_not_valid"


BODIES: dict[str, tuple[Callable[[], Any], str]] = {
    "none": (lambda: None, ""),
    "form": (lambda: {"a": "ü"}, "a=%C3%BC"),
    "text": (lambda: "text", "text"),
    "bytes": (lambda: b"bytes", "bytes"),
    "bytearray": (lambda: bytearray(b"array"), "array"),
    "file": (lambda: io.BytesIO(b"file"), "file"),
    "text file": (lambda: io.StringIO("text"), "text"),
    "bytes of an iterator": (lambda: iter((b"one ", b"two")), "one two"),
    "text of an iterator": (lambda: iter(("ü ", "two")), "ü two"),
    "empty iterator": (lambda: iter(()), ""),
}


def echo(environ: Any, start_response: Any) -> Any:
    """Return the method, the body and the content length of a request, and whether it has
    ``Transfer-Encoding``."""
    request = Request(environ)
    known = request.body.decode(), request.content_length or 0, "HTTP_TRANSFER_ENCODING" in environ
    return Response(json_body=[request.method, *known])(environ, start_response)


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_an_api_in_this_process_gets_each_body_that_a_server_gets(
    backend: MemoryBackend, servers: Any, kind: str, method: str
) -> None:
    body, text = BODIES[kind]
    served: Served
    with servers.serve(echo) as served:
        site = application_with_view(
            served.url,
            lambda request: request.backend.request(method, "/echo", data=body()).json(),
        )
        sign_in(site, id=1)
        from_server = site.get("/view").json
        use_api(site.app, echo)
        assert site.get("/view").json == from_server
        assert from_server == [method, text, len(text.encode()), False]


def test_an_upload_is_passed_on_to_an_api_in_this_process() -> None:
    def upload(request: Request) -> Any:
        return request.backend.post("/files", data=request.POST["file"].file).json()

    site = application("http://backend.invalid", lambda config: add_view(config, upload))
    use_api(site.app, echo)
    sign_in(site, id=1)
    fields = {"csrf_token": site.csrf()}
    answer = site.post("/view", fields, upload_files=[("file", "a.txt", b"hello")])
    assert answer.json == ["POST", "hello", 5, False]
