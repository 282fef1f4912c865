"""No setting that ``authapp check --login`` proposes turns a good response into a refusal."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from webob import Request, Response

from authapp.backend.expressions import condition
from authapp.cli import suggestions
from authapp.cli.commands import PASSWORD, authapp
from servers import Served

SECRET = "a secret for tests that is long enough, 1"
WRONG_REFRESH = "# authapp.backend.refresh: its method, path, headers or fields are wrong"
BODY_ONLY = "if this response is a refusal, write a condition about its body"


class Enveloped:
    """A backend that answers nearly everything with status 200, as in docs/backends.md.

    :ivar refusal: the response to a refresh token that is not valid.
    :ivar wrap: changes the JSON of the response to a renewal.
    :ivar instead: path -> the response to each request for this path.
    """

    def __init__(self) -> None:
        self.live: set[str] = set()
        self.refusal = Response(json={"code": 1402, "msg": "spent"})
        self.wrap: Any = lambda data: {"code": 0, "data": data}
        self.instead: dict[str, Response] = {}

    def pair(self) -> dict[str, Any]:
        self.live.add(refresh := secrets.token_hex())
        user = {"id": 7}
        return {"access": secrets.token_hex(), "refresh": refresh, "ttl": 60, "user": user}

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.answer(Request(environ))(environ, start_response)

    def answer(self, request: Request) -> Response:
        body = request.json_body if request.body else {}
        if request.path in self.instead:
            return self.instead[request.path]
        if request.path == "/v1/session":
            return Response(json={"code": 0, "data": self.pair()})
        if request.path == "/v1/session/renew":
            if body["token"] not in self.live:
                return self.refusal
            self.live.remove(body["token"])
            return Response(json=self.wrap(self.pair()))
        if request.path == "/v1/session/end":
            self.live.discard(body["token"])
            return Response(json={"code": 0})
        return Response(status=401, json={"code": "no_route"})


@pytest.fixture
def enveloped() -> Enveloped:
    return Enveloped()


@pytest.fixture
def url(enveloped: Enveloped) -> Iterator[str]:
    with Served(enveloped) as served:
        yield served.url


def settings(url: str) -> dict[str, str]:
    return {
        "development": "true",
        "secret": SECRET,
        "backend.url": url,
        "backend.login": "\n  POST /v1/session\n  name = {username}\n  word = {password}",
        "backend.refresh": "\n  POST /v1/session/renew\n  token = {refresh}",
        "backend.logout": "\n  POST /v1/session/end\n  token = {refresh}",
        "backend.answer.access": "body.data.access",
        "backend.answer.refresh": "body.data.refresh",
        "backend.answer.expires_in": "body.data.ttl",
        "backend.answer.user": "body.data.user",
        "backend.login.refused": "body.code == `1401`",
    }


def check(folder: Path, keys: dict[str, str]) -> dict[str, Any]:
    """Run ``authapp check --login``. Return the findings, by what was checked."""
    lines = [f"authapp.{name} = {text}" for name, text in keys.items()]
    (folder / "site.ini").write_text("\n".join(["[app:main]", "use = egg:authapp", *lines]))
    result = CliRunner(env={PASSWORD: "x-password"}).invoke(
        authapp, ["check", str(folder / "site.ini"), "--login", "alice", "--json"], input="123456\n"
    )
    return {each["about"]: each for each in json.loads(result.stdout)["findings"]}


def copied(keys: dict[str, str], *lines: str) -> dict[str, str]:
    """Return the settings with proposed lines in them. Comments are left out."""
    pairs = (each.removeprefix("authapp.").split(" = ", 1) for each in lines if each[0] != "#")
    return {**keys, **dict(pairs)}


def test_a_refusal_with_status_200_is_told_by_its_body(tmp_path: Path, url: str) -> None:
    found = check(tmp_path, settings(url))
    assert found["ended"]["text"].endswith("authapp.backend.refresh.refused")
    assert found["ended"]["settings"] == ["authapp.backend.refresh.refused = body.code == `1402`"]
    found = check(tmp_path, copied(settings(url), *found["ended"]["settings"]))
    assert {each["level"] for each in found.values()} <= {"ok", "note"}


def test_without_a_preset_the_same_lines_are_proposed(tmp_path: Path, url: str) -> None:
    keys = settings(url) | {"backend.preset": "none", "backend.refresh.refused": "none"}
    found = check(tmp_path, keys)
    assert found["settings"]["text"] == "13 settings without a preset"
    assert found["ended"]["settings"] == ["authapp.backend.refresh.refused = body.code == `1402`"]


@pytest.mark.parametrize(
    "refusal",
    [
        {"msg": "spent"},  # no code
        {"code": 0, "msg": "spent"},  # the code of a success
        {"code": 500, "msg": "database"},
        {"code": 429, "msg": "too many"},
        {"code": True},
    ],
)
def test_a_refusal_that_may_be_a_success_is_not_described(
    tmp_path: Path, url: str, enveloped: Enveloped, refusal: dict[str, Any]
) -> None:
    enveloped.refusal = Response(json=refusal)
    (line,) = check(tmp_path, settings(url))["ended"]["settings"]
    assert line.startswith("# authapp.backend.refresh.refused: ")
    assert BODY_ONLY in line


@pytest.mark.parametrize("refused", ["none", "body.code == `1402`"])
def test_a_wrong_path_of_the_renewal_does_not_describe_a_refusal(
    tmp_path: Path, url: str, refused: str
) -> None:
    """If the path of the renewal is wrong, the backend returns 401. authapp does not propose this
    response for ``refresh.refused``: each renewal would then end its session."""
    keys = settings(url) | {
        "backend.refresh": "\n  POST /v1/renew\n  token = {refresh}",
        "backend.refresh.refused": refused,
    }
    found = check(tmp_path, keys)
    assert found["renewal"]["settings"] == [WRONG_REFRESH]
    for each in ("renewal", "ended"):
        assert found[each]["text"].endswith("; see authapp.backend.refresh")
    (line,) = found["ended"]["settings"]
    assert line.startswith("# authapp.backend.refresh: make the renewal before")
    assert copied(keys, *found["renewal"]["settings"], line) == keys


@pytest.mark.parametrize(("refused", "line"), [("200", "this condition is true"), ("401", "")])
def test_a_refused_new_token_names_the_setting_to_look_at(
    tmp_path: Path, url: str, enveloped: Enveloped, refused: str, line: str
) -> None:
    if refused == "401":
        enveloped.instead["/v1/session/renew"] = Response(status=401)
    found = check(tmp_path, settings(url) | {"backend.refresh.refused": refused})
    assert found["renewal"]["text"].startswith("the backend refuses its own refresh token")
    (said,) = found["renewal"]["settings"]
    assert said.startswith(f"# authapp.backend.refresh.refused: {line}" if line else WRONG_REFRESH)


@pytest.mark.parametrize(
    ("place", "kept"),
    [("body.data.access", "body.data.access"), ("body | data.access", "(body | data.access)")],
)
def test_tokens_of_a_renewal_keep_the_place_of_the_sign_in(
    tmp_path: Path, url: str, enveloped: Enveloped, place: str, kept: str
) -> None:
    enveloped.wrap = lambda data: {"code": 0, "new": data}
    keys = settings(url) | {"backend.answer.expires_in": "body.*.ttl | [0]"}
    keys |= {"backend.answer.user": "body.*.user | [0]", "backend.answer.access": place}
    lines = check(tmp_path, keys)["renewal"]["settings"]
    assert lines == [
        f"authapp.backend.answer.access = {kept} || body.new.access",
        "authapp.backend.answer.refresh = body.data.refresh || body.new.refresh",
    ]
    found = check(tmp_path, copied(keys, *lines))
    assert [found[each]["level"] for each in ("sign-in", "renewal")] == ["ok", "ok"]


def test_a_renewal_without_anything_like_a_token_is_the_request(
    tmp_path: Path, url: str, enveloped: Enveloped
) -> None:
    enveloped.wrap = lambda data: {"code": 7}
    assert check(tmp_path, settings(url))["renewal"]["settings"] == [WRONG_REFRESH]


def test_a_failed_userinfo_does_not_describe_a_wrong_password(tmp_path: Path, url: str) -> None:
    more = {"backend.userinfo": "\n  GET /me\n  Authorization: Bearer {access}"}
    (line,) = check(tmp_path, settings(url) | more)["sign-in"]["settings"]
    assert line == "# authapp.backend.userinfo: its method, path, headers or fields are wrong"


def test_a_sign_in_that_looks_like_a_success_is_not_a_wrong_password(
    tmp_path: Path, url: str, enveloped: Enveloped
) -> None:
    enveloped.instead["/v1/session"] = Response(json={"code": 0, "msg": "welcome"})
    (line,) = check(tmp_path, settings(url))["sign-in"]["settings"]
    assert line.startswith("# authapp.backend.login.refused: ")
    assert BODY_ONLY in line


def test_the_request_for_a_code_is_no_wrong_password(
    tmp_path: Path, url: str, enveloped: Enveloped
) -> None:
    """The responses to a right password and to a wrong code have the same status. authapp does not
    propose this status alone as a refusal, because each sign-in would then end before its second
    step."""
    enveloped.instead["/v1/session"] = Response(status=401, json={"mfa": "state"})
    enveloped.instead["/v1/code"] = Response(status=401, json={"msg": "wrong"})
    more = {
        "backend.login.challenge": "body.mfa",
        "backend.challenge.state": "body.mfa",
        "backend.challenge": "\n  POST /v1/code\n  state = {state}\n  code = {code}",
    }
    (line,) = check(tmp_path, settings(url) | more)["code"]["settings"]
    assert BODY_ONLY in line
    enveloped.instead["/v1/code"] = Response(status=401, json={"code": "wrong_code"})
    _, line = check(tmp_path, settings(url) | more)["code"]["settings"]
    assert line.endswith(" || status == `401` && body.code == 'wrong_code'")


def test_the_text_of_a_preset_is_left_out_for_a_request_of_ones_own(
    tmp_path: Path, url: str, enveloped: Enveloped
) -> None:
    keys = settings(url)
    del keys["backend.login.refused"]
    enveloped.instead["/v1/session"] = Response(status=422, json={"code": "bad"})
    assert check(tmp_path, keys)["sign-in"]["settings"][1] == (
        "authapp.backend.login.refused = status == `422` && body.code == 'bad'"
    )


@pytest.mark.parametrize(
    ("done", "proposed"), [("201", "201 202"), ("body.x", "body.x || status == `202`")]
)
def test_another_response_to_a_sign_out_is_added(
    tmp_path: Path, url: str, enveloped: Enveloped, done: str, proposed: str
) -> None:
    enveloped.instead["/v1/session/end"] = Response(status=202)
    keys = settings(url) | {"backend.logout.done": done}
    lines = check(tmp_path, keys)["sign-out"]["settings"]
    assert lines == [f"authapp.backend.logout.done = {proposed}"]


CODES = st.sampled_from(["a", "b", "it's", "", 0, 1, 429, 500, True, None, [1], {"code": "c"}])
BODIES = st.dictionaries(st.sampled_from(["code", "error", "msg"]), CODES) | CODES
RESPONSES = st.builds(
    lambda status, body: {"status": status, "headers": {}, "cookies": {}, "body": body},
    st.sampled_from([200, 204, 302, 400, 401, 404]),
    BODIES,
)
DESCRIBED = st.sampled_from(["none", "400 422", "body.code == 'a'", "body | code"]).map(condition)


@given(RESPONSES, st.lists(RESPONSES, max_size=3), DESCRIBED)
def test_no_proposal_is_true_for_a_good_response(
    refusal: dict[str, Any], good: list[dict[str, Any]], described: Any
) -> None:
    (line,) = suggestions.for_refusal("refresh", "refresh.refused", refusal, described, good)
    if line.startswith("#"):
        return
    proposed = condition(line.partition(" = ")[2])
    assert proposed(refusal)
    for each in good:
        assert proposed(each) == described(each)
    if 200 <= refusal["status"] < 300:
        bare = {**refusal, "body": {}}
        assert proposed(bare) == described(bare)
