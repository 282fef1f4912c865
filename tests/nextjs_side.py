"""Next.js in tests: the real npm packages in a Node.js process, behind a WSGI interface.

The process runs the JavaScript of docs/nextjs.md. ``nextjs/package-lock.json`` pins the packages.
"""

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from webob import Request, Response

from node_packages import install

HERE = Path(__file__).parent / "nextjs"
DOCUMENT = Path(__file__).parents[1] / "docs" / "nextjs.md"


def in_base64(*secrets: str) -> str:
    """Return secrets in base64 with spaces between them, as the variable ``SESSION_SECRETS`` has
    them."""
    return " ".join(base64.b64encode(each.encode()).decode() for each in secrets)


def blocks(version: int) -> dict[str, str]:
    """Return path -> content of the files in docs/nextjs.md.

    A code block that begins with ``// path`` or ``# path`` is a file. If ``(next-auth 4)`` follows
    the path, the file is only for next-auth 4. A block that begins with ``// path: name`` is not
    returned: it replaces only the function ``name`` of the file.

    :param version: 5 for Auth.js 5, 4 for next-auth 4.
    """
    files: dict[str, str] = {}
    text = DOCUMENT.read_text()
    for path, mark, code in re.findall(
        r"```(?:js|sh)\n(?://|#) ([\w./\[\]-]+)( \(next-auth 4\))?\n(.*?)```", text, re.DOTALL
    ):
        if version == 4 or not mark:
            files[path] = code
    if version == 4:
        del files["auth.js"], files["app/api/auth/[...nextauth]/route.js"]
    return files


def commands(version: int) -> list[str]:
    """Return the commands of docs/nextjs.md that create the Next.js application, in their order."""
    part = DOCUMENT.read_text().partition("## The Next.js side")[2]
    first, for_4 = re.findall(r"```sh\n(n.*?)```", part, re.DOTALL)[:2]
    lines = first.splitlines()
    other = for_4.splitlines()
    return lines[: -len(other)] + other if version == 4 else lines


def with_moved(code: str) -> str:
    """Replace the function ``moved`` in ``lib/session.js`` by the second ``moved`` in
    docs/nextjs.md. The second one also reads old sessions, which have their tokens in other
    members.

    :param code: the content of ``lib/session.js``.
    :returns: the new content.
    """
    (other,) = re.findall(
        r"```js\n// lib/session.js: moved\n(.*?)```", DOCUMENT.read_text(), re.DOTALL
    )
    begin = "export function moved(token) {\n  return token;\n}\n"
    assert begin in code
    return code.replace(begin, other)


def write_scripts(folder: Path) -> Path:
    """Write the code blocks of docs/nextjs.md to a folder. Also copy ``side.mjs``, which runs them,
    to the folder. Return the folder."""
    (folder / "node_modules").symlink_to(HERE / "node_modules")
    shutil.copy(HERE / "side.mjs", folder)
    (folder / "package.json").write_text('{"type": "module"}')
    for path in (
        "lib/session.js",
        "lib/decode.js",
        "lib/token.js",
        "lib/read.js",
        "pages/api/auth/[...nextauth].js",
    ):
        code = blocks(4)[path]
        # Next.js's bundler unwraps the default of a CommonJS module, Node.js does not.
        code = re.sub(r"import (\w+) from (.*);", r"import c from \2;\nconst \1 = c.default;", code)
        code = code.replace("../../../lib/", "./")
        if path == "lib/session.js":
            code = with_moved(code)
        (folder / Path(path).name).write_text(code)
    return folder


class NextSide:
    """A Next.js application as a WSGI application. Tests can also call functions of its packages.

    :param version: 4 for next-auth 4, 5 for ``@auth/core``.
    :param environ: variables for the environment of the Node.js process.
    """

    def __init__(self, folder: Path, version: int, **environ: str) -> None:
        self.version = version
        self.environ: dict[str, str] = {}
        self._process = subprocess.Popen(
            [install(HERE), "side.mjs"],
            cwd=folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, action: str, **params: Any) -> Any:
        """Call a function of the packages in Node.js and return its result. The function gets the
        time from this process, so that a test can change the time."""
        assert self._process.stdin
        assert self._process.stdout
        here = {"version": self.version, "now": time.time(), "environ": self.environ}
        command = {"do": action, **here, **params}
        print(json.dumps(command), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, "it has ended, and says why above"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        request = Request(environ)
        answer = self.ask(
            "visit",
            method=request.method,
            url=request.url,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=request.text,
        )
        response = Response(status=answer["status"], text=answer["body"])
        for name, value in answer["headers"].items():
            for each in value if isinstance(value, list) else [value]:
                response.headers.add(name, each)
        return response(environ, start_response)

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate()
