"""The application works in unusual environments: threats O4 and O5."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

WALK = """
import sys
import threading
import time

import time_machine

import authapp
from servers import ISSUER_SETTINGS
from site_under_test import Site, settings

ini = settings("embedded:", backend__verify="jwks:embedded:") | ISSUER_SETTINGS
site = Site(wsgi=authapp.main({}, **ini))
before = set(sys.modules)
site.sign_in("alice", "wrong", status=401)
site.sign_in()
first = site.opened().validity
site.get("/account", status=200)
with time_machine.travel(time.time() + 901):
    site.get("/account", status=200)
    second = site.opened().validity
    site.get("/health?deep=1", status=200)
    site.get("/nowhere", status=404)
    site.sign_out()
print("renewed after", round(second.valid_until - first.valid_until, -1))
print("imported", sorted(name for name in set(sys.modules) - before if "." not in name))
"""


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        ([], {}),
        (["-OO"], {"TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "7"}),
        ([], {"TZ": ":nonsense", "PYTHONHASHSEED": "0"}),
    ],
)
def test_o4_application_works_in_an_unusual_environment(
    tmp_path: Path, options: list[str], environment: dict[str, str]
) -> None:
    """Threats O4, O5. The application works without HOME, without ``assert`` statements (``-OO``),
    and with any value of ``TZ`` and any hash seed.

    It writes no file. After the start, it imports no further top-level module.
    """
    ran = subprocess.run(
        [sys.executable, *options, "-B", "-c", WALK],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{TESTS.parent}:{TESTS}", **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert ran.stdout == "renewed after 900\nimported []\n"
    assert os.listdir(tmp_path) == []
