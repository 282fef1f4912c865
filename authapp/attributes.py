"""What every request has with authapp, on one class for all requests.

``add_request_method(property=True)`` makes Pyramid create a class for every single request,
which costs more than all else that authapp does with a session it has opened before.
"""

from functools import lru_cache
from typing import Any

from pyramid.config import Configurator
from pyramid.decorator import reify
from pyramid.util import SettableProperty

from authapp.calls import BackendSession
from authapp.cookies import legible
from authapp.errors import ErrorCode
from authapp.events import request_id
from authapp.live import session_options
from authapp.session import Validity
from authapp.state import State, open_state


class Attributes:
    """The attributes; mixed into whatever class the requests of an application have."""

    @reify
    def authapp(self) -> State:
        """The session of this request, for authapp itself."""
        return open_state(self)

    @reify
    def backend(self) -> BackendSession:
        """The backend, as the signed-in user."""
        return BackendSession(self)

    @property
    def cookies(self) -> Any:
        """All cookies, as WebOb reads them once its parser cannot come to harm."""
        environ: dict[str, Any] = self.environ  # type: ignore[attr-defined]
        if "HTTP_COOKIE" in environ:
            environ["HTTP_COOKIE"] = legible(environ["HTTP_COOKIE"])
        return super().cookies  # type: ignore[misc]

    @cookies.setter
    def cookies(self, cookies: Any) -> None:
        super(Attributes, type(self)).cookies.fset(self, cookies)  # type: ignore[misc]

    request_id = reify(request_id)
    session_options = session_options

    @SettableProperty
    def session_error(self) -> ErrorCode | None:
        """Why nobody is signed in, where there is a reason."""
        return self.authapp.error

    @SettableProperty
    def validity(self) -> Validity | None:
        """Until when the tokens hold, or None."""
        return self.authapp.validity


@lru_cache(maxsize=16)
def _with_attributes(request_class: type) -> type:
    if issubclass(request_class, Attributes):
        return request_class
    return type(request_class.__name__, (Attributes, request_class), {})


class _Adopt:
    """For Pyramid a request method, which it binds to each request before anything else."""

    def __get__(self, request: Any, request_class: type) -> None:
        request.__class__ = _with_attributes(request_class)


def includeme(config: Configurator) -> None:
    """Give every request the attributes, subrequests and those of scripts too."""
    config.add_request_method(_Adopt(), "authapp_attributes")
    names = ("authapp", "backend", "request_id", "session_error", "session_options", "validity")
    for name in names:
        config.add_request_method(None, name)  # tells others that the name is taken
