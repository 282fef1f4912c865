"""Each invalid setting is a problem whose message says what is allowed: contract section 6."""

import pytest

from settings.reading import GOOD, LOCAL, SECRET, problems, read


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        (
            "secret",
            "",
            "authapp.secret is missing: it needs at least 32 bytes; make a good one with",
        ),
        ("secret", "short", "authapp.secret: it has fewer than 32 bytes; make a good one with"),
        ("secret", f"{SECRET}\nshort", "authapp.secret: line 2 has fewer than 32 bytes"),
        ("secret", "ab" * 30, "authapp.secret: it has fewer than 8 different bytes"),
        ("secret", f"{SECRET}\n{SECRET}", "authapp.secret: two lines hold the same secret"),
        ("secret", "development-only" + "x" * 9 + SECRET, "authapp.secret: it is a placeholder"),
        (
            "secret",
            "env:NOT_THERE",
            "authapp.secret: the environment variable NOT_THERE is not set",
        ),
        ("secret", "file:/not/there", "authapp.secret: the file /not/there cannot be read"),
        ("development", "maybe", "authapp.development = 'maybe': must be true or false"),
        (
            "backend.url",
            "http://x",
            "must use https; http is allowed only with authapp.development",
        ),
        (
            "backend.url",
            "embedded:",
            "the embedded issuer is allowed only with authapp.development",
        ),
        ("backend.url", "ftp://x", "must be a URL such as https://auth.example.com"),
        ("backend.url", "https://", "a URL such as"),
        ("backend.url", "https://x:0/", "a URL such as"),
        ("backend.url", "https://[", "a URL such as"),
        ("backend.url", "https://u@x/", "a URL such as"),
        ("backend.preset", "ldap", "must be one of allauth, dj-rest-auth, djoser"),
        ("backend.ca", "/nowhere.pem", "the file cannot be read: No such file or directory"),
        ("backend.ca", __file__, "must be a file of certificates in PEM format"),
        ("backend.timeout", "0", "must be seconds from 0.05 to 60"),
        ("backend.timeout", "1e1", "must be seconds from 0.05 to 60"),
        ("backend.bulkhead", "0", "must be a whole number from 1 to 9999"),
        (
            "backend.verify",
            "none",
            "authapp.backend.verify: must be secret:…, jwks:URL or pem:PATH",
        ),
        ("backend.verify", "secret:", "must be secret:…, jwks:URL or pem:PATH"),
        ("backend.verify", "jwks:http://x", "must use https"),
        ("backend.url", "https://exa mple.com", "a URL such as"),
        ("backend.url", "https://x/?a=1", "a URL such as"),
        ("backend.url", "https://:pw@x/", "a URL such as"),
        ("backend.url", "https://x/\\y", "a URL such as"),
        (
            "backend.login",
            "login",
            "the first line must be a method (GET, POST, PUT, PATCH, DELETE)",
        ),
        ("backend.login", "none", "there is no sign-in without it"),
        ("backend.login", "POST .evil.com/x", "the path must begin with one /"),
        ("backend.refresh", "POST //evil.com/x", "the path must begin with one /"),
        (
            "backend.refresh",
            "POST /x/{username}",
            "{username} has no value in the path of this request; there are {client_id},",
        ),
        ("backend.login", "name = {username}\nPOST /x", "the first line must be a method"),
        (
            "backend.login",
            "POST /x\nname = {user}",
            "unknown placeholder {user} in 'name = {user}'",
        ),
        ("backend.login", "POST /x\nname", "a line must be Name: value or name = value"),
        ("backend.login", "POST /x\nname = {username", "a brace is not closed"),
        ("backend.login", "POST /x\na = 1\na.b = 2", "is both a value and an object"),
        ("backend.login", "POST /x\na..b = 2", "has an empty part"),
        ("backend.login", "POST /x\nHost: evil.example", "is set by the HTTP client"),
        ("backend.login", "POST /x\nX-A: 1\nx-a: 2", "the header x-a is there twice"),
        ("backend.login", "POST /x\nContent-Type: text/xml", "must be application/json or"),
        ("backend.answer.access", "body.[", "must be JMESPath; it fails at character"),
        ("backend.answer.access", "no_such(body)", "must be JMESPath"),
        ("backend.refresh.refused", "status = `400`", "must be JMESPath"),
        ("backend.authorization", "JWT", "must hold {access} and no other placeholder"),
        ("backend.client_auth", "mutual", "must be one of basic, post, private_key_jwt, none"),
        ("backend.verify", "pem:/nowhere", "a file with a public key in PEM format"),
        ("backend.verify", "jwks:embedded:", "works only with authapp.backend.url = embedded:"),
        ("backend.leeway", "5", "has no effect without authapp.backend.verify"),
        ("backend.issuer", "me", "has no effect without authapp.backend.verify"),
        ("backend.client_secret", "x", "has no effect without authapp.backend.client_id"),
        ("claims.id", ",", "must be JMESPath"),
        ("api_prefixes", ",", "must contain at least one word"),
        ("backend.scope", "openid", "no request of the backend has {scope}"),
        ("login.rate", "0/minute", "one rate such as"),
        ("login.rate", "10/minute;100/hour", "one rate such as"),
        ("session.cookie", "x" * 129, "up to 128 letters"),
        ("session.cookie", "$Version", "up to 128 letters"),
        ("session.cookie", "__Host-authapp.csrf", "another cookie has this name"),
        ("session.domain", "1.2.3.4", "a domain such as"),
        ("session.domain", "-", "a domain such as"),
        (
            "refresh.buffer",
            "-1",
            "authapp.refresh.buffer = '-1': must be whole seconds from 0 to 86400",
        ),
        ("refresh.lifetime", "0", "must be whole seconds from 1 to 315360000"),
        ("session.cookie", "a b", "up to 128 letters, digits and"),
        ("session.format", "jwt", "must be one of next-auth-4, authjs-5"),
        ("session.domain", "a b", "must be a domain such as example.com"),
        ("session.samesite", "no", "must be one of Lax, Strict, None"),
        (
            "shared",
            "memcached://x",
            "authapp.shared: must be memory:, redis://…, rediss://…, redis+",
        ),
        ("login.rate", "often", "must be one rate such as 10/minute or 100/hour"),
        ("api_prefixes", "api", "must be path prefixes that begin with /"),
        ("cors.origins", "https://a/b", "must be origins such as https://app.example.com"),
        ("cors.origins", "*", "origins such as"),
        ("cors.headers", "X-Client", "has no effect without authapp.cors.origins"),
        ("host_session", "drop", "must be one of invalidate, keep"),
        ("refresh.bufer", "1", "authapp.refresh.bufer is not a setting; the nearest is authapp.re"),
    ],
)
def test_an_invalid_value_is_reported_with_what_is_allowed(key: str, value: str, says: str) -> None:
    (problem,) = problems(GOOD | {f"authapp.{key}": value})
    assert says in problem


def test_a_missing_setting_names_a_similar_key_with_another_prefix() -> None:
    """If a setting is missing, the message names a similar key with another prefix. If no setting
    is missing, such a key is no problem, because it may belong to another package."""
    for other in ("secret", "autapp.secret"):
        ini = {other: SECRET, "authapp.backend.url": "https://x.example"}
        (problem,) = problems(ini)
        assert problem.startswith("authapp.secret is missing")
        assert problem.endswith(f"({other} is set, which is another key)")
    assert "is set" not in problems({"other.secret": SECRET})[0]
    read(GOOD | {"autapp.secret": SECRET})


def test_messages_mention_the_embedded_backend_only_in_development() -> None:
    (problem,) = problems(LOCAL, backend__url="embedded")
    assert "must be a URL such as https://auth.example.com or embedded:" in problem
    assert "embedded" not in problems(GOOD, backend__url="localhost")[0]
    (problem,) = problems(LOCAL, backend__verify="jwks:embedded")
    assert "jwks:embedded:, or jwks: and a URL such as https://auth" in problem
    assert "embedded" not in problems(GOOD, backend__verify="jwks:localhost")[0]
    (problem,) = problems(
        LOCAL, backend__url="embedded:", backend__verify="secret:that-signs-nothing"
    )
    assert "secret:… cannot verify tokens of embedded:" in problem
    assert "signs-nothing" not in problem


def test_a_leeway_out_of_bounds_is_refused() -> None:
    (problem,) = problems(backend__verify="secret:x", backend__leeway="601")
    assert "must be whole seconds from 0 to 600" in problem


def test_cookie_settings_that_contradict_each_other_are_refused() -> None:
    assert "needs https" in problems(LOCAL, session__cookie="__Host-x")[0]
    assert "needs https" in problems(LOCAL, session__samesite="none")[0]
    assert read(session__samesite="none").cookie.samesite == "None"
    assert (
        "cannot be used with authapp.session.domain"
        in problems(session__cookie="__Host-x", session__domain="x.y")[0]
    )


@pytest.mark.parametrize(
    ("timeout", "reuse", "least"),
    [("5", "0", 15), ("5", "14", 15), ("0.3", "5", 6), ("60", "60", 125)],
)
def test_reuse_covers_the_requests_that_are_under_way(timeout: str, reuse: str, least: int) -> None:
    keys = {"backend__url": "https://auth.example.com", "backend__timeout": timeout}
    (problem,) = problems(refresh__reuse=reuse, **keys)
    assert problem == (
        f"authapp.refresh.reuse = {reuse}: must be at least {least}, which is twice"
        " authapp.backend.timeout and 5 seconds"
    )
    assert read(refresh__reuse=str(least), **keys).refresh_reuse == least


def test_a_password_in_a_url_is_not_shown() -> None:
    (problem,) = problems(backend__url="https://user:hunter2@auth.example.com")
    assert "hunter2" not in problem
    assert "a URL such as" in problem


def test_all_problems_are_reported_at_once_without_secrets() -> None:
    said = problems(
        {"other.key": "left alone"}, secret="short-secret", refresh__reuse="x", nonsense="1"
    )
    assert len(said) == 4
    assert "short-secret" not in "".join(said)
    assert any("authapp.backend.url is missing" in each for each in said)


def test_invalid_development_hosts_are_refused() -> None:
    (problem,) = problems(LOCAL, development__hosts="https://x")
    assert "must be host names such as box.example.com, without ports" in problem
    (problem,) = problems(development__hosts="box")
    assert "authapp.development.hosts has no effect without authapp.development" in problem


@pytest.mark.parametrize("text", ["*", "X Client: 1", "X-Client;", "Ä"])
def test_cors_headers_are_names(text: str) -> None:
    (problem,) = problems(cors__origins="https://app.example.com", cors__headers=text)
    assert "must be names of headers such as X-Client-Version" in problem
