"""The regression gate: callgrind counts the instructions of five requests.

- ``make instructions`` compares the counts with ``instructions.json``, and fails if the count of a
  request has grown by more than 3 %. If the file was written with another Python, package or
  processor, the command compares nothing, and only prints these differences.
- ``make instructions-write`` writes the counts to the file.

Other programs on the machine do not change the number of instructions. So even a small change of
the code is visible. The number is not the time of a request, because code also waits for memory.
"""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks.counted import MARK, WINDOWS

HERE = Path(__file__).parents[1]
NUMBERS = Path(__file__).parent / "instructions.json"
NUMBER = 10
"""How often each request is sent in a window of :mod:`benchmarks.counted`."""

TOLERANCE = 0.03
"""The share of additional instructions that a request may take. The counts of two runs differ by
less than a tenth of this share."""

PACKAGES = (
    "cryptography",
    "Jinja2",
    "jmespath",
    "joserfc",
    "limits",
    "MarkupSafe",
    "PyJWT",
    "pyramid",
    "pyramid_jinja2",
    "setuptools",
    "WebOb",
    "zope.interface",
)


def count(name: str, number: int = NUMBER) -> dict[str, int]:
    """Return the name of each request -> its instructions.

    Callgrind is switched on only after the program has imported its modules and prepared the
    requests. So a count takes seconds instead of minutes.

    :param name: a key of ``SETS`` in :mod:`benchmarks.counted`: which requests are counted.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [
            *("valgrind", "-q", "--tool=callgrind", "--instr-atstart=no"),
            *(f"--dump-before={MARK}", f"--callgrind-out-file={out}"),
            *(sys.executable, "-m", "benchmarks.counted", name, str(number)),
        ]
        paths = f"{HERE}{os.pathsep}{HERE / 'tests'}"
        env = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": paths}
        with subprocess.Popen(
            command, cwd=HERE, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            names = json.loads(process.stdout.readline() or "[]")
            if names:
                switch = ["callgrind_control", "--instr=on", str(process.pid)]
                subprocess.run(switch, check=True, capture_output=True)
            process.communicate("go on\n" if names else None)
        if process.returncode != 0:
            raise SystemExit(f"valgrind ended with {process.returncode}")
        # The first file has the counts from before the first mark.
        totals = [_total(Path(f"{out}.{2 + place}")) for place in range(WINDOWS * len(names))]
    windows = [totals[at : at + WINDOWS] for at in range(0, len(totals), WINDOWS)]
    return {name: int(median(each)) // number for name, each in zip(names, windows, strict=True)}


def _total(path: Path) -> int:
    """Return the number of instructions in an output file of callgrind."""
    found = re.search(r"^(?:totals|summary): (\d+)", path.read_text(), re.MULTILINE)
    assert found, path
    return int(found[1])


def valid_for() -> dict[str, str]:
    """Return the versions and the processor for which the counts are valid.

    The versions are those of Python, the C library, valgrind and some packages. Of the processor,
    the result has the architecture and two features.
    """
    flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    said = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True)
    return {
        "python": f"{platform.python_version()} {platform.python_compiler()}",
        "machine": f"{platform.machine()} {' '.join(sorted({'avx2', 'aes'} & set(flags)))}",
        "libc": " ".join(platform.libc_ver()),
        "valgrind": said.stdout.strip(),
        **{name: version(name) for name in PACKAGES},
    }


def compare(counted: dict[str, int], kept: dict[str, int]) -> bool:
    """Print the change of each request. Return False if a change is above :data:`TOLERANCE`."""
    worse = [name for name, before in kept.items() if counted[name] > before * (1 + TOLERANCE)]
    for name, before in kept.items():
        change = counted[name] / before - 1
        remark = "" if name not in worse else f"  more than {TOLERANCE:.0%} more"
        print(f"{name:12} {counted[name]:>12,} instructions, {change:+.2%}{remark}")
    return not worse


def main(arguments: list[str]) -> None:
    """Count the five requests, and compare the counts with ``instructions.json``.

    With ``--write``, write the file. With a key of ``SETS`` in :mod:`benchmarks.counted`, only
    print the counts of that set of requests.

    :raises SystemExit: if a request takes too many instructions.
    """
    if arguments and arguments[0] != "--write":
        for name, number in count(arguments[0]).items():
            print(f"{name:70} {number:>12,}")
        return
    here, kept = valid_for(), json.loads(NUMBERS.read_text())
    other = [f"{name} {kept['valid for'].get(name)} and not {each}" for name, each in here.items()
             if kept["valid for"].get(name) != each]  # fmt: skip
    if other and not arguments:
        print(f"Skipped: the numbers in {NUMBERS.name} are of {', '.join(other)}.")
        print("`make instructions-write` writes those of this machine.")
        return
    counted = count("five")
    if arguments:
        NUMBERS.write_text(
            json.dumps({"valid for": here, "instructions": counted}, indent=2) + "\n"
        )
        print(f"Written: {NUMBERS.name}")
    elif not compare(counted, kept["instructions"]):
        raise SystemExit(
            "A request takes more instructions than before. If that is intended, run"
            " `make instructions-write` and say why in the commit."
        )


if __name__ == "__main__":
    main(sys.argv[1:])
