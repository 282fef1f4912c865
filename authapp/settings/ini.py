"""Reading an ini file: what a key may hold, and all that is wrong said at once.

A reader makes a value of a text, and raises ``ValueError`` with what is allowed; the key and
the value (never a secret's) are put in front of it in one place.
"""

import difflib
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pyramid.exceptions import ConfigurationError
from pyramid.settings import falsey, truthy

T = TypeVar("T")


class SettingsError(ConfigurationError):
    """What is wrong with the settings, one line a problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Ini:
    """Takes keys out of an ini file one by one and collects what is wrong.

    :param ini: all of its settings.
    :param prefix: with which ours begin; others are left alone.
    """

    def __init__(self, ini: Mapping[str, Any], prefix: str) -> None:
        self._prefix = prefix
        self._left = {key: value for key, value in ini.items() if key.startswith(prefix)}
        self._others = [key for key in ini if not key.startswith(prefix)]
        self._result_from_others: list[str] = []
        self._problems: list[str] = []
        self.shown: dict[str, str] = {}

    def take(
        self,
        key: str,
        read: Callable[[str], T],
        default: T,
        *,
        secret: bool = False,
        missing: str | None = None,
    ) -> T:
        """The value of a key, or its default; a problem is noted and the default returned.

        :param read: raises ``ValueError`` with what is allowed.
        :param secret: whether the value must be shown to nobody.
        :param missing: the problem that it is when the key is not there.
        """
        name, key = key, self._prefix + key
        self._result_from_others.append(key)
        text = str(self._left.pop(key, "")).strip()
        if not text:
            if missing:
                near = [name] if name in self._others else []
                near += difflib.get_close_matches(key, self._others, 1, 0.9)
                hint = f" ({near[0]} is there, which is another key)" if near else ""
                self._problems.append(missing + hint)
            return default
        secret = secret or "@" in text  # a URL with a password in it
        self.shown[key] = "***" if secret else text
        try:
            return read(text)
        except ValueError as error:
            value = "" if secret else f" = {text!r}"
            self._problems.append(f"{key}{value}: {error}")
            return default

    def needs(self, key: str, other: str) -> None:
        """Note where a key was set that has no effect without another."""
        if self.has(key) and not self.has(other):
            self.problem(f"{self._prefix}{key} has no effect without {self._prefix}{other}")

    def problem(self, line: str) -> None:
        """Note something that is wrong."""
        self._problems.append(line)

    def has(self, key: str) -> bool:
        """Whether a key was set."""
        return self._prefix + key in self.shown

    def finish(self, perhaps: Sequence[str] = ()) -> None:
        """See to it that nothing was wrong, and that there is no key that nobody knows.

        :param perhaps: problems that are worth a line only where there are others.
        :raises SettingsError: with every problem there is.
        """
        for key in self._left:
            near = difflib.get_close_matches(key, self._result_from_others, 1, 0)[0]
            self._problems.append(f"{key} is not a setting; the nearest is {near}")
        if self._problems:
            raise SettingsError([*self._problems, *perhaps])


def plain(text: str) -> str:
    """Any text."""
    return text


def boolean(text: str) -> bool:
    """Yes or no, in the words that Pyramid takes."""
    word = text.lower()
    if word not in truthy | falsey:
        raise ValueError("true or false is allowed")
    return word in truthy


def one_of(names: Collection[str]) -> Callable[[str], str]:
    """One of these names."""

    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"one of {', '.join(names)} is allowed")
        return text

    return read


def whole(least: int, most: int) -> Callable[[str], int]:
    """Whole seconds."""

    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ValueError(f"whole seconds from {least} to {most} are allowed")
        return int(text)

    return read


def count(text: str) -> int:
    """How many of something."""
    if not re.fullmatch("[0-9]{1,4}", text) or int(text) < 1:
        raise ValueError("a whole number from 1 to 9999 is allowed")
    return int(text)


def decimal(least: float, most: float) -> Callable[[str], float]:
    """Seconds, and parts of one."""

    def read(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or not least <= float(text) <= most:
            raise ValueError(f"seconds from {least} to {most} are allowed")
        return float(text)

    return read


def words(text: str) -> tuple[str, ...]:
    """Words, with blanks or commas between them."""
    found = tuple(text.replace(",", " ").split())
    if not found:
        raise ValueError("one word or more is allowed")
    return found


def literal(text: str) -> str:
    """A secret as it stands, or ``env:NAME``, or ``file:PATH`` (its text, stripped)."""
    text = text.strip()
    kind, _, where = text.partition(":")
    if kind.lower() == "env":
        if not os.environ.get(where):
            raise ValueError(f"the environment has no {where}")
        return os.environ[where]
    if kind.lower() == "file":
        try:
            return Path(where).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            raise ValueError(f"the file {where} cannot be read") from None
    return text
