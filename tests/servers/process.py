"""Runs a package of another project in a separate process, which a test starts and stops.

The package runs in a script of this folder. The script takes a directory as its argument. It prints
``PORT <n>`` when it can be reached on 127.0.0.1, and serves until it is terminated.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any

import requests

CONTROL = "/control/"


class Process:
    """A running process, as tests use it.

    :param url: the URL of its server.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = requests.Session()
        self._http.trust_env = False

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request to the process directly, and not through authapp."""
        return self._http.request(method, self.url + path, timeout=10, **options)

    def post(self, path: str, **fields: Any) -> requests.Response:
        """Send a POST request with fields as JSON."""
        return self.request("POST", path, json=fields)

    def set(self, **orders: Any) -> Any:
        """Change how the process behaves: POST ``orders`` as JSON to its path ``/control/``.

        :returns: what the process reports, such as the number of requests by path.
        """
        answer = self.post(CONTROL, **orders)
        answer.raise_for_status()
        return answer.json()


@contextmanager
def serve(script: str, folder: Path, **environ: str) -> Iterator[Process]:
    """Run a script of this folder while a ``with`` block runs.

    :param script: the name of the script.
    :param folder: the folder for the files of the script.
    :param environ: variables for the environment of the script.
    """
    command = [sys.executable, str(Path(__file__).parent / script), str(folder)]
    with Popen(command, env=os.environ | environ, stdout=PIPE, text=True) as running:
        try:
            line = running.stdout.readline() if running.stdout else ""
            assert line.startswith("PORT "), "it did not start, and says why above"
            yield Process(f"http://127.0.0.1:{int(line.split()[1])}")
        finally:
            running.terminate()
            try:
                running.wait(10)
            except TimeoutExpired:
                running.kill()
