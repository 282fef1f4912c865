"""Build the files of a release: the sdist, the wheel and the SBOM.

If you build the same commit again, the files have the same bytes.
``python .ci/release.py FOLDER`` writes the three files into a folder. All times in the files are
``SOURCE_DATE_EPOCH``, or the time of the last commit. setuptools writes other times into the sdist,
so this script writes the sdist again. Then it builds the wheel from this sdist.
"""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parents[1]
EXTRAS = ("redis", "cli", "opentelemetry")
"""The extras of authapp that the SBOM includes: those for production."""

PIN = re.compile(r"^([a-z0-9.-]+)==([^\s;\\]+)(?: ; ([^\\]+?))? ?\\?\n((?: {4}--hash=.*\n)+)", re.M)


def source_date() -> int:
    """Return the time to write into the files, in epoch seconds.

    This is ``SOURCE_DATE_EPOCH`` if it is set. If not, it is the time of the last commit.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    command = ["git", "-C", HERE, "log", "-1", "--format=%ct"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def copy_source(folder: Path) -> None:
    """Copy the files that git tracks into a folder, so that the sdist contains only these files."""
    command = ["git", "-C", HERE, "ls-files", "-z"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HERE / name, folder / name)


def build(what: str, source: Path, folder: Path) -> Path:
    """Build the sdist or the wheel, and return its path.

    :param what: ``sdist`` or ``wheel``.
    :param source: the folder with the source.
    :param folder: the folder for the new file.
    """
    before = set(folder.glob("*"))
    subprocess.run(
        [sys.executable, "-m", "build", f"--{what}", "--no-isolation", "--outdir", folder, source],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    (built,) = set(folder.glob("*")) - before
    return built


def normalise(sdist: Path, when: int) -> None:
    """Write an sdist again, so that it does not depend on this machine.

    The new sdist has no owners, one time for all files, and sorted files.

    :param when: the time in epoch seconds.
    """
    with tarfile.open(sdist) as archive:
        members = sorted(archive.getmembers(), key=lambda each: each.name)
        contents = [archive.extractfile(each) if each.isfile() else None for each in members]
        data = [each.read() if each else b"" for each in contents]
    with (
        sdist.open("wb") as file,
        gzip.GzipFile("", "wb", 9, file, mtime=when) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member, content in zip(members, data, strict=True):
            fresh = tarfile.TarInfo(member.name)
            fresh.type, fresh.size, fresh.mtime = member.type, len(content), when
            fresh.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            archive.addfile(fresh, io.BytesIO(content))


def needed(name: str, extra: str = "") -> set[str]:
    """Return the names of all packages that a package needs, directly or indirectly.

    Packages that only some of the supported Python versions need are included.

    :param extra: an extra of the package, or "".
    """
    found: set[str] = set()
    try:
        requirements = [Requirement(each) for each in requires(name) or ()]
    except PackageNotFoundError:  # this Python does not need it
        return found
    for each in requirements:
        pythons = [{"python_version": f"3.{minor}", "extra": extra} for minor in range(10, 14)]
        pythons = [{**one, "python_full_version": f"{one['python_version']}.0"} for one in pythons]
        if each.marker is None or any(each.marker.evaluate(python) for python in pythons):
            found |= {canonicalize_name(each.name)} | needed(each.name)
            found |= {other for wanted in each.extras for other in needed(each.name, wanted)}
    return found


def sbom(version: str, when: int) -> dict[str, Any]:
    """Return the SBOM, which lists the packages that authapp needs (CycloneDX 1.6).

    The versions and hashes come from the lock file.

    :param version: the version of authapp.
    :param when: the time in epoch seconds.
    """
    names = needed("authapp").union(*(needed("authapp", extra) for extra in EXTRAS))
    components = []
    lock = (HERE / ".ci" / "requirements.lock").read_text()
    for name, pinned, marker, hashes in PIN.findall(lock):
        if name in names:
            component = {
                "type": "library",
                "bom-ref": f"pkg:pypi/{name}@{pinned}",
                "name": name,
                "version": pinned,
                "purl": f"pkg:pypi/{name}@{pinned}",
                "properties": [
                    {"name": "authapp:file", "value": digest}
                    for digest in sorted(re.findall("sha256:[0-9a-f]{64}", hashes))
                ],
            }
            if marker:
                said = {"name": "authapp:marker", "value": str(Marker(marker))}
                component["properties"] = [said, *component["properties"]]
            components.append(component)
    missing = names - {each["name"] for each in components}
    if missing:
        raise SystemExit(f"The lock has no {', '.join(sorted(missing))}: make lock")
    root = f"pkg:pypi/authapp@{version}"
    digest = hashlib.sha256(json.dumps(components).encode()).hexdigest()
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest)}",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when)),
            "component": {
                "type": "library",
                "bom-ref": root,
                "name": "authapp",
                "version": version,
                "purl": root,
                "licenses": [{"license": {"id": "MIT"}}],
            },
        },
        "components": components,
        "dependencies": [{"ref": root, "dependsOn": [each["bom-ref"] for each in components]}],
    }


def release(folder: Path) -> list[Path]:
    """Build the sdist, the wheel and the SBOM in a folder, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    when = source_date()
    os.environ["SOURCE_DATE_EPOCH"] = str(when)
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as scratch:
        copy_source(Path(scratch))
        sdist = build("sdist", Path(scratch), folder)
    normalise(sdist, when)
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(sdist) as archive:
            # The tarfile module of Python 3.11.2 (Debian 12) has no extraction filters. It is safe
            # to extract this archive without a filter, because this script has made it.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(scratch)
        (source,) = Path(scratch).iterdir()
        wheel = build("wheel", source, folder)
    version = wheel.name.split("-")[1]
    bill = folder / f"authapp-{version}.cdx.json"
    bill.write_text(json.dumps(sbom(version, when), indent=2) + "\n")
    return [sdist, wheel, bill]


if __name__ == "__main__":
    for built in release(Path(sys.argv[1])):
        sys.stdout.write(f"{hashlib.sha256(built.read_bytes()).hexdigest()}  {built}\n")
