"""The documentation builds without a warning, and describes everything that is public."""

import re
import subprocess
import sys
from pathlib import Path

import authapp
from authapp.settings.route_settings import PATHS
from site_under_test import settings

HERE = Path(__file__).parents[2]
DOCS = HERE / "docs"


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    """Build the documentation as ``make docs`` does. A broken link or an unknown name fails the
    test."""
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", DOCS, tmp_path / "html"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    settings = (tmp_path / "html/settings.html").read_text()
    assert "__Host-authapp.session" in settings
    assert (tmp_path / "html/openapi.yaml").exists()
    pages = [page.read_text() for page in (tmp_path / "html").glob("*.html")]
    assert not [
        src for page in pages for src in re.findall(r'(?:src|stylesheet" href)="(http[^"]*)', page)
    ]


def test_the_python_api_lists_each_public_name() -> None:
    page = (DOCS / "python.md").read_text()
    listed = re.findall(r"^\.\. (?:auto\w+|py:data):: authapp\.(\w+)$", page, re.M)
    assert sorted(listed) == sorted(authapp.__all__)


def test_the_table_of_routes_lists_each_route_with_its_path_and_methods() -> None:
    page = (DOCS / "http.md").read_text()
    rows = re.findall(r"^\| (`authapp\.[^|]*) \| ([^|]*) \| ([A-Z, ]*) \|", page, re.M)
    oidc = {"oidc.issuer": "https://id.example.com", "oidc.client_id": "site", "verify": "true"}
    more = {key.replace(".", "__"): value for key, value in oidc.items()}
    introspector = authapp.main(
        {}, **settings("http://backend.invalid", **more)
    ).registry.introspector
    served: dict[str, set[str]] = {}
    for view in (each["introspectable"] for each in introspector.get_category("views")):
        if str(view["route_name"]).startswith("authapp."):
            methods = view["request_methods"] or ()
            served.setdefault(view["route_name"], set()).update(
                (methods,) if isinstance(methods, str) else methods
            )
    for name, path in PATHS.items():
        ((paths, methods),) = (rest for names, *rest in rows if f"`authapp.{name}`" in names)
        assert f"`{path}`" in paths
        assert set(methods.split(", ")) == served[f"authapp.{name}"] - {"HEAD"}, name


def test_the_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", (HERE / "README.md").read_text())
    assert len(links) > 20
    assert not [link for link in links if "://" not in link and not (HERE / link).exists()]
    pages = {page.name for page in DOCS.glob("*.md")} - {"index.md"}
    assert pages <= {Path(link).name for link in links}
