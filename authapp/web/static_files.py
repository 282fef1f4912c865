"""Serves the stylesheet and the scripts. Browsers keep them for a year.

``request.static_path("authapp:static/page.js")`` returns ``/authapp-static/<hash>/page.js``. After
an upgrade the hash is another one, so browsers request the new files. All files have the same hash.
So when ``page.js`` imports ``./session.js``, the URL of ``session.js`` has the hash too.

The files are also available at URLs without a hash, but browsers request those each time.
"""

import hashlib
import time
from pathlib import Path
from typing import Any

from pyramid.config import Configurator
from pyramid.path import AssetResolver
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.static import static_view

from authapp.settings.settings import settings_of
from authapp.web.routes import NAMESPACE, STATIC, refuse_other_methods, static_route

SPEC = "authapp:static"
"""The folder of the files. An application can override a file with ``config.override_asset``."""

YEAR = 31_536_000
"""The time in seconds for which browsers keep a file."""

_HASH_AGAIN = 1.0
"""In development, the hash is computed again after this many seconds, because files change. It is
not computed for each URL, because reading all files takes longer than rendering a page."""

_NAMES = sorted(each.name for each in (Path(__file__).parents[1] / "static").iterdir())


class StaticFiles:
    """Serves the files of one application, and computes the hash of their contents.

    :param development: True to compute the hash again every second, because files change.
    """

    def __init__(self, *, development: bool) -> None:
        self._development = development
        self._hash: str | None = None
        self._hashed_at = 0.0
        self._serve = static_view(SPEC, use_subpath=True, package_name="authapp")

    @property
    def hash(self) -> str:
        """The hash of all files. For an overridden file, the application's file is hashed."""
        now = time.monotonic()
        is_old = self._development and now - self._hashed_at > _HASH_AGAIN
        if self._hash is None or is_old:
            self._hash, self._hashed_at = _hash_files(), now
        return self._hash

    def add_hash(
        self, request: Request, elements: tuple[Any, ...], kw: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Put the hash into the URL of a file.

        Pyramid calls this method when it makes the URL (as the route's pregenerator).
        """
        if not request.registry.settings.get("pyramid.prevent_cachebust"):
            kw["subpath"] = f"{self.hash}/{kw['subpath']}"
        return elements, kw

    def serve(self, context: Any, request: Request) -> Response:
        """Serve a file whose URL contains a hash.

        During an upgrade, a process may get a request with the hash of another version. The process
        then sends its own file, but browsers must not keep this file under that hash.
        """
        response: Response = self._serve(context, request)
        is_current = request.matchdict["hash"] == self.hash
        kept = f"public, max-age={YEAR}, immutable" if is_current else "no-cache"
        response.headers["Cache-Control"] = kept
        return response


def _hash_files() -> str:
    found = hashlib.sha256()
    for name in _NAMES:
        with AssetResolver().resolve(f"{SPEC}/{name}").stream() as file:
            found.update(b"%s %s" % (name.encode(), hashlib.sha256(file.read()).digest()))
    return found.hexdigest()[:12]


def includeme(config: Configurator) -> None:
    """Add the routes of the files.

    The hash does not come from a cache buster of Pyramid. With a cache buster, Pyramid would need
    more time for each URL of a static file, also of the application's own files.
    """
    files = StaticFiles(development=settings_of(config.registry).development)
    hashed = f"{NAMESPACE}static"
    config.add_route(hashed, f"/{STATIC}/{{hash:[0-9a-f]{{12}}}}/*subpath")
    # Use only the route of add_static_view. Its view would serve a POST too, and the check of the
    # CSRF token would then read a form of any length. The view that is added below replaces this
    # view. Pyramid allows that, because add_static_view is called in an included function.
    config.include(lambda config: config.add_static_view(STATIC, SPEC, pregenerator=files.add_hash))
    plain = static_view(SPEC, cache_max_age=0, use_subpath=True, package_name="authapp")
    for route, view in ((hashed, files.serve), (static_route(config), plain)):
        config.add_view(
            view, route_name=route, request_method="GET", permission=NO_PERMISSION_REQUIRED
        )
        refuse_other_methods(config, route)
