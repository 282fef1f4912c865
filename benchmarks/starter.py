"""A request to the page of pyramid-cookiecutter-starter, in one process.

Most applications begin with such a page. It has a transaction, one query with SQLAlchemy in SQLite,
a template with a layout, and a listener. Each peer, which is another package that keeps users
signed in, is measured on the same page.

- *warm*: the process has seen the session a short time ago.
- *cold*: the process decrypts the session.
- *a stranger*: the visitor is not signed in.
- "Standard directives that do nothing" is the cost of Pyramid itself: a security policy, a
  subscriber, a CSRF default, four reified attributes, three tweens and five routes.
- "With a session's cookie" is the page with these directives and without authapp. The request has
  authapp's cookie. The page reads ``request.locale_name``, which reads a cookie, so WebOb parses
  all cookies. For the cookie of a session, this takes longer than authapp's own work.

A peer that stores a session stores the same data as authapp. A peer that stores only a user id
takes less time, but it cannot call an API. No peer renews a token, ends sessions elsewhere, or
keeps pages out of shared caches.
"""

from statistics import median

from benchmarks.pyramid_requests import (
    COLD,
    IDLE,
    OURS,
    PYRAMID,
    STRANGER,
    WARM,
    contenders,
    rows,
)
from benchmarks.rounds import Report, Target, bars, differences, measure, ratios
from benchmarks.samples import small
from benchmarks.starter_page import starter_page

TITLE = "A request to a starter page"
ROUNDS = 201


def report() -> Report:
    """Return the results as a table, the targets, and a chart. The chart shows how much longer a
    signed-in user waits for the page with each contender."""
    pages = contenders(starter_page, small(), strangers=True)
    seconds = measure({name: each.turn for name, each in pages.items()}, ROUNDS)
    limits = {WARM: 1.05, COLD: 1.20, STRANGER: 1.035}
    targets = [
        Target(f"starter page, {name} / without authapp", limit, ratios(seconds[name], plain))
        for plain in [seconds[PYRAMID]]
        for name, limit in limits.items()
    ]
    for name in pages:
        if name in (PYRAMID, *OURS):
            continue
        alike = (STRANGER,) if name.endswith("a stranger") else (WARM, COLD)
        targets += [
            Target(
                f"starter page, {ours} less {name}",
                0,
                [each * 1e6 for each in differences(seconds[ours], seconds[name])],
                " µs",
            )
            for ours in alike
        ]
    targets.append(
        Target(
            f"starter page, {WARM} less {IDLE}",
            25,
            [each * 1e6 for each in differences(seconds[WARM], seconds[IDLE])],
            " µs",
        )
    )
    added = {
        name: median(differences(seconds[name], seconds[PYRAMID])) * 1e6
        for name in pages
        if name != PYRAMID and not name.endswith(STRANGER.removeprefix("authapp, "))
    }
    plain = median(seconds[PYRAMID]) * 1e6
    title = f"What a signed-in user adds to the starter page, which takes {plain:,.0f} µs without:"
    return Report(rows(pages, seconds), targets, f"{title}\n\n{bars(added, 'µs')}")
