"""Several processes of the site behind nginx, configured as in docs/operations.md."""

import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import requests

from eventually import eventually
from served_site import ServedSite

OPERATIONS = Path(__file__).parents[1] / "docs/operations.md"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
worker_processes {workers};
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
{site}
}}
"""


def documented(servers: list[str], port: int) -> str:
    """Return the nginx configuration of docs/operations.md, without TLS, for servers on this
    machine.

    :param servers: the addresses of the site's processes, such as ``127.0.0.1:6543``.
    :param port: the port of nginx.
    """
    text = OPERATIONS.read_text().split("```nginx\n")[1].split("```")[0]
    first, *others = re.findall(r"server (10\.0\.0\.\d+:\d+)", text)
    lines = text.splitlines()
    (template,) = (line for line in lines if first in line)
    lines = [line for line in lines if not any(each in line for each in ("ssl_cert", *others))]
    at = lines.index(template)
    lines[at : at + 1] = [template.replace(first, server) for server in servers]
    return "\n".join(lines).replace("listen 443 ssl;", f"listen 127.0.0.1:{port} backlog=4096;")


class Fleet:
    """Several processes of the site behind nginx, which sends each request to the next process.

    :param changes: ini keys and their values, for all processes.
    :param processes: the number of processes.
    :param threads: the number of threads in each process.
    :param ini: the name of the ini file that the processes use.
    :param workers: the number of nginx's worker processes.
    """

    def __init__(
        self,
        folder: Path,
        changes: dict[str, str],
        processes: int = 4,
        threads: int = 4,
        ini: str = "development.ini",
        workers: int = 1,
    ) -> None:
        if NGINX is None:
            pytest.skip("nginx is not installed; see .ci/packages")
        self.sites = [
            ServedSite(
                folder,
                {"pyramid.reload_templates": "false", **changes},
                f"site-{number}",
                threads,
                ini=ini,
            )
            for number in range(processes)
        ]
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        site = documented([f"127.0.0.1:{site.port}" for site in self.sites], port)
        configuration = folder / "nginx.conf"
        configuration.write_text(CONFIGURATION.format(folder=folder, site=site, workers=workers))
        self._nginx = subprocess.Popen([NGINX, "-p", folder, "-c", configuration])
        self.url = f"http://127.0.0.1:{port}"
        eventually(self._answers)

    def _answers(self) -> bool:
        try:
            return requests.get(self.url + "/health", timeout=5).ok
        except requests.ConnectionError:
            return False

    def close(self) -> None:
        self._nginx.send_signal(signal.SIGTERM)
        self._nginx.wait(10)
        for site in self.sites:
            if site.process.poll() is None:
                site.stop()
