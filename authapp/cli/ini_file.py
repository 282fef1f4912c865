"""Reads an ini file as ``pserve`` reads it. If that fails, the error is one line."""

import configparser
from collections.abc import Mapping
from typing import Any, NamedTuple

import plaster
from paste.deploy import loadwsgi
from plaster.exceptions import PlasterError

from authapp.settings.settings import PREFIX


class CannotRead(Exception):
    """The ini file cannot be read. The text is one line, and contains no value of the file."""


class IniFile(NamedTuple):
    """The settings of an application.

    :param settings: the application's section of the file.
    :param factory: the function that creates the application, or None if the file names none.
    """

    settings: dict[str, Any]
    factory: object


def read(uri: str, variables: Mapping[str, str]) -> IniFile:
    """Read the section of an application: ``[app:main]``, or ``[app:name]`` with ``FILE#name``.

    :param uri: the path of the file, with ``#name`` for the section ``[app:name]``.
    :param variables: values for ``%(name)s`` in the file, as in ``pserve FILE name=value``.
    :raises CannotRead: if the file cannot be read, or its section has no setting of authapp.
    """
    path, _, name = uri.partition("#")
    try:
        loader = plaster.get_loader(uri, protocols=("wsgi",))
        if not hasattr(loader, "pastedeploy_spec"):  # another format than PasteDeploy's
            found = IniFile(dict(loader.get_wsgi_app_settings(None, dict(variables))), None)
        else:
            context = _application(
                loadwsgi.loadcontext(
                    loadwsgi.APP,
                    loader.pastedeploy_spec,
                    name=name or None,
                    relative_to=loader.relative_to,
                    global_conf={**loader.uri.options, **variables},
                )
            )
            found = IniFile(dict(context.config().local_conf), context.object)
    except configparser.InterpolationError as error:  # its text shows the value
        raise CannotRead(
            f"{path}: {error.option} in [{error.section}]: write % as %%; %(name)s is the value of"
            " a variable that exists"
        ) from None
    except configparser.ParsingError as error:  # its text shows the line
        wrong = getattr(error, "errors", None) or [(getattr(error, "lineno", "?"), "")]
        lines = ", ".join(str(number) for number, _ in wrong)
        raise CannotRead(f"{path}: not an ini file; see line {lines}") from None
    except OSError as error:
        raise CannotRead(f"{path}: {error.strerror or error}") from None
    except ImportError as error:
        raise CannotRead(
            f"{path}: {' '.join(str(error).split())}: install the application in this environment,"
            " or set PYTHONPATH to its directory"
        ) from None
    except (configparser.Error, PlasterError, LookupError, ValueError) as error:
        raise CannotRead(f"{path}: {' '.join(str(error).split())}") from None
    if not any(key.startswith(PREFIX) for key in found.settings):
        raise CannotRead(
            f"{path}: the section {name or 'main'} has no setting of authapp; FILE#name reads the"
            " section [app:name]"
        )
    return found


def _application(context: Any) -> Any:
    """Return the application behind the filters of a pipeline."""
    while True:
        inner = getattr(context, "app_context", None) or getattr(context, "next_context", None)
        if inner is None:
            return context
        context = inner
