"""All packages of production are pinned for each supported Python. CHANGES.md has a review of each
pin."""

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
"""For each pinned package: its canonical name, its version, and its environment marker or None."""


def needed(name: str, environment: dict[str, str], extra: str = "") -> set[str]:
    """Return the canonical names of all packages that a package needs, directly or indirectly.

    If a needed package is not installed here, what it needs is unknown and missing from the result.

    :param environment: the version of Python, as environment markers use it.
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


def test_the_supported_pythons_are_found_in_setup_py() -> None:
    assert PYTHONS == ["3.10", "3.11", "3.12", "3.13"]


@pytest.mark.parametrize("python", PYTHONS)
def test_the_pins_of_production_were_reviewed(python: str) -> None:
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    reviewed = " ".join((HERE / "CHANGES.md").read_text().partition("## Pins")[2].split())
    for name in needed("authapp", environment, "redis"):
        mine = [
            f"{pinned} {version}"
            for pinned, version, marker in PINS
            if pinned == name and (marker is None or marker.evaluate(environment))
        ]
        assert len(mine) == 1, f"{name} has the pins {mine} for Python {python}"
        assert mine[0] in reviewed, f"CHANGES.md, section Pins, has no review of {mine[0]}"


def test_the_site_is_served_with_the_pins_that_are_tested() -> None:
    def pins(name: str) -> set[tuple[str, str]]:
        text = (HERE / ".ci" / name).read_text()
        return set(re.findall(r"^([a-z0-9.-]+)==([^\s;\\]+)", text, re.MULTILINE))

    assert pins("serve.lock") <= pins("requirements.lock")
