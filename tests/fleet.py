"""Several processes of the site behind nginx, as docs/operations.md describes them."""

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import requests

from served_site import ServedSite

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream site {{
    {servers}
    keepalive 64;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    large_client_header_buffers 4 16k;
    proxy_buffer_size 16k;
    proxy_buffers 8 16k;
    location / {{
      proxy_pass http://site;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      # A worker that died is left out; what it had begun is tried elsewhere (GET and HEAD).
      proxy_next_upstream error timeout;
    }}
  }}
}}
"""


class Fleet:
    """Some processes of the site, and nginx in front of them, round-robin.

    :param changes: ini keys, for all of them.
    """

    def __init__(
        self, folder: Path, changes: dict[str, str], processes: int = 4, threads: int = 4
    ) -> None:
        if NGINX is None:
            pytest.skip("nginx is not installed; see .ci/packages")
        self.sites = [
            ServedSite(
                folder,
                {"pyramid.reload_templates": "false", **changes},
                f"site-{number}",
                threads,
            )
            for number in range(processes)
        ]
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        servers = "\n".join(
            f"server 127.0.0.1:{site.port} max_fails=1 fail_timeout=1s;" for site in self.sites
        )
        configuration = folder / "nginx.conf"
        configuration.write_text(CONFIGURATION.format(folder=folder, port=port, servers=servers))
        self._nginx = subprocess.Popen([NGINX, "-p", folder, "-c", configuration])
        self.url = f"http://127.0.0.1:{port}"
        give_up = time.monotonic() + 10
        while not self._answers():
            assert time.monotonic() < give_up

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
