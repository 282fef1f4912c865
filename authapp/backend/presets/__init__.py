"""Presets: one ini file for each kind of backend, with the settings that describe this backend.

People can read these files, and copy lines from them. A setting in the application's ini file
replaces the same setting of the preset.
"""

from configparser import ConfigParser
from functools import cache
from importlib.resources import files

_SECTION = "app:main"


@cache
def names() -> tuple[str, ...]:
    """Return the names of all presets."""
    entries = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".ini") for name in entries if name.endswith(".ini")))


@cache
def load(name: str) -> dict[str, str]:
    """Return the settings of a preset. Each key begins with ``authapp.``.

    :param name: one of :func:`names`.
    """
    parser = ConfigParser(delimiters=("=",), interpolation=None)
    parser.read_string((files(__name__) / f"{name}.ini").read_text(encoding="utf-8"))
    return dict(parser[_SECTION])
