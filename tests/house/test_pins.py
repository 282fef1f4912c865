"""What runs in production is pinned, and CHANGES.md says that somebody has looked at the pins."""

import re
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parents[2]


def needed(name: str, extra: str = "") -> set[str]:
    """What a distribution needs here, and what that needs: canonical names."""
    found = set()
    for requirement in map(Requirement, requires(name) or ()):
        if not requirement.marker or requirement.marker.evaluate({"extra": extra}):
            found |= {canonicalize_name(requirement.name)} | needed(requirement.name)
            for each in requirement.extras:
                found |= needed(requirement.name, each)
    return found


def test_the_pins_of_production_were_looked_at() -> None:
    lock = (HERE / ".ci" / "requirements.lock").read_text()
    pins = {f"{name} {version}" for name, version in re.findall(r"^(\S+)==([^\s;\\]+)", lock, re.M)}
    reviewed = " ".join((HERE / "CHANGES.md").read_text().partition("## Pins")[2].split())
    for name in needed("authapp", "redis"):
        mine = {pin for pin in pins if pin.startswith(f"{name} ")}
        assert mine, f"{name} is not pinned"
        missing = [pin for pin in mine if pin not in reviewed]
        assert not missing, f"CHANGES.md, Pins: nobody has looked at {missing}"
