"""Without a preset, the ini file must describe each request to the backend itself."""

import pytest

from authapp.backend.description import Conditions
from settings.reading import problems, read


@pytest.mark.parametrize("name", ["login", "refresh", "logout", "userinfo"])
def test_an_empty_request_is_neither_none_nor_the_presets(name: str) -> None:
    (problem,) = problems(**{f"backend__{name}": " "})
    assert problem.startswith(f"authapp.backend.{name} is empty; write none")


MISSING = "authapp.backend.{} is missing: with authapp.backend.preset = none, set it to {}"


@pytest.mark.parametrize(
    ("more", "missing"),
    [
        ({}, ["login", "login.refused", "refresh", "logout", "answer.access"]),
        ({"backend__refresh": " "}, ["login", "login.refused", "logout", "answer.access"]),
        (
            {"backend__refresh": "POST /renew\ntoken = {refresh}", "backend__logout": "none"},
            ["login", "login.refused", "answer.access", "refresh.refused", "answer.refresh"],
        ),
        (
            {
                "backend__login": "POST /in\nname = {username}",
                "backend__login__refused": "401",
                "backend__answer__access": "body.token",
                "backend__logout": "none",
                "backend__refresh": "POST /renew\nAuthorization: Bearer {access}",
            },
            ["refresh.refused"],
        ),
        ({"oidc__issuer": "https://id", "oidc__client_id": "x", "login__methods": "oidc"}, []),
    ],
)
def test_without_a_preset_each_missing_line_is_one_problem(
    more: dict[str, str], missing: list[str]
) -> None:
    keys = {"backend__preset": "none", **more}
    if not missing:
        assert "authapp.backend.login" not in read(**keys).shown
        return
    found = [each for each in problems(**keys) if "is empty" not in each]
    for line, name in zip(found, missing, strict=True):
        assert line.startswith(MISSING.format(name, ""))


def test_without_a_preset_only_the_lines_of_the_file_are_in_force() -> None:
    lines = {
        "backend__preset": "none",
        "backend__login": "POST /in\nname = {username}",
        "backend__login__refused": "none",
        "backend__answer__access": "body.token",
        "backend__refresh": "none",
        "backend__logout": "none",
    }
    description = read(**lines).description
    assert description.conditions == Conditions()
    assert description.answers.refresh is None
