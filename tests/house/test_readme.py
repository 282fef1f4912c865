"""Run the README's application, and build and install the package."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import requests
from pyramid.config import Configurator

from authapp.settings.ini import SettingsError
from servers import Served
from site_under_test import Site

HERE = Path(__file__).parents[2]


def readme_app() -> str:
    return (HERE / "README.md").read_text().split("```python\n")[1].split("```")[0]


def test_the_application_of_the_readme_works(
    backend: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = readme_app()
    assert len(source.splitlines()) < 40
    (tmp_path / "readme_app.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    import readme_app as application  # type: ignore[import-not-found]

    application.SETTINGS["authapp.backend.url"] = backend.url
    site = Site(wsgi=application.main())
    assert site.get("/", status=303).location.endswith("/login?next=%2F")
    assert site.sign_in("bob").follow().text == "Hello bob"
    site.get("/orders", status=403)
    admin = Site(wsgi=site.app)
    admin.sign_in("alice")
    assert admin.get("/orders").json["email"] == "alice@example.com"


def build(folder: Path) -> Path:
    """Build the files that a release publishes (sdist, wheel and SBOM). Return their folder."""
    release = HERE / ".ci" / "release.py"
    subprocess.run([sys.executable, release, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("dist"))


def test_a_second_build_has_the_same_bytes(built: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        build(tmp_path)
    finally:
        os.umask(before)
    first = {path.name: path.read_bytes() for path in built.iterdir()}
    assert [name.rpartition(".")[2] for name in sorted(first)] == ["whl", "json", "gz"]
    assert first == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_the_sdist_contains_what_a_user_needs_and_nothing_that_lies_around(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "CHANGES.md", "LICENSE", "SECURITY.md", "CONTRIBUTING.md"} <= names
    assert {"development.ini", "production.ini", "setup.py", "pyproject.toml"} <= names
    assert {"authapp/py.typed", "authapp/locale/authapp.pot"} <= names
    assert not [name for name in names if name.startswith((".", "tests", "build", "benchmarks"))]
    assert not [name for name in names if name.endswith((".pyc", ".db", ".log"))]


def test_a_file_of_an_earlier_build_is_not_built_again(tmp_path: Path) -> None:
    """``pip install CLONE`` builds inside the clone, and leaves files there. If ``git pull`` then
    removes a module, the next build must not take the module from these old files."""
    gone = tmp_path / "lib/authapp/gone.py"
    gone.parent.mkdir(parents=True)
    gone.touch()
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", tmp_path]
    subprocess.run(command, cwd=HERE, check=True, capture_output=True)
    assert (gone.parent / "server.py").exists()
    assert not gone.exists()


def test_the_sbom_lists_the_pins_of_production(built: Path) -> None:
    (file,) = built.glob("*.cdx.json")
    bill = json.loads(file.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    components = {each["name"]: each for each in bill["components"]}
    assert {"pyramid", "redis", "click", "cryptography", "opentelemetry-api"} <= set(components)
    assert not {"pytest", "django", "pyramid-debugtoolbar"} & set(components)
    lock = (HERE / ".ci" / "requirements.lock").read_text()
    for name, component in components.items():
        assert f"{name}=={component['version']} " in lock
        hashes = [each for each in component["properties"] if each["name"] == "authapp:file"]
        assert hashes
        assert all(each["value"] in lock for each in hashes)


def test_the_wheel_contains_all_files_of_the_package(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        path.relative_to(HERE).as_posix()
        for path in (HERE / "authapp").rglob("*")
        if path.suffix
        in (".py", ".jinja2", ".dbtmako", ".css", ".js", ".svg", ".mo", ".po", ".typed")
    }
    assert wanted <= names
    assert not [name for name in names if name.startswith("tests/")]


def test_the_wheel_runs_pserve_in_an_empty_venv(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    pip = [sys.executable, "-m", "pip", "--python", tmp_path / "venv"]
    subprocess.run(
        [*pip, "install", "-q", "--disable-pip-version-check", "--no-compile", wheel], check=True
    )
    ini = (HERE / "development.ini").read_text()
    ini = ini.replace("pyramid.includes = pyramid_debugtoolbar\n", "")
    (tmp_path / "site.ini").write_text(ini.replace("localhost:6543", "127.0.0.1:0"))
    process = subprocess.Popen(
        [tmp_path / "venv/bin/pserve", tmp_path / "site.ini"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    line = ""
    while "Serving on" not in line:
        line = process.stderr.readline()
        assert line, "pserve did not start"
        assert "arning" not in line  # of pkg_resources, for example
    url = line.split("Serving on ")[1].strip()
    assert "alice-password" in requests.get(url + "/login", timeout=5).text
    process.terminate()
    process.wait(10)
    process.stderr.close()


def test_including_authapp_without_settings_names_a_missing_one() -> None:
    config = Configurator()
    with pytest.raises(SettingsError, match=r"authapp\.secret is missing"):
        config.include("authapp")
