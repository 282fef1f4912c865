"""The site as operators run it: ``pserve`` with an ini file, a process of its own."""

import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import requests

HERE = Path(__file__).parents[1]
PSERVE = Path(sys.executable).parent / "pserve"


class ServedSite:
    """``pserve`` of an ini file made from ``development.ini``, on a free port.

    :param changes: ini keys of ``[app:main]`` and what to set them to.
    """

    def __init__(self, folder: Path, changes: dict[str, str] | None = None) -> None:
        text = (HERE / "development.ini").read_text()
        text = text.replace("pyramid.includes = pyramid_debugtoolbar\n", "")
        text = text.replace("listen = localhost:6543", "listen = 127.0.0.1:0")
        for key, value in (changes or {}).items():
            line = re.compile(rf"^{re.escape(key)} =.*$", re.MULTILINE)
            set_line = f"{key} = {value}"
            text = (
                line.sub(set_line, text, 1)
                if line.search(text)
                else text.replace(
                    "use = egg:authapp#main\n", f"use = egg:authapp#main\n{set_line}\n"
                )
            )
        self._ini = folder / "site.ini"
        self._ini.write_text(text)
        self.log = ""
        self.start()

    def start(self) -> None:
        """Serve, on a free port the first time and on the same one after that."""
        self.process = subprocess.Popen(
            [PSERVE, self._ini], stderr=subprocess.PIPE, text=True, cwd=HERE, bufsize=1
        )
        assert self.process.stderr
        begun, give_up = len(self.log), time.monotonic() + 30
        while "Serving on" not in self.log[begun:]:
            assert time.monotonic() < give_up, self.log
            if select.select([self.process.stderr], [], [], 0.1)[0]:
                line = os.read(self.process.stderr.fileno(), 65536).decode()
                assert line or self.process.poll() is None, self.log
                self.log += line
        port = re.findall(r"Serving on http://127\.0\.0\.1:(\d+)", self.log)[-1]
        self.url = f"http://127.0.0.1:{port}"
        self._ini.write_text(
            self._ini.read_text().replace("listen = 127.0.0.1:0", f"listen = 127.0.0.1:{port}")
        )
        assert requests.get(self.url + "/health", timeout=5).json() == {"status": "ok"}

    def stop(self) -> None:
        """As an operator does: SIGTERM."""
        self.process.terminate()
        assert self.process.stderr
        self.log += self.process.stderr.read()
        self.process.wait(10)
        self.process.stderr.close()
