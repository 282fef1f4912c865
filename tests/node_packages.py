"""Install the npm packages that a folder of tests needs, as its ``package-lock.json`` pins them."""

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

NODE, NPM = shutil.which("node"), shutil.which("npm")


def install(folder: Path) -> str:
    """Run ``npm ci`` in a folder, if it has not run there with the present lock file.

    Workers of pytest-xdist wait for each other. If ``npm ci`` fails, the test fails and shows what
    npm has printed. No script of a package runs.

    :returns: the program ``node``.
    """
    if NODE is None or NPM is None:
        pytest.skip("Node.js or npm is not installed; see .ci/packages")
    mark, lock = folder / "node_modules/.complete", folder / "package-lock.json"
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not mark.exists() or mark.read_text() != lock.read_text():
            done = subprocess.run(
                [NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"npm ci in {folder}:\n{done.stdout}{done.stderr}"
            mark.write_text(lock.read_text())
    return NODE
