"""Read the settings of authapp, or the problems that make them invalid."""

from typing import Any

import pytest

from authapp.settings.ini import SettingsError
from authapp.settings.settings import Settings

SECRET = "a secret for tests that is long enough"
GOOD = {"authapp.secret": SECRET, "authapp.backend.url": "https://auth.example.com/"}
LOCAL = {**GOOD, "authapp.development": "true"}


def read(ini: dict[str, Any] = GOOD, **more: str) -> Settings:
    return Settings.from_ini(
        ini | {f"authapp.{key.replace('__', '.')}": value for key, value in more.items()}
    )


def problems(ini: dict[str, Any] = GOOD, **more: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(ini, **more)
    return caught.value.problems
