"""What browser tests need from Node.js: Firefox, and a linter for the scripts of pages."""

import fcntl
import json
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "node"
NODE, NPM, FIREFOX = (shutil.which(each) for each in ("node", "npm", "firefox-esr"))


def install() -> str:
    """Install the npm packages of the lock file. Workers of pytest-xdist do this only once.

    :returns: the path of the program ``node``.
    """
    if NODE is None or NPM is None:
        pytest.skip("Node.js or npm is not installed; see .ci/packages")
    mark, lock = HERE / "node_modules/.complete", HERE / "package-lock.json"
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not mark.exists() or mark.read_text() != lock.read_text():
            subprocess.run([NPM, "ci", "--ignore-scripts"], cwd=HERE, check=True)
            mark.write_text(lock.read_text())
    return NODE


class Firefox:
    """Firefox without a screen. The script ``firefox.mjs`` controls it."""

    def __init__(self) -> None:
        if FIREFOX is None:
            pytest.skip("firefox-esr is not installed; see .ci/packages")
        self._process = subprocess.Popen(
            [install(), "firefox.mjs", FIREFOX],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == "ready\n", "it did not start, and says why above"

    def walk(self, name: str, site: str) -> None:
        """Run a function of ``firefox.mjs`` on a site.

        :param name: the name of the function.
        :raises AssertionError: with the error of the function, if it has failed.
        """
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"walk": name, "site": site}) + "\n")
        self._process.stdin.flush()
        fault = json.loads(self._read())["fault"]
        assert fault is None, fault

    def close(self) -> None:
        """Close the browser, and end the process."""
        self._process.communicate(timeout=20)

    def _read(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()
