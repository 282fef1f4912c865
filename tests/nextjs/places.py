"""The URLs and the settings of the two applications of docs/nextjs.md.

Next.js and Pyramid are on one host, or on two hosts of one domain.
"""

import re
from configparser import ConfigParser
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

from cryptography import x509

from nextjs_side import DOCUMENT
from servers.tls import Authority
from site_under_test import settings

NAMED = {5: "authjs-5", 4: "next-auth-4"}
NAMES = {5: "authjs.session-token", 4: "next-auth.session-token"}
DOMAIN = "site.test"
"""The domain of the hosts. Chromium finds them on this machine: see ``browser/chromium.py``."""


@dataclass(frozen=True)
class Place:
    """The URLs and the settings of Next.js and Pyramid, on one host or on two hosts.

    :param url: the URL of Next.js.
    :param pyramid: the URL of Pyramid. On one host it is the same as ``url``.
    :param name: the name of the session cookie.
    :param ini: the settings of the Pyramid application.
    :param server: the settings of Pyramid's server.
    :param environ: variables for the environment of Next.js.
    :param nginx: the ``server`` blocks of nginx. In them Next.js has port 3000, and Pyramid port
        6543.
    """

    url: str
    pyramid: str
    name: str
    ini: dict[str, str]
    nginx: str
    server: dict[str, str] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)


def sections() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Return three parts of the ini file in docs/nextjs.md.

    :returns: ``[app:main]``, ``[server:main]``, and the keys that two hosts add to ``[app:main]``.
    """
    first, more = found("ini")
    parser = ConfigParser(interpolation=None)
    parser.read_string(f"{first}[two]\n{more}")
    app, server, two = (dict(parser[each]) for each in ("app:main", "server:main", "two"))
    return app, server, two


def found(language: str) -> list[str]:
    """Return the code blocks of docs/nextjs.md that are in a language, without their
    indentation."""
    pattern = rf"^( *)```{language}\n(.*?)^ *```"
    texts = re.findall(pattern, DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    return [dedent(text) for _, text in texts]


def one_host(version: int, port: int, backend: str, secret: str) -> Place:
    """Return the settings for one host with http, as in development.

    :param version: 5 for Auth.js 5, 4 for next-auth 4.
    :param port: the port of nginx.
    :param backend: the URL of the backend.
    :param secret: the secret that encrypts sessions.
    """
    url, name = f"http://localhost:{port}", NAMES[version]
    site = re.sub(r".*(ssl_cert|server_name).*\n", "", found("nginx")[0])
    return Place(
        url,
        url,
        name,
        settings(backend, secret=secret, session__format=NAMED[version], session__cookie=name),
        site.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};"),
    )


def two_hosts(version: int, port: int, backend: str, secret: str, folder: Path) -> Place:
    """Return the settings that docs/nextjs.md has for two hosts, with https.

    :param folder: the folder for the certificate. The other parameters are those of
        :func:`one_host`.
    """
    certificate = Authority(folder).certify(x509.DNSName(f"*.{DOMAIN}"))

    def here(text: str) -> str:
        text = re.sub(r"(www|app)\.example\.com", rf"\1.{DOMAIN}:{port}", text)
        return text.replace("example.com", DOMAIN)

    app, server, two = sections()
    ini = {key: here(value) for key, value in (app | two).items()}
    del ini["use"], server["use"], server["listen"]
    (variables,) = (each for each in found("sh") if "SESSION_DOMAIN" in each)
    environ = dict(re.findall(r'^(\w+)="(.*)"$', here(variables), re.MULTILINE))
    site = re.sub(r"/etc/ssl/\w+\.(pem|key)", str(certificate), found("nginx")[1])
    site = site.replace("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;")
    return Place(
        environ["AUTH_URL"],
        environ["PYRAMID_URL"],
        environ["SESSION_COOKIE"],
        {
            **ini,
            "authapp.secret": secret,
            "authapp.session.format": NAMED[version],
            "authapp.backend.url": backend,
            "authapp.backend.private_network": "true",
            "pyramid.default_locale_name": "en",
        },
        re.sub(r"(server_name \S+)\.example\.com", rf"\1.{DOMAIN}", site),
        server,
        environ,
    )
