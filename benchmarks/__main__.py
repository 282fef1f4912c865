"""``python -m benchmarks [table ...]``: measures tables, and writes RESULTS.md after all."""

import platform
import subprocess
import sys
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from benchmarks.rounds import Target, table

TABLES = ("starter", "request", "sealing", "served", "storm", "edge", "growth")
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
    "djangorestframework",
    "djangorestframework-simplejwt",
    "starlette",
)
RESULTS = Path(__file__).parent / "RESULTS.md"


def processor() -> str:
    """Return the name and number of the processors (/proc/cpuinfo), and the memory."""
    cpus = [line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")]  # fmt: skip
    memory = Path("/proc/meminfo").read_text().split()[1]
    return f"{len(cpus)} x {cpus[0]}, {int(memory) // 2**20} GB, {platform.platform()}"


def first_line(*command: str) -> str:
    """Return the version that a program prints."""
    said = subprocess.run(command, capture_output=True, text=True).stdout
    return said.splitlines()[0].strip()


def versions() -> str:
    """Return the versions of everything that is measured."""
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


def main(names: list[str]) -> None:
    """Measure the named tables, or all tables."""
    texts: list[str] = []
    targets: list[Target] = []
    began = time.monotonic()
    for name in names or TABLES:
        module = import_module(f"benchmarks.{name}")
        text, more = module.report()
        texts.append(f"## {module.TITLE}\n\n{module.__doc__.strip()}\n\n{text.strip()}\n")
        targets += more
        print(texts[-1], flush=True)
    judged = table(
        ["target", "limit", "median", "half of all rounds", ""],
        [target.row() for target in targets],
    )
    print(judged)
    if not names:
        seconds = time.monotonic() - began
        head = (
            "# Results\n\n"
            f"Written by `make bench` on {time.strftime('%Y-%m-%d')} in {seconds:.0f} s.\n\n"
            f"- Machine: {processor()}\n- Versions: {versions()}\n\n"
            "Only ratios can be compared between machines. Each is the median of the ratios of\n"
            "all rounds; a round gives each contender one turn, in an order drawn by lot (in the\n"
            "storm: the two of ours). The spread is half the distance between the quartiles.\n"
        )
        RESULTS.write_text("\n".join([head, f"## Targets\n\n{judged}", *texts]))


main(sys.argv[1:])
