"""The site as tests use it: WebTest around the real application."""

from typing import Any

from webtest import TestApp, TestResponse

import authapp

SECRET = "a secret for tests that is long enough, 1"
COOKIE = "authapp.session"


def settings(backend_url: str, **more: str) -> dict[str, str]:
    """An ini file's ``[app:main]``; ``more`` are ``authapp.`` keys with ``__`` for dots."""
    ini = {
        "pyramid.default_locale_name": "en",
        "authapp.development": "true",
        "authapp.secret": SECRET,
        "authapp.backend.url": backend_url,
        "authapp.backend.timeout": "2",
    }
    return ini | {f"authapp.{key.replace('__', '.')}": value for key, value in more.items()}


class Site(TestApp):
    """A browser's view of the site."""

    def __init__(self, backend_url: str = "", wsgi: Any = None, **more: str) -> None:
        wsgi = wsgi or authapp.main({}, **settings(backend_url, **more))
        super().__init__(wsgi, extra_environ={"HTTP_HOST": "localhost:80"})

    @property
    def parts(self) -> Any:
        from authapp.parts import IParts

        return self.app.registry.getUtility(IParts)

    def sign_in(self, name: str = "alice", password: str = "", **options: Any) -> TestResponse:
        """Through the form, as a person would."""
        form = self.get("/login").form
        form["username"] = name
        form["password"] = password or f"{name}-password"
        return form.submit(**options)

    def csrf(self) -> str:
        return self.get("/session").json["csrf_token"]

    def sign_out(self, everywhere: bool = False) -> TestResponse:
        fields = {"csrf_token": self.csrf()} | ({"everywhere": "1"} if everywhere else {})
        return self.post("/logout", fields)

    def token(self) -> str:
        """What the browser holds."""
        return self.cookies[COOKIE]

    def cookie_header(self) -> dict[str, str]:
        """The cookie as a header of its own, for when the browser would not send it any more."""
        return {"Cookie": f"{COOKIE}={self.token()}"}

    def opened(self) -> Any:
        """The session that the browser holds."""
        return self.parts.sealer.open(self.token())

    def twin(self) -> "Site":
        """Another browser with a copy of this one's cookies."""
        other = Site(wsgi=self.app)
        for cookie in self.cookiejar:
            other.cookiejar.set_cookie(cookie)
        return other
