"""``authapp check`` checks the settings. With ``--online`` it also checks the servers they name."""

from pathlib import Path
from typing import Any

import plaster
import pytest
import requests
from pyramid.exceptions import ConfigurationExecutionError
from webob import Response

from authapp.session.encryption import fingerprint
from cli.checking import SECRET, UNREACHABLE, findings, run, write
from servers import Served
from servers.oidc import Provider
from servers.redis_server import RedisServer


def test_good_settings_give_fingerprints_and_exit_code_0(tmp_path: Path) -> None:
    result = run(write(tmp_path, UNREACHABLE, secret=f"\n  {SECRET}\n  {SECRET}2"))
    assert result.exit_code == 0
    assert f"{fingerprint(SECRET.encode())} encrypts and decrypts cookies" in result.output
    assert f"{fingerprint(SECRET.encode() + b'2')} decrypts cookies" in result.output
    assert SECRET not in result.output
    assert "no problem" in result.output
    assert "\x1b" not in result.output


def test_each_problem_of_the_settings_is_a_line(tmp_path: Path) -> None:
    found = findings(write(tmp_path, None, refresh__buffer="soon", bogus="1"), code=1)
    assert [level for _, level, _ in found] == ["problem"] * 3
    assert found[0][2].startswith("authapp.refresh.buffer = 'soon': must be whole seconds")


def test_a_site_needs_a_backend_and_another_application_may_bring_one(tmp_path: Path) -> None:
    ((_, level, text),) = findings(write(tmp_path, None), code=1)
    assert (level, text[:30]) == ("problem", "authapp.backend.url is missing")
    theirs = write(tmp_path, None, "call:pyramid.config:Configurator", oidc__issuer="https://x")
    assert "oidc" in findings(theirs, code=1)[0][2]
    theirs = write(tmp_path, None, "call:pyramid.config:Configurator")
    found = findings(theirs, "--login", "alice")
    assert ("backend", "note") in [each[:2] for each in found]


def test_an_error_that_is_not_of_the_settings_is_not_hidden(
    tmp_path: Path,
) -> None:
    ini = Path(write(tmp_path, UNREACHABLE))
    ini.write_text(ini.read_text() + "\npyramid.default_locale_name = en\njinja2.filters = x = y.z")
    with pytest.raises(ConfigurationExecutionError):
        run(str(ini))


def test_the_file_is_read_as_pserve_reads_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "base.ini").write_text(
        "[DEFAULT]\nname = x\n[app:main]\nuse = egg:authapp\n"
        "authapp.secret = file:%(here)s/secret\nauthapp.backend.url = https://%(name)s.example\n"
        "[filter:gzip]\nuse = egg:authapp\n"
    )
    ini = tmp_path / "site.ini"
    ini.write_text(
        "[pipeline:main]\npipeline = inner\n[app:inner]\nuse = config:base.ini\n"
        "authapp.backend.timeout = 3\n[app:other]\nuse = egg:authapp\n"
        "authapp.backend.timeout = %(seconds)s\n"
    )
    for spec in (str(ini), f"{ini}#inner"):
        found = findings(spec)
        assert fingerprint(SECRET.encode()) in str(found)
    assert "timeout in [app:other]" in findings(f"{ini}#other", code=1)[0][2]
    assert "timeout = 'x'" in str(findings(f"{ini}#other", "seconds=x", code=1))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "No section 'main'"),
        ("x = y", "not an ini file; see line 1"),
        ("[app:main]\nuse = egg:authapp\nx\n", "see line 3"),
        ("[app:main]\nuse = egg:authapp\nauthapp.secret = 5%x\n", "authapp.secret in [app:main]"),
        ("[app:main]\nuse = egg:no-such-package\nauthapp.secret = x\n", "no-such-package"),
        ("[app:main]\nuse = call:no_such:main\nauthapp.secret = x\n", "or set PYTHONPATH to"),
        ("[app:main]\nuse = egg:authapp#none\nauthapp.secret = x\n", "none"),
        ("[app:main]\nuse = egg:authapp\n", "no setting of authapp"),
        ("[app:main]\n[app:main]\n", "already exists"),
        (b"[app:main]\nx = \xff", "decode"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, text: Any, said: str) -> None:
    ini = tmp_path / "site.ini"
    ini.write_bytes(text if isinstance(text, bytes) else text.encode())
    ((about, level, line),) = findings(str(ini), code=1)
    assert (about, level) == ("settings", "problem")
    assert said in line
    assert "5%x" not in line


def test_a_missing_file_and_another_kind_of_file_are_named(tmp_path: Path) -> None:
    assert "No such file" in findings(str(tmp_path / "x.ini"), code=1)[0][2]
    assert "loader" in findings(str(tmp_path / "x.xyz"), code=1)[0][2]


def test_a_variable_without_a_value_is_wrong_use(tmp_path: Path) -> None:
    result = run(write(tmp_path, UNREACHABLE), "x")
    assert result.exit_code == 2
    assert "x is not NAME=VALUE" in result.output


def test_online_calls_backend_key_set_and_redis(
    tmp_path: Path, backend: Served, redis_server: RedisServer
) -> None:
    jwks = f"jwks:{backend.url}/.well-known/jwks.json"
    ini = write(tmp_path, backend.url, backend__verify=jwks, shared=redis_server.url)
    found = {about: (level, text) for about, level, text in findings(ini, "--online")}
    assert found["backend"][1].startswith(f"{backend.url[7:]}/ answers in ")
    assert found["backend"][1].endswith(" ms (status 404)")
    assert found["key set"][1].startswith("1 public key at 127.0.0.1")
    assert found["store"] == ("ok", "Redis answers, and has granted a lease")
    redis_server.stop()
    backend.instead["/"] = Response(status=503)
    backend.instead["/.well-known/jwks.json"] = Response(json={"keys": [{"kty": "oct"}, 1]})
    found = {about: (level, text) for about, level, text in findings(ini, "--online", code=1)}
    assert [found[each][0] for each in ("backend", "key set", "store")] == ["problem"] * 3
    assert found["key set"][1].startswith("0 public keys at")
    assert "StoreDown: " in found["store"][1]
    assert "see authapp.shared" in found["store"][1]


def test_online_counts_the_keys_that_a_site_would_use(tmp_path: Path, backend: Served) -> None:
    """``authapp check --online`` counts only keys that can verify tokens. A key for encryption, a
    private key and an invalid key are not counted."""
    jwks = f"{backend.url}/.well-known/jwks.json"
    (good,) = requests.get(jwks, timeout=5).json()["keys"]
    others = [good | {"use": "enc"}, good | {"d": "x"}, good | {"x": "short"}]
    ini = write(tmp_path, backend.url, backend__verify=f"jwks:{jwks}")
    for keys, level, text in (([good, *others], "ok", "1 "), (others, "problem", "0 ")):
        backend.instead["/.well-known/jwks.json"] = Response(json={"keys": keys})
        found = findings(ini, "--online", code=int(level == "problem"))
        ((told, line),) = [(each, text) for about, each, text in found if about == "key set"]
        assert told == level
        assert line.startswith(f"{text}public key")
        assert line.endswith("; KeySetUnavailable: an invalid key: InvalidKeyError")


def test_online_names_the_setting_of_what_cannot_be_reached(tmp_path: Path) -> None:
    ini = write(tmp_path, UNREACHABLE, backend__verify=f"jwks:{UNREACHABLE}/keys")
    found = findings(ini, "--online", code=1)
    assert "see authapp.backend.url" in str(found)
    assert "see authapp.backend.verify" in str(found)
    assert run(ini).exit_code == 0


def test_a_loader_of_another_format_is_asked_for_its_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``authapp check`` can read an ini file in another format, such as YAML, if a package has
    registered a loader for plaster."""

    class Loader:
        def get_wsgi_app_settings(self, name: str | None, defaults: Any) -> dict[str, str]:
            return {"authapp.secret": SECRET, "authapp.backend.url": defaults["url"]}

    monkeypatch.setattr(plaster, "get_loader", lambda uri, protocols: Loader())
    assert findings("site.yaml", "url=https://x.example")[0][1] == "ok"
    assert "'x': must be" in findings("site.yaml", "url=x", code=1)[0][2]


def test_a_provider_is_asked_for_its_metadata(tmp_path: Path) -> None:
    provider = Provider()
    with Served(provider) as served:
        provider.url = served.url
        more = {"oidc__issuer": served.url, "oidc__client_id": "site"}
        path = write(tmp_path, None, **more)
        found = {about: (level, text) for about, level, text in findings(path, "--online")}
        assert found["provider"] == ("ok", f"{served.url} allows a sign-in")
        assert "backend" not in found
        provider.metadata = {"code_challenge_methods_supported": ["plain"]}
        ((level, text),) = [
            (level, text)
            for about, level, text in findings(path, "--online", code=1)
            if about == "provider"
        ]
        assert level == "problem"
        assert "does not support PKCE with S256" in text
