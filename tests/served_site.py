"""The site as operators run it: ``pserve`` with an ini file, in a separate process."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import requests

HERE = Path(__file__).parents[1]
PSERVE = Path(sys.executable).parent / "pserve"


class ServedSite:
    """The site in a process of ``pserve``, on a free port.

    :param folder: the folder to which the site's ini file and log are written.
    :param changes: keys of ``[app:main]`` that the site's ini file sets to other values.
    :param name: the name of the site's files without ``.ini`` and ``.log``. Sites in one folder
        need different names.
    :param threads: the number of waitress's threads.
    :param toolbar: True to keep the debug toolbar of ``development.ini``.
    :param ini: the ini file of this repository that is copied and changed for the site.
    """

    def __init__(
        self,
        folder: Path,
        changes: dict[str, str] | None = None,
        name: str = "site",
        threads: int = 4,
        toolbar: bool = False,
        ini: str = "development.ini",
    ) -> None:
        text = (HERE / ini).read_text()
        if not toolbar:
            text = text.replace("pyramid.includes = pyramid_debugtoolbar\n", "")
        text = text.replace("listen = localhost:6543", f"listen = 127.0.0.1:0\nthreads = {threads}")
        text = text.replace("listen = 127.0.0.1:6543", "listen = 127.0.0.1:0")
        for key, value in (changes or {}).items():
            line = re.compile(rf"^{re.escape(key)} =.*$", re.MULTILINE)
            text = line.sub("", text, count=1)
            text = text.replace(
                "use = egg:authapp#main\n", f"use = egg:authapp#main\n{key} = {value}\n"
            )
        self._ini, self._log = folder / f"{name}.ini", folder / f"{name}.log"
        self._ini.write_text(text)
        self.start()

    @property
    def log(self) -> str:
        """Return everything that the process has logged."""
        return self._log.read_text()

    def start(self) -> None:
        """Start the process. A restarted process has the same port as before."""
        with self._log.open("ab") as log:
            begun = log.tell()
            self.process = subprocess.Popen(
                [PSERVE, self._ini],
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=HERE,
                env={
                    **os.environ,
                    "PYTHONPATH": f"{HERE}:{HERE / 'tests'}",
                    "PYTHONUNBUFFERED": "1",
                    "AUTHAPP_SECRET": "a secret of production.ini in tests, 48 bytes long",
                },
            )
        give_up = time.monotonic() + 30
        while "Serving on" not in self.log[begun:]:
            assert time.monotonic() < give_up, self.log
            assert self.process.poll() is None, self.log
            time.sleep(0.02)
        self.port = int(re.findall(r"Serving on http://127\.0\.0\.1:(\d+)", self.log)[-1])
        self.url = f"http://127.0.0.1:{self.port}"
        text = self._ini.read_text()
        self._ini.write_text(text.replace("127.0.0.1:0\n", f"127.0.0.1:{self.port}\n"))
        assert requests.get(self.url + "/health", timeout=5).json() == {"status": "ok"}

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Stop the process, and wait for its end.

        :param how: the signal. SIGTERM is what an operator sends, and SIGKILL is like a crash.
        """
        self.process.send_signal(how)
        self.process.wait(10)
