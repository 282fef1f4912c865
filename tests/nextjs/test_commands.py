"""The commands of docs/nextjs.md make a site that starts, and install what its code imports."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from eventually import eventually
from nextjs.places import found
from nextjs_side import HERE, blocks, commands


def test_the_commands_of_the_guide_make_a_pyramid_site_that_starts(tmp_path: Path) -> None:
    """Run the commands of docs/nextjs.md in an empty folder, except those that install packages.
    ``.venv`` is the virtual environment of the tests."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    first, second = (each for each in found("sh") if ".venv/" in each)
    venv, install, *others = first.splitlines()
    assert (venv, "pip install" in install) == ("python3 -m venv .venv", True)
    _, serve = second.splitlines()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "production.ini").write_text(found("ini")[0].replace("6543", str(port)))
    for command in others:  # test_real_next.py runs ``check``
        subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "secret.txt").stat().st_mode & 0o077 == 0
    with subprocess.Popen(serve.split(), cwd=tmp_path) as running:
        try:
            eventually(lambda: answers(port), 60)
        finally:
            running.terminate()


def answers(port: int) -> bool:
    try:
        # The proxy sends these headers.
        headers = {"Host": "app.example.com", "X-Forwarded-Proto": "https"}
        page = requests.get(f"http://127.0.0.1:{port}/login", headers=headers, timeout=30)
    except requests.ConnectionError:
        return False
    return page.ok and "__Host-authapp.csrf" in page.headers["Set-Cookie"]


@pytest.mark.parametrize("version", [5, 4])
def test_the_packages_of_the_guide_are_those_that_its_files_import(version: int) -> None:
    (line,) = (each for each in commands(version) if each.startswith("npm install"))
    named = dict(re.findall(r'"?([a-z-]+)@\^?([\w.-]+)"?', line))
    imported = set()
    for path, code in blocks(version).items():
        imported |= set(re.findall(r'(?:from |import\()"([a-z][a-z-]*)', code)) if path else set()
    assert set(named) - {"react-dom"} == imported - {"node"}
    # The tests install the same packages as the command.
    lock = json.loads((HERE / "package-lock.json").read_text())["packages"]
    key = {4: "next-auth", 5: "next-auth-5"}[version]
    assert lock[f"node_modules/{key}"]["version"].startswith(named["next-auth"])
    for name in ("next", "react", "react-dom"):
        assert f"node_modules/{name}" in lock
