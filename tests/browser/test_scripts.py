"""eslint checks the scripts of pages. It finds undeclared names, which a browser finds only
later."""

import subprocess
from pathlib import Path

import pytest

from browser.node_side import HERE
from node_packages import install

STATIC = Path(__file__).parents[2] / "authapp" / "static"


def lint(folder: Path) -> str:
    """Return what eslint prints about the scripts in a folder. It prints nothing if they are
    correct."""
    program = HERE / "node_modules/eslint/bin/eslint.js"
    done = subprocess.run(
        [install(HERE), program, "--config", HERE / "eslint.config.mjs", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_scripts_use_only_names_that_are_declared() -> None:
    assert lint(STATIC) == ""


@pytest.mark.parametrize(
    ("script", "rule"), [("clock();", "no-undef"), ("const clock = 1;", "no-unused-vars")]
)
def test_a_name_without_a_use_or_a_declaration_is_found(
    tmp_path: Path, script: str, rule: str
) -> None:
    (tmp_path / "page.js").write_text(script)
    assert rule in lint(tmp_path)
