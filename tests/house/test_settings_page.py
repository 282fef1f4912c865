"""docs/settings.md lists each key, with the default that the code has."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import authapp.issuer
from authapp.backend import presets
from authapp.settings.ini import Ini
from authapp.settings.settings import known_keys

HERE = Path(__file__).parents[2]

CLIENT_AUTH = "`private_key_jwt` with a key, otherwise `basic` with a secret"

IN_WORDS = {
    "secret": "required",
    "site.name": "the host of the request",
    "backend.url": "required, unless `oidc.issuer` is set",
    "backend.ca": "the authorities that `requests` trusts",
    "backend.logout.done": "any 2xx",
    "backend.client_auth": f"{CLIENT_AUTH}, otherwise `post`. Without `backend.client_id`: `none`",
    "login.methods": "what is configured",
    "oidc.client_id": "required with `oidc.issuer`",
    "oidc.client_auth": f"{CLIENT_AUTH}, otherwise `none`",
    "oidc.label": "the issuer's host",
    "verify": "`true` with `verify.hosts` or `verify.token`, otherwise `false`",
    "verify.login": "the path of the sign-in page",
}
"""The defaults in docs/settings.md that depend on other settings. If you change one of them in the
code, change it here too."""


def rows(section: str) -> dict[str, str]:
    """Return key -> default, from the tables in a section of docs/settings.md."""
    table = re.findall(r"^\| `([\w.]+)` \| ((?:\\\||[^|])*?) \|", section, re.M)
    assert len(table) == len(dict(table)), "a key is listed twice"
    return {key: default.replace(r"\|", "|") for key, default in table}


class Recorder:
    """Records each key that the code reads, with its reader and its default."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: dict[str, tuple[Callable[[str], Any], Any]] = {}
        take = Ini.take

        def recorded(ini: Ini, key: str, read: Any, default: Any, **options: Any) -> Any:
            self.read[key] = (read, default)
            return take(ini, key, read, default, **options)

        monkeypatch.setattr(Ini, "take", recorded)

    def check(self, key: str, cell: str) -> None:
        """Check that docs/settings.md and the code have the same default for a key.

        :param cell: the default in the table.
        """
        read, default = self.read[key]
        if cell.startswith("`"):
            assert read(cell.strip("`")) == default, key
        else:
            assert (cell, default) in (("none", None), ("none", ()), ("none", [])), key


def page() -> tuple[str, str]:
    settings, _, issuer = (
        (HERE / "docs/settings.md").read_text().partition("## The embedded issuer")
    )
    return settings, issuer


def from_preset() -> set[str]:
    """Return the keys whose default in docs/settings.md may be "from the preset".

    They are the keys that at least one preset sets, and two similar keys that no preset sets.
    """
    found = {key.removeprefix("authapp.") for name in presets.names() for key in presets.load(name)}
    return found | {"backend.answer.expires_in", "backend.answer.refresh_expires_in"}


def test_the_page_lists_each_setting_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    code = Recorder(monkeypatch)
    keys = [key.removeprefix("authapp.") for key in known_keys()]
    listed = rows(page()[0])
    assert set(listed) == set(keys)
    presets_have = from_preset()
    for key, cell in listed.items():
        if cell == "from the preset":
            assert key in presets_have, key
        elif key in IN_WORDS:
            assert cell == IN_WORDS[key], key
        else:
            code.check(key, cell)


def test_the_page_lists_the_settings_of_the_issuer(monkeypatch: pytest.MonkeyPatch) -> None:
    code = Recorder(monkeypatch)
    authapp.issuer.main({}, **{"issuer.users": "a b c@example.com"})
    listed = rows(page()[1])
    assert set(listed) == set(code.read)
    for key, cell in listed.items():
        if key not in ("secret", "session_lifetime"):
            code.check(key, cell)


def test_the_page_names_each_preset() -> None:
    (row,) = (line for line in page()[0].splitlines() if line.startswith("| `backend.preset`"))
    assert all(f"`{name}`" in row for name in (*presets.names(), "none"))
