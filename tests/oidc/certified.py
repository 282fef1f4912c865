"""The npm package ``oidc-provider``, a certified OpenID Connect provider, as a separate process."""

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import jwt
import requests

from node_packages import install
from servers.oidc import CLIENT_ID, CLIENT_SECRET, new_key

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


class Certified:
    """A certified OpenID Connect provider.

    The port is chosen before the start, so that the settings of a site can contain the URL.

    :param access: the lifetime of an access token in seconds.
    """

    def __init__(self, access: int = 900) -> None:
        self._node = install(HERE)
        self._access = access
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[str] | None = None

    def settings(self) -> dict[str, str]:
        """Return the ini keys for a site that uses this provider."""
        return {
            "authapp.backend.url": "",
            "authapp.backend.verify": "",
            "authapp.oidc.issuer": self.url,
            "authapp.oidc.client_id": CLIENT_ID,
            "authapp.oidc.client_secret": CLIENT_SECRET,
            "authapp.oidc.prompt": "consent",  # without it there is no refresh token
            "authapp.oidc.label": "Certified ID",
        }

    def start(self, *sites: str) -> None:
        """Start the provider with a new signing key.

        :param sites: the URLs of the sites, for the redirect URIs. The provider sends back-channel
            sign-outs to the first of them.
        """
        kid = os.urandom(4).hex()
        key = {**jwt.algorithms.RSAAlgorithm.to_jwk(new_key(), as_dict=True), "kid": kid}
        environ = {
            **os.environ,
            "PORT": str(self._port),
            "SITES": " ".join(sites),
            "CLIENT_ID": CLIENT_ID,
            "CLIENT_SECRET": CLIENT_SECRET,
            "ACCESS_TTL": str(self._access),
            "KEYS": json.dumps({**key, "use": "sig", "alg": "RS256"}),
        }
        self._process = subprocess.Popen(
            [self._node, "provider.mjs"], cwd=HERE, env=environ, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        while not (line := self._process.stdout.readline()).startswith("PORT"):
            assert line, "it did not start, and says why above"

    def calls(self, path: str) -> int:
        found: dict[str, Any] = requests.get(self.url + "/control", timeout=5).json()
        return int(found.get(path, 0))

    def down(self, *paths: str) -> None:
        """Make the provider return 503 for these paths only. Without paths, it returns 503 for
        none."""
        requests.post(self.url + "/control", json={"down": paths}, timeout=5).raise_for_status()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate()
            self._process = None
