"""The JSON that the site serves is as docs/openapi.yaml describes it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pyramid.request import Request

from authapp import ErrorCode
from authapp.store.redis_inspection import REMEDIES
from authapp.testing import sign_in
from servers import Served
from site_under_test import Site, application

HERE = Path(__file__).parents[2]
OPENAPI: dict[str, Any] = yaml.safe_load((HERE / "docs/openapi.yaml").read_text())

TYPES = {
    "null": type(None), "boolean": bool, "integer": int, "number": (int, float),
    "string": str, "array": list, "object": dict,
}  # fmt: skip

CHECKED = {"type", "enum", "required", "properties", "additionalProperties", "items"}


def resolve(part: dict[str, Any]) -> dict[str, Any]:
    """Return the part of docs/openapi.yaml that ``$ref`` names. Return a part without ``$ref`` as
    it is."""
    if "$ref" not in part:
        return part
    found: dict[str, Any] = OPENAPI
    for step in part["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return found


def problems(value: Any, schema: dict[str, Any], at: str = "") -> list[str]:
    """Return the differences between a JSON value and a schema.

    The function knows only those keywords of JSON Schema that docs/openapi.yaml uses.

    :param at: where the value is, for the messages.
    """
    schema = resolve(schema)
    if "oneOf" in schema:
        fit = [each for each in schema["oneOf"] if not problems(value, each)]
        return [] if len(fit) == 1 else [f"{at}: {value!r} fits {len(fit)} of oneOf"]
    unknown = set(schema) - CHECKED - {"description"}
    assert not unknown, f"this test does not know {unknown}"
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(isinstance(value, TYPES[kind]) for kind in kinds) or (
        isinstance(value, bool) and "boolean" not in kinds
    ):
        return [f"{at}: {value!r} is not {schema['type']}"]
    found = [f"{at}: {value!r}"] if value not in schema.get("enum", [value]) else []
    if isinstance(value, list):
        for number, each in enumerate(value):
            found += problems(each, schema["items"], f"{at}[{number}]")
    if isinstance(value, dict):
        found += [f"{at}.{name} is missing" for name in schema["required"] if name not in value]
        for name, each in value.items():
            if name in schema["properties"]:
                found += problems(each, schema["properties"][name], f"{at}.{name}")
            elif schema.get("additionalProperties") is False:
                found.append(f"{at}.{name} is not described")
    return found


def check(response: Any, path: str, method: str = "get") -> None:
    """Check that docs/openapi.yaml describes a response: its status, content type, headers and
    JSON."""
    responses = OPENAPI["paths"][path][method]["responses"]
    described = resolve(responses[str(response.status_int)])
    for name in described.get("headers", ()):
        assert name in response.headers
    if "content" not in described:
        return
    assert [response.content_type] == list(described["content"])
    assert problems(response.json, described["content"][response.content_type]["schema"]) == []


JSON = {"Accept": "application/json"}
NOBODY = "http://127.0.0.1:9"
"""The URL of a backend that does not respond."""


def test_a_value_that_is_not_described_is_noticed() -> None:
    session = {"$ref": "#/components/schemas/Session"}
    whole = {"user": None, "validity": None, "error": None, "now": 1, "signed_in_at": None}
    assert problems(whole | {"csrf_token": "a"}, session) == []
    assert problems(whole, session) == [".csrf_token is missing"]
    assert len(problems(whole | {"csrf_token": 1, "more": 1, "now": True}, session)) == 3
    assert problems(whole | {"csrf_token": "", "error": "Other"}, session)


def test_the_session_is_as_described(backend: Served) -> None:
    site = Site(backend.url, session__idle="600")
    check(site.get("/session"), "/session")
    check(site.get("/session/ended"), "/session/ended")
    site.sign_in("alice")
    check(site.get("/session"), "/session")
    token = {"X-CSRF-Token": site.csrf()}
    check(site.post("/session", headers=token | JSON), "/session", "post")
    check(site.post("/session", headers=JSON, status=403), "/session", "post")
    sign_in(site, phase="ended")
    check(site.get("/session"), "/session")
    assert site.get("/session").json["error"] is None
    check(site.post("/session", headers=JSON, status=401), "/session", "post")


def test_a_renewal_without_a_backend_answers_as_described() -> None:
    site = Site(NOBODY)
    sign_in(site, phase="due")
    token = {"X-CSRF-Token": site.csrf()}
    check(site.post("/session", headers=token | JSON, status=503), "/session", "post")


def test_the_list_of_sessions_is_as_described(site: Site) -> None:
    check(site.get("/sessions", headers=JSON, status=401), "/sessions")
    site.sign_in("alice")
    listed = site.get("/sessions")
    check(listed, "/sessions")
    by_id = "/sessions/{id}"
    token = {"X-CSRF-Token": site.csrf()}
    check(site.delete("/sessions/none", headers=JSON, status=403), by_id, "delete")
    check(site.delete("/sessions/none", headers=token, status=404), by_id, "delete")
    (mine,) = listed.json["sessions"]
    check(site.delete(f"/sessions/{mine['id']}", headers=token), by_id, "delete")
    check(site.delete("/sessions/none", headers=JSON, status=401), by_id, "delete")


def test_health_is_as_described(backend: Served) -> None:
    site = Site(backend.url)
    check(site.get("/health"), "/health")
    check(site.get("/health?deep=1"), "/health")
    check(Site(NOBODY).get("/health?deep=1", status=503), "/health")


def test_a_view_with_a_recent_sign_in_answers_as_described(backend: Served) -> None:
    def payout(request: Request) -> dict[str, str]:
        return {}

    def more(config: Any) -> None:
        config.add_route("payout", "/payout")
        config.add_view(payout, route_name="payout", renderer="json", recent_auth=300)

    site = application(backend.url, more)
    sign_in(site, signed_in=3600)
    response = site.get("/payout", headers=JSON, status=401)
    schema = OPENAPI["components"]["schemas"]["SignInRequired"]
    assert problems(response.json, schema) == []
    assert response.json["max_age"] == 300


def test_all_problems_of_the_store_are_described() -> None:
    health = OPENAPI["components"]["schemas"]["Health"]["properties"]
    assert health["shared_problems"]["items"]["enum"] == list(REMEDIES)


def test_all_error_codes_are_described() -> None:
    assert OPENAPI["components"]["schemas"]["ErrorCode"]["enum"] == [
        each.value for each in ErrorCode
    ]
    page = (HERE / "docs/http.md").read_text()
    assert not [each for each in ErrorCode if f"| `{each}` |" not in page]


@pytest.mark.parametrize("path", OPENAPI["paths"])
def test_each_response_has_a_description(path: str) -> None:
    for operation in OPENAPI["paths"][path].values():
        assert operation["summary"]
        assert all(resolve(each)["description"] for each in operation["responses"].values())
