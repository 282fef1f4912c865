"""The commands and their options. The other modules of this room do the work."""

import os
import secrets
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import click

from authapp.cli.check import check as check_file
from authapp.cli.ini_file import CannotRead
from authapp.cli.inspection import InvalidCookie, inspect_cookie
from authapp.cli.report import printable, show_json
from authapp.cli.sessions import CannotReach, end_sessions, list_sessions
from authapp.session.encryption import fingerprint
from authapp.settings.ini import SettingsError
from authapp.version import __version__

PASSWORD = "AUTHAPP_PASSWORD"  # noqa: S105
"""The environment variable with the password of ``check --login``."""

MOST = 65_536
"""The most characters that are read from standard input."""

_ID = "The id is the backend's, as in the audit log, and not the user name."

F = TypeVar("F", bound=Callable[..., Any])


class Mistake(click.ClickException):
    """A problem that the user can correct. It ends the command with exit code 1."""

    exit_code = 1


def _file(function: F) -> F:
    """Add three parameters to a command: the ini file, its variables, and ``--json``."""
    for add in (
        click.option("as_json", "--json", is_flag=True, help="Write JSON for a program."),
        click.argument("variables", nargs=-1, metavar="[NAME=VALUE]…", callback=_read_variables),
        click.argument("file", metavar="FILE.ini[#SECTION]"),
    ):
        function = add(function)
    return function


def _read_variables(
    context: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> dict[str, str]:
    for each in value:
        if "=" not in each:
            raise click.BadParameter(f"{each} is not NAME=VALUE")
    return dict(each.split("=", 1) for each in value)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="authapp", message="%(prog)s %(version)s")
@click.pass_context
def authapp(context: click.Context) -> None:
    """Make secrets, check settings and backends, look into cookies, end sessions.

    \b
    authapp secret
    authapp check production.ini --online
    authapp inspect production.ini < cookie.txt
    authapp sessions list production.ini --user 7

    Exit codes: 0 if all is well, 1 if there is a problem, 2 if the command is used wrongly.
    """
    if os.environ.get("NO_COLOR"):
        context.color = False


@authapp.command()
@click.option("as_json", "--json", is_flag=True, help="Write JSON, with the secret's fingerprint.")
def secret(as_json: bool) -> None:
    """Write a new secret for authapp.secret.

    \b
    Example:
      authapp secret > /run/secrets/authapp
      # and in the ini file: authapp.secret = file:/run/secrets/authapp
    """
    made = secrets.token_urlsafe(48)
    if as_json:
        show_json({"secret": made, "fingerprint": fingerprint(made.encode())})
    else:
        click.echo(made)


@authapp.command()
@_file
@click.option("--online", is_flag=True, help="Call the backend, the key set and Redis as well.")
@click.option("user", "--login", metavar="USER", help="Sign this user in, renew, and sign out.")
@click.pass_context
def check(
    context: click.Context,
    file: str,
    variables: dict[str, str],
    online: bool,
    user: str | None,
    as_json: bool,
) -> None:
    """Check the settings in FILE, and with --online the servers that they name.

    The file is read as pserve reads it. The output has a fingerprint of each secret. Another
    application that has to decrypt the same cookies must show the same fingerprint.

    With --login, USER signs in at the backend, and the session is renewed and signed out. Each
    request and its answer is shown, without tokens and passwords. If no setting describes an
    answer, the output proposes a setting that does.

    The password is the environment variable AUTHAPP_PASSWORD. If this variable is not set, the
    command asks for the password at a terminal. If there is no terminal, the password is the first
    line of standard input. The code of a second step is also asked for, or is the next line.

    \b
    Examples:
      authapp check production.ini
      authapp check production.ini --online --json
      authapp check production.ini --login alice
      authapp check site.ini#intranet --login alice < password.txt
    """
    password = _password() if user is not None else ""
    report = check_file(file, variables, online, user, password, _code)
    report.show(as_json)
    context.exit(0 if report.good else 1)


def _code(kind: str) -> str:
    """Ask for the code of a second step. If there is no terminal, read it from standard input."""
    if sys.stdin.isatty():
        return str(click.prompt(f"Second step ({kind})", default="", show_default=False, err=True))
    return _read_input(lambda: sys.stdin.readline(MOST)).strip()


def _password() -> str:
    found = os.environ.get(PASSWORD)
    if not found and sys.stdin.isatty():
        found = click.prompt("Password", hide_input=True, err=True)
    if not found:
        found = _read_input(lambda: sys.stdin.readline(MOST)).rstrip("\r\n")
    if not found:
        raise Mistake(f"There is no password: set {PASSWORD}, or write it to standard input.")
    return found


def _read_input(read: Callable[[], str]) -> str:
    try:
        return read()
    except UnicodeError:
        raise Mistake("Standard input is not text.") from None


@authapp.command()
@_file
@click.option(
    "tokens", "--tokens", is_flag=True, help="Show the tokens. They are as good as passwords."
)
@click.pass_context
def inspect(
    context: click.Context,
    file: str,
    variables: dict[str, str],
    tokens: bool,
    as_json: bool,
) -> None:
    """Show what is in a session cookie: claims, phase, and the secret that decrypts it.

    The cookie is on standard input: its value, its chunks, or a whole Cookie header. Tokens are
    shown as SHA-256 digests.

    \b
    Examples:
      authapp inspect production.ini < cookie.txt
      echo 'Cookie: authapp.session.0=eyJ…; authapp.session.1=…' | authapp inspect development.ini
    """
    if sys.stdin.isatty():
        click.echo("Paste the cookie, then press Ctrl-D.", err=True)
    text = _read_input(lambda: sys.stdin.read(MOST + 1))
    if len(text) > MOST:
        raise Mistake(f"Standard input has more than {MOST} characters.")
    try:
        found = inspect_cookie(file, variables, text, tokens)
    except (CannotRead, SettingsError, InvalidCookie) as error:
        _fail(context, error, as_json)
    if as_json:
        show_json(found.as_json())
    else:
        found.show()


def _fail(context: click.Context, error: Exception, as_json: bool) -> NoReturn:
    """End the command with exit code 1, and say why."""
    if as_json:
        show_json({"ok": False, "problems": str(error).splitlines()})
        context.exit(1)
    raise Mistake(printable(str(error))) from None


_user = click.option(
    "--user",
    required=True,
    metavar="ID",
    help="The user's id in the backend. This is not the user name.",
)


@authapp.group()
def sessions() -> None:
    """See and end the sessions of a user, on all machines.

    \b
    Examples:
      authapp sessions list production.ini --user 7
      authapp sessions end production.ini --user 7 --session 5feceb66ffc86f38
    """


@sessions.command("list")
@_file
@_user
@click.pass_context
def list_command(
    context: click.Context, file: str, variables: dict[str, str], user: str, as_json: bool
) -> None:
    """List the sessions of a user, the last used first.

    After Redis has lost its data, sessions can be missing for a time. Running processes write their
    entries to Redis again. A session that no process writes is listed again after its next request.

    \b
    Example:
      authapp sessions list production.ini --user 7
    """
    try:
        found = list_sessions(file, variables, user)
    except (CannotRead, SettingsError, CannotReach) as error:
        _fail(context, error, as_json)
    _show_sessions(user, found, as_json)


@sessions.command("end")
@_file
@_user
@click.option("--session", metavar="ID", help="End this session only. Its id is in the list.")
@click.pass_context
def end_command(
    context: click.Context,
    file: str,
    variables: dict[str, str],
    user: str,
    session: str | None,
    as_json: bool,
) -> None:
    """End all sessions of a user, or one of them.

    Without --session, sessions that are not in the list end too. The user has to sign in again.
    The backend is not told. To keep the user out, lock the account at the backend first.

    \b
    Examples:
      authapp sessions end production.ini --user 7
      authapp sessions end production.ini --user 7 --session 5feceb66ffc86f38
    """
    try:
        ended = end_sessions(file, variables, user, session)
        if session is not None and not ended:
            raise CannotReach(f"user {user} has no session {session}")
    except (CannotRead, SettingsError, CannotReach) as error:
        _fail(context, error, as_json)
    _show_sessions(user, ended, as_json, "ended ")


def _show_sessions(user: str, found: list[dict[str, Any]], as_json: bool, prefix: str = "") -> None:
    if as_json:
        show_json({"ok": True, "sessions": found})
        return
    for each in found:
        signed_in, seen = (
            time.strftime("%Y-%m-%d %H:%M", time.gmtime(each[name]))
            for name in ("signed_in", "last_seen")
        )
        click.echo(
            f"{prefix}{click.style(each['id'], bold=True)}  last seen {seen} UTC, signed in"
            f" {signed_in} UTC, {each['device']}, {each['address']}"
        )
    click.echo(f"{prefix}{len(found)} session{'s' * (len(found) != 1)}")
    if not found:
        click.echo(f"No session of a user with the id {printable(user)} is listed. {_ID}", err=True)
