"""The rooms (packages) of authapp import only lower rooms and have a docstring, and files are
short."""

import ast
from collections.abc import Iterator
from importlib import import_module
from itertools import chain
from pathlib import Path

import authapp

HERE = Path(__file__).parents[2]
ROOT = Path(authapp.__file__).parent

FLOORS = [
    "session",
    "store",
    "backend",
    "settings",
    "issuer",
    "renewal",
    "services",
    "web",
    "edge",
    "oidc",
    "telemetry",
    "testing",
    "",
    "cli",
    "__main__",
]
"""The rooms from the lowest to the highest. A room imports only lower rooms.

The entry ``""`` is ``authapp/__init__.py``.
"""

ANYWHERE = {"version", "start_up", "server", "request_log"}
"""Modules that every room may import. They import only each other."""


def room_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def modules_imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative import"
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def rooms_imported(file: Path) -> set[str]:
    names = {module for module in modules_imported(file) if module.split(".")[0] == "authapp"}
    return {name.split(".")[1] if "." in name else "" for name in names}


FILES = sorted(ROOT.rglob("*.py"))


def test_a_room_imports_only_lower_rooms() -> None:
    for file in FILES:
        room = room_of(file)
        others = rooms_imported(file) - {room}
        if room in ANYWHERE:
            assert others <= ANYWHERE, file
            continue
        up = {each for each in others - ANYWHERE if FLOORS.index(each) >= FLOORS.index(room)}
        assert not up, f"{file} imports {up}, which is not lower"


def test_a_file_has_at_most_350_lines() -> None:
    others = (HERE.glob(f"{folder}/*.py") for folder in ("tests", "tests/*", "benchmarks"))
    files = [*FILES, *chain.from_iterable(others)]
    lines = {str(file): len(file.read_text().splitlines()) for file in files}
    too_long = {file: count for file, count in lines.items() if count > 350}
    assert not too_long, too_long


def test_each_room_has_a_docstring() -> None:
    packages = [file.parent.name for file in ROOT.glob("*/__init__.py")]
    assert set(packages) <= set(FLOORS)
    for name in packages:
        said = import_module(f"authapp.{name}").__doc__
        assert said, name
        assert len(said.split()) >= 20, f"the docstring of authapp.{name} is too short"


def test_the_public_names_exist() -> None:
    for name in authapp.__all__:
        assert hasattr(authapp, name)
