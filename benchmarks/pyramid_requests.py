"""The contenders in Pyramid on one page: no sign-in, authapp, and other packages for sign-in."""

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any, NamedTuple

from authapp.session.session import Session
from benchmarks.pyramid_peers import Nobody, idle, peers
from benchmarks.rounds import Turn, differences, microseconds, ratio, spread, table, turn
from benchmarks.visits import with_authapp, wsgi

PYRAMID = "Pyramid"
IDLE, IDLE_STRANGER = (f"standard directives that do nothing{who}" for who in ("", ", a stranger"))
IDLE_COOKIE = f"{IDLE}, with a session's cookie"
WARM, COLD, STRANGER = (f"authapp, {kind}" for kind in ("warm", "cold", "a stranger"))
OURS = (WARM, COLD, STRANGER, IDLE, IDLE_COOKIE, IDLE_STRANGER)


class Contender(NamedTuple):
    """A page that is measured.

    :ivar base: the name of the page without sign-in. The measured page is compared with that page.
    :ivar turn: a function that visits the measured page several times.
    """

    base: str
    turn: Turn


def visits(
    page: Callable[..., Any], session: Session, *, strangers: bool
) -> dict[str, Callable[[], object]]:
    """Return the name of each contender -> a function that visits its page.

    :param strangers: True to add visitors who are not signed in. The page must then be public,
        because another page would redirect these visitors to the sign-in page.
    """
    app, environ, forget = with_authapp(page, session)
    warm = wsgi(app, **environ)

    def cold() -> None:
        forget()
        warm()

    found: dict[str, Callable[[], object]] = {
        PYRAMID: wsgi(page()),
        # A page that reads any cookie parses all cookies of its request.
        IDLE: wsgi(page(idle), HTTP_COOKIE="a=1"),
        IDLE_COOKIE: wsgi(page(idle), **environ),
        WARM: warm,
        COLD: cold,
    }
    known = {name: (page(peer.include), peer) for name, peer in peers(session).items()}
    found |= {name: wsgi(app, **peer.environ) for name, (app, peer) in known.items()}
    if strangers:
        found[IDLE_STRANGER] = wsgi(page(partial(idle, policy=Nobody)))
        found[STRANGER] = wsgi(app)
        found |= {f"{name}, a stranger": wsgi(app) for name, (app, _) in known.items()}
    return found


def contenders(
    page: Callable[..., Any], session: Session, *, strangers: bool
) -> dict[str, Contender]:
    """Return the name of each contender -> the contender. The parameters are those of
    :func:`visits`.
    """
    found = visits(page, session, strangers=strangers)
    return {name: Contender(PYRAMID, turn(visit)) for name, visit in found.items()}


def rows(pages: dict[str, Contender], seconds: dict[str, list[float]]) -> str:
    """Return the table: the time of each contender, and what it adds to the page without
    sign-in."""
    lines = []
    for name, (base, _) in pages.items():
        line = [name, microseconds(median(seconds[name])), spread(seconds[name]), "", "", ""]
        if name != base:
            added = median(differences(seconds[name], seconds[base]))
            line[3:] = [base, microseconds(added), f"{ratio(seconds[name], seconds[base]):.2f}"]
        lines.append(line)
    return table(["", "median", "spread", "compared with", "added", "ratio"], lines)
