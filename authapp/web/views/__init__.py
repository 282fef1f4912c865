"""The views of authapp: sign-in and sign-out, the session, the account, errors."""

from pyramid.config import Configurator

from authapp.web.views.errors import Readable


def includeme(config: Configurator) -> None:
    """Views that every application gets; ``pages`` are those of the site."""
    config.add_view_predicate("readable", Readable)
    for module in ("account", "errors", "health", "login", "logout", "session"):
        config.scan(f"authapp.web.views.{module}")
