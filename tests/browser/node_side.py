"""What browser tests need from Node.js: Firefox, and a linter for the scripts of pages."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from node_packages import install

HERE = Path(__file__).parent / "node"
FIREFOX = shutil.which("firefox-esr")


class Firefox:
    """Firefox without a screen. The script ``firefox.mjs`` controls it."""

    def __init__(self) -> None:
        if FIREFOX is None:
            pytest.skip("firefox-esr is not installed; see .ci/packages")
        self._process = subprocess.Popen(
            [install(HERE), "firefox.mjs", FIREFOX],
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
