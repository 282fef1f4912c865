"""The snippets of docs/testing.md run as they are written."""

import re
import sys
from pathlib import Path

import pytest

from authapp import testing as kit

ROOT = Path(__file__).parents[2]
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)

SNIPPETS = PYTHON.findall((ROOT / "docs/testing.md").read_text())
TWELVE_LINES, ANYBODY, ASSERTIONS, BACKEND, API, UNIT = SNIPPETS


@pytest.fixture
def users(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Return a folder that has only the README's application."""
    (readme_app, *_) = PYTHON.findall((ROOT / "README.md").read_text())
    pytester.makeini("[pytest]")
    pytester.makepyfile(app=readme_app)
    monkeypatch.delitem(sys.modules, "app", raising=False)
    pytester.syspathinsert()
    return pytester


def test_twelve_lines_test_the_application_of_the_readme(users: pytest.Pytester) -> None:
    assert len([line for line in TWELVE_LINES.splitlines() if line.strip()]) <= 12
    users.makepyfile(test_app="\n".join((TWELVE_LINES, BACKEND, API)))
    options = ("-p", "no:authapp", "-p", "authapp.testing.plugin", "-p", "no:cacheprovider")
    users.runpytest_inprocess(*options).assert_outcomes(passed=4)


def test_the_other_snippets_run(users: pytest.Pytester) -> None:
    import app  # type: ignore[import-not-found]
    from webtest import TestApp

    site = TestApp(app.main())
    exec(ANYBODY, names := {"site": site})
    kit.sign_in(site, id=7, roles=["admin"])
    with pytest.raises(AssertionError, match="there is a session"):
        exec(ASSERTIONS, names)
    exec(UNIT, names | {"SETTINGS": app.SETTINGS})


def test_every_name_and_parameter_is_documented() -> None:
    text = (ROOT / "docs/testing.md").read_text()
    for name in kit.__all__:
        assert name in text or name == "describe", name
    for name in kit.make_session.__kwdefaults__:
        assert f"`{name}`" in text, name
