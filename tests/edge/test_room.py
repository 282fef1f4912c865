"""The package ``authapp.edge`` is optional: it is imported only if a setting needs it."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
sys.path.insert(0, "tests")
import authapp
from site_under_test import settings
authapp.main({{}}, **settings("http://127.0.0.1:9", **{keys}))
print(*sorted(name for name in sys.modules if name.startswith("authapp.edge.")))
"""


@pytest.mark.servers
@pytest.mark.parametrize(
    ("keys", "modules"),
    [
        ({}, ""),
        ({"verify": "true"}, "authapp.edge.identity_headers authapp.edge.verify"),
        (
            {"proxy": "/api = http://127.0.0.1:9"},
            "authapp.edge.bulkhead authapp.edge.identity_headers authapp.edge.proxy "
            "authapp.edge.returned_headers authapp.edge.upstream",
        ),
        (
            {
                "api_bearer": "true",
                "api_prefixes": "/api",
                "backend__verify": "secret:a key of tests that is long enough",
                "backend__issuer": "https://issuer.example",
                "backend__audience": "site",
            },
            "authapp.edge.bearer",
        ),
    ],
)
def test_a_part_is_imported_only_if_its_setting_asks(keys: dict[str, str], modules: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(keys=keys)], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == modules
