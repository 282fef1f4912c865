"""Metrics and spans through the OpenTelemetry API: ``config.include("authapp.telemetry")``.

An ini file can include this package too: ``pyramid.includes = authapp.telemetry``. The extra
``authapp[opentelemetry]`` installs the API. Without the API, this package only logs one line. The
application chooses the SDK and the exporter that get the numbers. docs/operations.md lists the
names of all metrics and spans. No attribute contains a user, a session or an address.
"""

import logging

from pyramid.config import Configurator

from authapp.services import IServices
from authapp.settings.ini import SettingsError
from authapp.web.events import SessionEnded, SignedIn, SignedOut, SignInFailed

log = logging.getLogger(__name__)


def includeme(config: Configurator) -> None:
    """Measure the application, if the OpenTelemetry API is installed.

    :raises ConfigurationExecutionError: at the commit, if the application does not include authapp.
    """
    try:
        from authapp.telemetry.instruments import Instruments
    except ModuleNotFoundError:
        log.info("TelemetryOff: pip install 'authapp[opentelemetry]' turns it on")
        return
    instruments = Instruments()

    def observe() -> None:
        services = config.registry.queryUtility(IServices)
        if services is None:
            raise SettingsError(["authapp.telemetry has nothing to measure: include authapp too"])
        instruments.observe(services)

    config.action("authapp telemetry", observe)
    for count, event in (
        (instruments.signed_in, SignedIn),
        (instruments.sign_in_failed, SignInFailed),
        (instruments.session_ended, SessionEnded),
        (instruments.signed_out, SignedOut),
    ):
        config.add_subscriber(count, event)
