"""``python -m benchmarks [table ...]``: measure and print the named tables.

Without a name, measure all tables, and write RESULTS.md at the end.
"""

import platform
import re
import subprocess
import sys
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks.rounds import Report, Target, table

TABLES = ("starter", "request", "sealing", "served", "storm", "edge", "told", "growth")
PACKAGES = (
    "pyramid",
    "pyramid_jinja2",
    "Jinja2",
    "WebOb",
    "PyJWT",
    "waitress",
    "cryptography",
    "joserfc",
    "redis",
    "pyramid_jwt",
    "pyramid_nacl_session",
    "pyramid_tm",
    "SQLAlchemy",
    "Authlib",
    "fastapi-nextauth-jwt",
    "itsdangerous",
    "Flask",
    "Flask-JWT-Extended",
    "Django",
    "django-allauth",
    "djangorestframework",
    "djangorestframework-simplejwt",
    "starlette",
)
RESULTS = Path(__file__).parent / "RESULTS.md"
HOW_TO_READ = Path(__file__).parent / "how_to_read.md"


def processor() -> str:
    """Return the number and name of the processors, the size of the memory, and the platform."""
    cpus = [line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")]  # fmt: skip
    memory = Path("/proc/meminfo").read_text().split()[1]
    return f"{len(cpus)} x {cpus[0]}, {int(memory) // 2**20} GB, {platform.platform()}"


def first_line(*command: str) -> str:
    """Return the first line that a command prints, such as its version."""
    said = subprocess.run(command, capture_output=True, text=True).stdout
    return said.splitlines()[0].strip()


def versions() -> str:
    """Return the names and versions of all measured programs and packages."""
    node = subprocess.run(
        ["npm", "ls", "--parseable", "--long"], cwd=RESULTS.parent, capture_output=True, text=True
    ).stdout
    peers = [line.split(":")[1].rpartition("@") for line in node.splitlines()[1:]]
    wanted = [
        f"{name} {number}" for name, _, number in peers if name in ("next-auth", "@auth/core")
    ]
    programs = [
        f"Python {platform.python_version()}",
        f"Node {first_line('node', '--version')}",
        first_line("redis-server", "--version").partition(" sha")[0],
        first_line("wrk", "--version").partition(" [")[0],
    ]
    return ", ".join([*programs, *(f"{name} {version(name)}" for name in PACKAGES), *wanted])


SENTENCES = (
    "With authapp, a request to this page takes {starter page, authapp, warm / without authapp}"
    " times as long, if its user is signed in and the process has seen the session lately.",
    "The first request of a session in a process decrypts it and takes"
    " {starter page, authapp, cold / without authapp} times as long, a stranger's request"
    " {starter page, authapp, a stranger / without authapp} times.",
    "To open a session takes {open small, cold / next-auth 4} of the time that next-auth 4 takes,"
    " and {open small, cold, in its own format / @auth/core} of @auth/core's, both on Node.",
    "Of 400 requests that come at once with one expired session to four processes,"
    " {storm, authapp, Redis, 4 processes: backend calls} calls the backend.",
    "After a million sessions, a request takes"
    " {growth, 1,000,000 sessions / 100,000: a request} times what it takes after a hundred"
    " thousand.",
)
"""The sentences at the top of RESULTS.md. Each name in braces is the name of a target. It is
replaced by the median of the target, with its unit."""


def sentences(targets: list[Target]) -> str:
    """Return :data:`SENTENCES` with the medians of the targets."""
    figures = {each.what: f"{median(each.rounds):.3g}{each.unit}".removesuffix(" x")
               for each in targets}  # fmt: skip
    return "\n".join(
        "- " + re.sub(r"\{([^}]+)\}", lambda found: figures[found[1]], each) for each in SENTENCES
    )


def main(names: list[str]) -> None:
    """Measure the named tables, or all tables if there is no name, and print them.

    Only a run of all tables writes RESULTS.md.
    """
    texts: list[str] = []
    charts: list[str] = []
    targets: list[Target] = []
    began = time.monotonic()
    for name in names or TABLES:
        module = import_module(f"benchmarks.{name}")
        report = Report(*module.report())
        doc = module.__doc__.strip()
        texts.append(f"## {module.TITLE}\n\n{doc}\n\n{report.text.strip()}\n")
        charts += filter(None, [report.chart])
        targets += report.targets
        print(*filter(None, [report.chart]), texts[-1], sep="\n", flush=True)
    judged = table(
        ["target", "limit", "median", "half of all rounds", ""],
        [target.row() for target in targets],
    )
    print(judged)
    if not names:
        seconds = time.monotonic() - began
        parts = [
            "# Results\n",
            *(f"{chart}\n" for chart in charts),
            f"{sentences(targets)}\n",
            f"Written by `make bench` on {time.strftime('%Y-%m-%d')} in {seconds:.0f} s.\n",
            f"- Machine: {processor()}\n- Versions: {versions()}\n",
            HOW_TO_READ.read_text(),
            f"## Targets\n\n{judged}",
            *texts,
        ]
        RESULTS.write_text("\n".join(parts))


main(sys.argv[1:])
