"""Follow the tutorial word for word, in an empty directory."""

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from eventually import eventually

HERE = Path(__file__).parents[2]
BIN = f"{Path(sys.executable).parent}/"

BLOCK = re.compile(r"(?P<before>.*?)^```(?P<kind>\w+)\n(?P<text>.*?)^```", re.S | re.M)
NAMED = re.compile(r"Save\s+this\s+as\s+`([\w.]+)`")


def run(command: str, folder: Path) -> str:
    """Run a command of the tutorial, and return its output. ``venv/bin/`` in the command stands for
    the programs of the tests' virtual environment."""
    environment = os.environ | {"PYTEST_ADDOPTS": f"--confcutdir={folder}"}
    done = subprocess.run(
        command.replace("venv/bin/", BIN),
        shell=True,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def served(command: str, folder: Path) -> Iterator[str]:
    """Serve the application with a command of the tutorial, but on a free port. Yield the URL."""
    variable, program, ini = command.split()
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        [program.replace("venv/bin/", BIN), ini, f"listen={address}"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": variable.partition("=")[2]},
    )

    def answers() -> bool:
        assert process.poll() is None, "pserve has ended"
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"http://{address}/health", timeout=5).ok
        return False

    try:
        eventually(answers, 30)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(10)


def sign_in(browser: requests.Session, url: str, page: str = "/login") -> str:
    """Open a page, and sign in as alice with its form. Return the text of the next page."""
    form = browser.get(url + page, headers={"Accept": "text/html"}, timeout=5)
    fields = dict(re.findall(r'name="(csrf_token|next)" value="([^"]*)"', form.text))
    fields |= {"username": "alice", "password": "alice-password"}
    there = browser.post(form.url, fields, headers={"Accept": "text/html"}, timeout=5)
    return there.text


def test_the_tutorial_is_true(tmp_path: Path) -> None:
    seen, answer = [], ""
    for step in BLOCK.finditer((HERE / "docs/tutorial.md").read_text()):
        text = step["text"].strip()
        name = NAMED.search(step["before"].rstrip().rpartition("\n\n")[2])
        seen.append(step["kind"])
        if name:
            (tmp_path / name[1]).write_text(text + "\n")
        elif step["kind"] == "text":
            assert answer.strip().splitlines()[-1].startswith(text)
        elif "pip install" in text:
            continue
        elif "pserve" not in text:
            answer = run(text, tmp_path)
        else:
            with served(text, tmp_path) as url, requests.Session() as browser:
                assert browser.get(url, timeout=5).text == "Hello. You are not signed in."
                if seen.count("sh") == 3:
                    assert sign_in(browser, url) == "Hello alice."
                    account = browser.get(url + "/account", timeout=5).text
                    assert "alice@example.com" in account
                    assert "Sign out" in account
                else:
                    assert sign_in(browser, url, "/notes") == "The notes of alice@example.com"
    assert " ".join(seen) == "sh python ini sh text sh python sh python sh text"
