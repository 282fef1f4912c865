"""What runs in production is pinned for every Python, and each pin was looked at."""

import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parents[2]
PYTHONS = re.findall(r"Python :: (3\.\d+)", (HERE / "setup.py").read_text())

PINS = [
    (name, version, Marker(marker) if marker else None)
    for name, version, marker in re.findall(
        r"^([a-z0-9.-]+)==([^\s;\\]+)(?: ; (.+?))? \\$",
        (HERE / ".ci" / "requirements.lock").read_text(),
        re.MULTILINE,
    )
]
"""Canonical name, version, and for which Pythons it is."""


def needed(name: str, environment: dict[str, str], extra: str = "") -> set[str]:
    """What a distribution needs with one Python, and what that needs: canonical names.

    What is not installed here, since this Python does not need it, needs nothing itself.
    """
    found = set()
    try:
        requirements = requires(name) or ()
    except PackageNotFoundError:
        return found
    for requirement in map(Requirement, requirements):
        if not requirement.marker or requirement.marker.evaluate({**environment, "extra": extra}):
            found |= {canonicalize_name(requirement.name)} | needed(requirement.name, environment)
            for each in requirement.extras:
                found |= needed(requirement.name, environment, each)
    return found


def test_every_supported_python_is_meant() -> None:
    assert PYTHONS == ["3.10", "3.11", "3.12", "3.13"]


@pytest.mark.parametrize("python", PYTHONS)
def test_the_pins_of_production_were_looked_at(python: str) -> None:
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    reviewed = " ".join((HERE / "CHANGES.md").read_text().partition("## Pins")[2].split())
    for name in needed("authapp", environment, "redis"):
        mine = [
            f"{pinned} {version}"
            for pinned, version, marker in PINS
            if pinned == name and (marker is None or marker.evaluate(environment))
        ]
        assert len(mine) == 1, f"{name} has {mine} for Python {python}"
        assert mine[0] in reviewed, f"CHANGES.md, Pins: nobody has looked at {mine[0]}"
