"""No setting makes a process that serves users import ``authapp.testing``."""

import subprocess
import sys
from pathlib import Path

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

import authapp.testing
from authapp.settings import settings as all_settings
from house.test_rooms import FILES, modules_imported, room_of
from site_under_test import settings


def test_no_other_module_imports_it() -> None:
    for file in FILES:
        if room_of(file) != "testing":
            found = {each for each in modules_imported(file) if "authapp.testing" in each}
            assert not found, file
            assert "authapp.testing" not in file.read_text() or room_of(file) == "", file


def test_pyramid_cannot_include_it() -> None:
    """With ``pyramid.includes = authapp.testing`` the site does not start, because the package has
    no ``includeme``."""
    package = Path(authapp.testing.__file__).parent
    for file in package.glob("*.py"):
        assert "def includeme" not in file.read_text(), file
        name = f"authapp.testing.{file.stem}".removesuffix(".__init__")
        with pytest.raises(ConfigurationError, match="includeme"):
            Configurator(
                settings=settings(
                    "http://x.invalid",
                )
                | {"pyramid.includes": name}
            )


def test_no_entry_point_but_that_of_pytest_leads_to_it() -> None:
    setup = (Path(authapp.__file__).parents[1] / "setup.py").read_text()
    lines = [line for line in setup.splitlines() if "authapp.testing" in line]
    assert lines == ['        "pytest11": ["authapp = authapp.testing.plugin"],']


@pytest.mark.servers
def test_no_setting_is_a_name_to_import() -> None:
    """If the value of a setting is ``authapp.testing``, the site does not import the package."""
    source = """
import sys
import authapp
from authapp.settings.settings import known_keys
from site_under_test import settings

started = 0
for key in known_keys():
    try:
        authapp.main({}, **(settings("http://x.invalid") | {key: "authapp.testing"}))
        started += 1
    except authapp.SettingsError:
        pass
assert started > 10, started
assert not [name for name in sys.modules if name.startswith("authapp.testing")]
"""
    tests = Path(__file__).parents[1]
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", source],
        env={"PYTHONPATH": f"{tests.parent}:{tests}"},
        check=True,
        timeout=120,
    )
    assert len(all_settings.known_keys()) > 50
