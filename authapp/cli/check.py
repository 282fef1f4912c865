"""``authapp check``: checks the settings, and with ``--online`` the servers that they name."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationExecutionError

import authapp
from authapp.backend.http_exchange import address, exchange, fetch_object
from authapp.backend.key_set import public_keys
from authapp.backend.protocol import BackendUnavailable
from authapp.cli.ini_file import CannotRead, IniFile, read
from authapp.cli.recording import RecordingSession
from authapp.cli.report import NOTE, OK, PROBLEM, Report
from authapp.cli.sign_in_check import check_sign_in
from authapp.services import EMBEDDED_URL, KEY_SET_PATH, IBackend, IServices, Services
from authapp.session.encryption import fingerprint
from authapp.settings.allowed_values import EMBEDDED, MEMORY
from authapp.settings.backend_settings import NO_PRESET, preset_name
from authapp.settings.ini import SettingsError
from authapp.settings.settings import Settings


class _TheirBackend:
    """Replaces the object that an application gives to ``config.set_auth_backend``."""


def check(
    uri: str,
    variables: Mapping[str, str],
    online: bool = False,
    user: str | None = None,
    password: str = "",
    ask_code: Callable[[str], str] = lambda kind: "",
) -> Report:
    """Check an ini file.

    :param uri: the path of the file. To check ``[app:name]`` and not ``[app:main]``, add ``#name``.
    :param variables: values for ``%(name)s`` in the file.
    :param online: True to call the backend, the key set and Redis. They are also called if ``user``
        is given.
    :param user: the name of a user, or None. The check signs this user in, renews the session and
        signs the user out.
    :param password: the user's password.
    :param ask_code: a function that is called with the kind of code if the backend asks for a
        second step. It returns the code that the user enters. If it returns an empty string, the
        check of the sign-in ends.
    """
    report = Report(uri)
    with collect_log_lines() as lines:
        try:
            services = load(uri, variables)
        except (CannotRead, SettingsError) as error:
            for line in str(error).splitlines():
                report.add("settings", PROBLEM, line)
            return report
        settings = services.settings
        preset = preset_name(settings.shown)
        of = "without a preset" if preset == NO_PRESET else f"with those of preset {preset}"
        report.add("settings", OK, f"{len(settings.shown)} settings {of}")
        for number, secret in enumerate(settings.secrets):
            does = "decrypts cookies" if number else "encrypts and decrypts cookies"
            report.add("secret", OK, f"{fingerprint(secret)} {does}")
        if settings.backend_url is None and not services.providers:
            does = "the application does not start unless it calls config.set_auth_backend"
            report.add("backend", NOTE, f"authapp.backend.url is not set: {does}")
        if online or user is not None:
            _check_online(report, services, lines)
            if user is not None and settings.backend_url is not None:
                check_sign_in(report, services, recording(services), user, password, ask_code)
    return report


def load(uri: str, variables: Mapping[str, str]) -> Services:
    """Return the services that ``config.include("authapp")`` creates from an ini file.

    The application of the ini file is not started.

    :raises CannotRead: if the file cannot be read.
    :raises SettingsError: if any setting is wrong, so that the application would not start.
    """
    ini = read(uri, variables)
    settings = {name: text for name, text in ini.settings.items() if name != "pyramid.includes"}
    config = Configurator(settings=settings)
    if ini.factory is not authapp.main and _brings_backend(ini):
        config.registry.registerUtility(_TheirBackend(), IBackend)
    try:
        config.include("authapp")
        config.commit()
    except ConfigurationExecutionError as error:
        if isinstance(error.evalue, SettingsError):
            raise error.evalue from None
        raise
    services: Services = config.registry.getUtility(IServices)
    return services


def _brings_backend(ini: IniFile) -> bool:
    """Return True if the application has to call ``config.set_auth_backend``."""
    if ini.settings.get("authapp.oidc.issuer"):
        return False
    return Settings.from_ini(ini.settings).backend_url is None


def recording(services: Services) -> RecordingSession:
    """Return a client for the backend that records its requests."""
    settings = services.settings
    session = RecordingSession(settings.backend_timeout, settings.backend_ca)
    if settings.backend_url == EMBEDDED:
        session.mount(EMBEDDED_URL, services.http.get_adapter(EMBEDDED_URL))
    return session


def _check_online(report: Report, services: Services, lines: list[str]) -> None:
    settings, http = services.settings, recording(services)
    if services.backend_url is not None:
        try:
            reply = exchange(http, "GET", services.backend_url + "/")
        except BackendUnavailable as error:
            report.add("backend", PROBLEM, f"{error.reason}; see authapp.backend.url")
        else:
            took = f"in {round(http.exchanges[-1].seconds * 1000)} ms (status {reply.status})"
            level = PROBLEM if reply.status >= 500 else OK
            report.add("backend", level, f"{reply.where} answers {took}")
    for issuer, provider in services.providers.items():
        try:
            provider.check()
            report.add("provider", OK, f"{issuer} allows a sign-in")
        except BackendUnavailable as error:
            report.add("provider", PROBLEM, f"{error.reason}; see authapp.oidc.issuer")
    jwks = settings.verify and settings.verify.jwks
    if jwks:
        url = EMBEDDED_URL + KEY_SET_PATH if jwks == EMBEDDED else jwks
        _check_key_set(report, http, url)
    if settings.shared == MEMORY:
        report.add("store", OK, "memory: for one process")
        return
    healthy = services.store.healthy()
    told = "; ".join(lines) or "it does not grant leases, or does not have our entries"
    text = "Redis answers, and has granted a lease" if healthy else f"{told}; see authapp.shared"
    report.add("store", OK if healthy else PROBLEM, text)


def _check_key_set(report: Report, http: RecordingSession, url: str) -> None:
    try:
        entries = fetch_object(http, url).get("keys")
    except BackendUnavailable as error:
        report.add("key set", PROBLEM, f"{error.reason}; see authapp.backend.verify")
        return
    with collect_log_lines() as invalid:
        public = public_keys(entries)
    text = f"{len(public)} public key{'s' * (len(public) != 1)} at {address(url)}"
    text = "; ".join([text, *invalid])
    report.add("key set", OK if public else PROBLEM, text)


@contextmanager
def collect_log_lines() -> Iterator[list[str]]:
    """Collect the warnings and errors of authapp's log instead of writing them."""
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    log, handler = logging.getLogger("authapp"), Handler(logging.WARNING)
    before: tuple[Any, ...] = (log.propagate, log.handlers)
    log.propagate, log.handlers = False, [handler]
    try:
        yield lines
    finally:
        log.propagate, log.handlers = before
