"""The command ``authapp``, for developers and operators at a terminal.

The commands make a secret, check an ini file and the backend that it describes, show what is in a
session cookie, and list and end the sessions of a user. No other room imports this one, and the
commands need the extra ``cli``.
"""

import sys

INSTALL = "authapp: the command line needs click; install it with: pip install 'authapp[cli]'"


def main() -> None:
    """Run the command. This is the console script ``authapp``, and ``python -m authapp``."""
    try:
        from authapp.cli.commands import authapp
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit(INSTALL)
    authapp(prog_name="authapp")
