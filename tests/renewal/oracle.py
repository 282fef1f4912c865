"""The oracle (the model) of the state machine: it knows which outcomes each request may have.

After a fault of the backend, the site does not call the backend for up to ``RETRY_DELAY`` seconds.
During this time the oracle allows two outcomes: with the backend up, and with the backend down.
"""

import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import time_machine
from webob import Request
from webob import Response as Answer

from renewal.phases import ACCESS, BUFFER, WINDOW
from servers import BLACKLIST, LOGIN, NOT_VALID, REFRESH, Served
from site_under_test import COOKIE, Site

START = 1_900_000_000

RETRY_DELAY = 2.0
"""The longest time in real seconds until the site calls the backend again after a fault."""

CHAIN_END_CACHED = 0.021
"""How long the site may cache the last successor of a session, in real seconds."""

USERS = ("alice", "bob", "carol")
BROWSERS = range(4)

SIGNED_IN, KEPT, ENDED, ANONYMOUS = "signed in", "kept", "ended", "anonymous"

UNAVAILABLE = {
    "500": Answer(status=500),
    "503": Answer(status=503),
    "429": Answer(status=429, json_body={}),
    "HTML": Answer("<h1>Welcome</h1>"),
    "redirect": Answer(status=307, headers={"Location": "http://127.0.0.1:1/"}),
}
REJECTED, FOREIGN, SPOILED = "401", "another user's token", "an unreadable access token"
ILLNESSES = [*UNAVAILABLE, REJECTED, FOREIGN, SPOILED]


class Head(NamedTuple):
    """The newest refresh token of a session, and the times of the session, in epoch seconds."""

    refresh: str
    issued_at: int
    valid_until: int
    refresh_until: int


@dataclass
class Life:
    """What the oracle knows of a session, from its sign-in to its end."""

    user: str
    csrf: str
    head: Head
    signed_out: bool = False
    rejected: bool = False


class Call(NamedTuple):
    """A renewal: the refresh token that was sent to the backend, the fault, and the new refresh
    token."""

    token: str
    fault: str | None
    issued: str | None = None


class World:
    """A site, some browsers, a backend that can have one kind of fault, and the oracle.

    :param illness: the kind of fault.
    """

    def __init__(self, backend: Served, illness: str) -> None:
        self.illness = illness
        self.traveller = time_machine.travel(START, tick=False)
        self.clock = self.traveller.start()
        self.backend = backend
        self.backend.instead = dict.fromkeys((LOGIN, REFRESH, BLACKLIST), self.answer)
        self.fault: str | None = None
        self.trouble_at = float("-inf")
        self.calls: list[Call] = []
        self.faulty = 0
        self.site = Site(backend.url, refresh__reuse="3600", login__rate="1000/minute")
        self.browsers = [Site(wsgi=self.site.app) for _ in BROWSERS]
        self.stranger = Site(wsgi=self.site.app)
        self.lives: dict[str, Life] = {}
        self.seen: dict[str, Life] = {}
        self.secrets: set[str] = set()

    # The backend.

    def answer(self, request: Request) -> Answer:
        """Return the response of the backend to a request, with the present fault."""
        fault, renews = self.fault, request.path == REFRESH
        token = request.json_body["refresh"] if renews else ""
        if fault in UNAVAILABLE:
            self.faulty += 1
            if renews:
                self.calls.append(Call(token, fault))
            return UNAVAILABLE[fault]
        if renews and fault == REJECTED:
            self.calls.append(Call(token, fault))
            return Answer(status=401, json_body=NOT_VALID)
        if renews and fault == FOREIGN:
            self.calls.append(Call(token, fault))
            return self.log_in_as_mallory()
        answer = request.get_response(self.backend.application)
        if renews:
            issued = answer.json_body.get("refresh")
            self.calls.append(Call(token, fault, issued))
            if fault == SPOILED and issued:
                self.faulty += 1
                return Answer(json_body={"access": "not.a.jwt", "refresh": issued})
        return answer

    def log_in_as_mallory(self) -> Answer:
        credentials = {"username": "mallory", "password": "mallory-password"}
        login = Request.blank(LOGIN, method="POST", POST=credentials)
        answer = login.get_response(self.backend.application)
        assert answer.json_body["access"]
        return answer

    # What the oracle knows.

    @property
    def now(self) -> float:
        return time.time()

    def fresh(self, session: Head) -> bool:
        life = session.valid_until - session.issued_at
        return self.now < session.valid_until - min(BUFFER, life / 3)

    def held(self, browser: Site) -> Head | None:
        """Return the tokens in the session cookie of a browser, or None if there is no such
        cookie."""
        browser.cookiejar.clear_expired_cookies()
        if COOKIE not in browser.cookies:
            return None
        session = self.site.services.sealer.open(browser.token())
        self.secrets |= {session.tokens.access, session.tokens.refresh}
        validity = session.validity
        return Head(
            session.tokens.refresh, session.issued_at, validity.valid_until, validity.refresh_until
        )

    def life(self, browser: Site) -> Life | None:
        if self.held(browser) is None:
            return None
        return self.lives.get(self.site.services.sealer.open(browser.token()).sid)

    def in_doubt(self) -> bool:
        """Return True if a recent fault may prevent the site from calling the backend."""
        return time.monotonic() - self.trouble_at < RETRY_DELAY

    def possible(self, browser: Site, renew_now: bool = False) -> set[str]:
        """Return the outcomes that the next request of a browser may have.

        :param renew_now: True if the request asks for a renewal.
        """
        held, life = self.held(browser), self.life(browser)
        if held is None or life is None:
            return {ANONYMOUS}
        if life.signed_out or held.refresh_until <= self.now:
            return {ENDED}
        if self.fresh(held) and not renew_now:
            return {SIGNED_IN}
        if life.rejected:
            return {ENDED}
        if life.head != held and self.fresh(life.head):
            return {SIGNED_IN}
        otherwise = SIGNED_IN if self.now < life.head.valid_until else KEPT
        if self.fault in UNAVAILABLE or self.fault == SPOILED:
            return {otherwise}
        allowed = {ENDED} if self.fault in (REJECTED, FOREIGN) else {SIGNED_IN}
        return allowed | {otherwise} if self.in_doubt() else allowed

    def learn(self, calls: list[Call]) -> None:
        """Tell the oracle which renewals the backend has received. Check that authapp was allowed
        to send them."""
        for call in calls:
            (life,) = (each for each in self.lives.values() if each.head.refresh == call.token)
            assert not life.signed_out, "a revoked session is not renewed"
            assert not life.rejected, "a rejected session is not renewed again"
            if call.fault in (REJECTED, FOREIGN):
                life.rejected = True
            elif call.fault not in UNAVAILABLE:
                assert call.issued, "the issuer accepts this token, because it is not spent"
                self.secrets.add(call.issued)
                now = int(self.now)
                renewed = Head(call.issued, now, now + ACCESS, now + WINDOW)
                spoiled = life.head._replace(refresh=call.issued)
                life.head = spoiled if call.fault == SPOILED else renewed
        reached = [call.token for call in self.calls if call.issued]
        assert len(set(reached)) == len(reached), "each refresh token is spent once"

    # What browsers do.

    def send(self, browser: Site, method: str, path: str, **options: Any) -> Any:
        """Send a request, and check everything that must be true of each response."""
        before, faulty = len(self.calls), self.faulty
        answer = browser.request(path, method=method, expect_errors=True, **options)
        calls = self.calls[before:]
        if self.faulty > faulty:
            self.trouble_at = time.monotonic()
        if calls:
            self.learn(calls)
            time.sleep(CHAIN_END_CACHED)
        assert answer.status_int != 500
        life = self.life(browser)
        if life is not None:
            self.seen[browser.token()] = life
        told = answer.text + str(
            [each for each in answer.headerlist if not each[1].startswith(f"{COOKIE}=")]
        )
        assert not [secret for secret in self.secrets if secret in told]
        assert "eyJ" not in answer.text, "the beginning of a JWT"
        return answer

    def visit(self, browser: Site, path: str) -> str:
        """Open a page. Return the outcome, and check that the oracle allows it."""
        life, held, possible = self.life(browser), self.held(browser), self.possible(browser)
        answer = self.send(browser, "GET", path, headers={"Accept": "text/html"})
        outcome = self.outcome(answer, path, life)
        assert outcome in possible, (path, answer.status, answer.location)
        after = self.held(browser)
        if outcome in (ENDED, ANONYMOUS):
            assert after is None
        else:
            assert life is self.life(browser), "the same session as before"
            assert after in (held, life and life.head), (
                "the browser keeps its tokens or gets the newest tokens"
            )
        return outcome

    def outcome(self, answer: Any, path: str, life: Life | None) -> str:
        """Return the outcome that the response to a page shows."""
        names = {name for name in (*USERS, "mallory") if name in answer.text}
        where = answer.location or ""
        # While the backend is down, the page of a kept session names the user too.
        away = "check your sign-in right now" in answer.text
        if life is not None and (away or answer.status_int == 503 or path == "/login"):
            names.discard(life.user)
        if path == "/login":
            assert not names
            if answer.status_int == 303:
                assert where == "/"
                return SIGNED_IN
            assert answer.status_int == 200
            if life is None:
                return ANONYMOUS
            return KEPT if "BackendUnavailable" in answer.text or self.kept(answer) else ENDED
        if life is not None and life.user in names:
            assert (answer.status_int, names) == (200, {life.user})
            return SIGNED_IN
        assert not names, "the page shows no other user"
        if "reason=" in where:
            assert life is not None
            reason = "RefreshTokenExpired"
            if life.rejected:
                reason = "RefreshTokenRejected"
            if life.signed_out:
                reason = "SessionRevoked"
            assert where.endswith(f"&reason={reason}")
            assert answer.headers["Set-Cookie"].startswith(f"{COOKIE}=; Max-Age=0")
            return ENDED
        if path == "/account" and answer.status_int == 503:
            assert int(answer.headers["Retry-After"]) >= 1
            return KEPT
        if path == "/account":
            assert (answer.status_int, where) == (303, "/login?next=%2Faccount")
            return ANONYMOUS
        if away:
            return KEPT
        assert "You are not signed in" in answer.text
        return ANONYMOUS

    @staticmethod
    def kept(answer: Any) -> bool:
        """Return True if a response does not delete the session cookie."""
        ours = [each for each in answer.headers.getall("Set-Cookie") if each.startswith(COOKIE)]
        return not any("Max-Age=0" in each for each in ours)

    def browser_with_session(self, number: int) -> Site:
        """Return the first browser that has a session, from browser ``number`` on.

        After the last browser, the search goes on at the first. If no browser has a session, return
        browser ``number``.
        """
        order = self.browsers[number:] + self.browsers[:number]
        return next((each for each in order if self.held(each)), self.browsers[number])
