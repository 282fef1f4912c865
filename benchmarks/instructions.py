"""The instructions of a request, counted by callgrind: ``python -m benchmarks.instructions``.

The number of instructions does not depend on what else runs on the machine. So even a small change
is visible. The time of a request does not depend on this number alone, because code also waits for
memory.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.counted import MARK

HERE = Path(__file__).parents[1]
NUMBER = 50


def count(name: str, number: int = NUMBER) -> dict[str, int]:
    """Return the instructions for each visit of a set of :mod:`benchmarks.counted`.

    Callgrind is off while the program imports modules and prepares. So this takes seconds, and not
    minutes.
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
        # The first file is what was before the first mark.
        totals = [_total(Path(f"{out}.{place}")) for place in range(2, len(names) + 2)]
    return {name: total // number for name, total in zip(names, totals, strict=True)}


def _total(path: Path) -> int:
    """Return the number of instructions in an output file of callgrind."""
    found = re.search(r"^(?:totals|summary): (\d+)", path.read_text(), re.MULTILINE)
    assert found, path
    return int(found[1])


if __name__ == "__main__":
    for name, number in count(*sys.argv[1:2]).items():
        print(f"{name:70} {number:>12,}")
