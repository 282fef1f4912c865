"""docs/troubleshooting.md lists each code that authapp logs, and each error sentence for users."""

import ast
import errno
import os
import re
from pathlib import Path

from authapp import ErrorCode

HERE = Path(__file__).parents[2]
PAGE = (HERE / "docs/troubleshooting.md").read_text()

LEVELS = {
    "info": {"info"},
    "warning": {"warning"},
    "error": {"error"},
    "exception": {"error"},
    "log": {"info", "warning"},
}
"""Name of a method of ``log`` -> the levels at which it logs. authapp calls ``log.log`` with the
level info or warning."""

FILLED_IN = {
    "%s: sign-in: %s": {"UnexpectedAnswer", "BackendUnavailable"},
}
"""Log lines without a literal code -> the codes that they can have."""


def text_of(node: ast.expr, tree: ast.Module) -> str:
    """Return the text of a log line.

    :param node: the argument of the call of ``log``: the text itself, or the name of a constant.
    """
    if isinstance(node, ast.Name):
        for each in ast.walk(tree):
            if isinstance(each, ast.Assign) and ast.dump(each.targets[0]) in (
                ast.dump(ast.Name(node.id, ast.Store())),
            ):
                return text_of(each.value, tree)
    assert isinstance(node, ast.Constant), ast.dump(node)
    return str(node.value)


def logged(path: Path) -> set[tuple[str, str]]:
    """Return the codes that a module logs, each with a level: {("BackendDown", "warning"), …}."""
    tree = ast.parse(path.read_text())
    found: set[tuple[str, str]] = set()
    for call in ast.walk(tree):
        if not (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and isinstance(call.func.value, ast.Name)
            and call.func.value.id == "log"
            and call.func.attr in LEVELS
        ):
            continue
        levels = LEVELS[call.func.attr]
        text = text_of(call.args[call.func.attr == "log"], tree)
        code = re.match(r"([A-Z][A-Za-z]+): ", text)
        assert code or text in FILLED_IN, f"{path}: {text!r} has no code"
        found |= {
            (name, each) for name in ({code[1]} if code else FILLED_IN[text]) for each in levels
        }
    return found


def test_the_page_lists_exactly_the_codes_that_are_logged_with_their_levels() -> None:
    codes = {each for path in (HERE / "authapp").rglob("*.py") for each in logged(path)}
    table = re.findall(r"^\| `(\w+)` \| ([a-z, ]+) \|", PAGE.partition("## Log codes")[2], re.M)
    assert len(table) > 30
    assert {(code, level) for code, levels in table for level in levels.split(", ")} == codes
    assert len(table) == len(dict(table)), "a code is listed twice"


def test_the_page_lists_each_sentence_that_users_read_with_its_code() -> None:
    missing = [each for each in ErrorCode if f"| {each.sentence} | `{each}` |" not in PAGE]
    assert not missing


def test_the_messages_at_start_up_are_in_the_code() -> None:
    texts = " ".join(
        node.value
        for path in (HERE / "authapp").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    table = PAGE.partition("## The process does not start")[2].partition("\n## ")[0]
    messages = [
        text
        for row in re.findall(r"^\|.*", table, re.M)
        for text in re.findall("`([^`]+)`", row[: row.find("|", 1)])
    ]
    parts = [part.strip() for text in messages for part in text.split("…") if part.strip()]
    assert len(parts) > 10
    assert [each for each in parts if each not in texts] == [os.strerror(errno.EADDRINUSE) + ":"]
