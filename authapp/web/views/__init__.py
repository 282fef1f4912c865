"""The views of authapp: sign-in, sign-out, session, account, health check and errors."""

from pyramid.config import Configurator

from authapp.web.views.errors import Readable


def includeme(config: Configurator) -> None:
    """Add the views that every application gets.

    The start page and the admin page are not added. Only the site (:func:`authapp.main`) has
    these pages: see :mod:`authapp.web.views.pages`.
    """
    config.add_view_predicate("readable", Readable)
    for module in ("account", "errors", "health", "login", "logout", "session"):
        config.scan(f"authapp.web.views.{module}")
