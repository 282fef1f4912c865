"""docs/troubleshooting.md lists each code that authapp logs, and each sentence that users read."""

import ast
import re
from pathlib import Path

from authapp import ErrorCode

HERE = Path(__file__).parents[2]
PAGE = (HERE / "docs/troubleshooting.md").read_text()

LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "log"}

FILLED_IN = {
    "%s: sign-in: %s": {"UnexpectedAnswer", "BackendUnavailable"},
    "%s: %s raised %s: another attempt": {"SignedIn"},  # the only event that is refusable
}
"""Lines whose code is filled in."""


def text_of(node: ast.expr, tree: ast.Module) -> str:
    """The text that a call logs: a literal, or the name of one."""
    if isinstance(node, ast.Name):
        for each in ast.walk(tree):
            if isinstance(each, ast.Assign) and ast.dump(each.targets[0]) in (
                ast.dump(ast.Name(node.id, ast.Store())),
            ):
                return text_of(each.value, tree)
    assert isinstance(node, ast.Constant), ast.dump(node)
    return str(node.value)


def logged(path: Path) -> set[str]:
    """The codes that a module logs."""
    tree = ast.parse(path.read_text())
    codes: set[str] = set()
    for call in ast.walk(tree):
        if not (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and isinstance(call.func.value, ast.Name)
            and call.func.value.id == "log"
            and call.func.attr in LEVELS
        ):
            continue
        text = text_of(call.args[call.func.attr == "log"], tree)
        code = re.match(r"([A-Z][A-Za-z]+): ", text)
        assert code or text in FILLED_IN, f"{path}: {text!r} has no code"
        codes |= {code[1]} if code else FILLED_IN[text]
    return codes


def test_the_page_lists_exactly_the_codes_that_are_logged() -> None:
    codes = {code for path in (HERE / "authapp").rglob("*.py") for code in logged(path)}
    table = PAGE.partition("## Log codes")[2]
    listed = re.findall(r"^\| `(\w+)` \|", table, re.M)
    assert len(codes) > 30
    assert set(listed) == codes
    assert len(listed) == len(codes), "a code is listed twice"


def test_the_page_lists_each_sentence_that_users_read_with_its_code() -> None:
    missing = [each for each in ErrorCode if f"| {each.sentence} | `{each}` |" not in PAGE]
    assert not missing
