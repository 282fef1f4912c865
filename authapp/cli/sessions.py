"""``authapp sessions``: an operator lists and ends the sessions of any user, on all machines."""

from collections.abc import Mapping
from typing import Any

from authapp.backend.http_exchange import in_one_line
from authapp.cli.check import collect_log_lines, load
from authapp.renewal.session_index import ListedSession
from authapp.services import Services
from authapp.settings.allowed_values import MEMORY
from authapp.web.device_names import browser_and_system


class CannotReach(Exception):
    """The store that all processes share cannot be used. The text says why."""


def list_sessions(uri: str, variables: Mapping[str, str], user: str) -> list[dict[str, Any]]:
    """Return the sessions of a user, the last used first. Times are in epoch seconds.

    :raises CannotRead: if the ini file cannot be read.
    :raises SettingsError: if its settings cannot be used.
    :raises CannotReach: if the store is not shared, or does not respond.
    """
    with collect_log_lines() as lines:
        services = _reach(load(uri, variables), lines)
        return [_shown(each) for each in services.index.of(user)]


def end_sessions(
    uri: str, variables: Mapping[str, str], user: str, session: str | None
) -> list[dict[str, Any]]:
    """End one session of a user, or all of them. Each session is refused at its next request.

    :param session: the id of a session. None: all sessions, even those that are not in the list.
    :returns: the sessions in the list that were ended.
    :raises CannotRead: if the ini file cannot be read.
    :raises SettingsError: if its settings cannot be used.
    :raises CannotReach: if the store is not shared, or has not stored the revocation.
    """
    with collect_log_lines() as lines:
        services = _reach(load(uri, variables), lines)
        if session is None:
            ended = services.index.end_all(user)
            for each in ended:  # a session may live longer than refresh.lifetime
                services.revocation.revoke(each.session, elsewhere=True)
        else:
            found = services.index.end(user, session)
            ended = [] if found is None else [found]
        _reach(services, lines)  # a revocation that is not in Redis would be lost with this process
        return [_shown(each) for each in ended]


def _reach(services: Services, lines: list[str]) -> Services:
    if services.settings.shared == MEMORY:
        raise CannotReach(
            "authapp.shared is memory: so only the process of the site knows the sessions"
        )
    if not services.store.healthy():
        raise CannotReach("; ".join(lines) or "the store does not answer; see authapp.shared")
    return services


def _shown(listed: ListedSession) -> dict[str, Any]:
    device = " on ".join(filter(None, browser_and_system(listed.agent)))
    return {
        "id": listed.id,
        "device": in_one_line(device) or "unknown device",
        "address": in_one_line(listed.address),
        "signed_in": int(listed.signed_in),
        "last_seen": listed.last_seen,
    }
