"""Reads the keys of an ini file and collects all problems, to report them at once."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from authapp.settings.allowed_values import resolve
from authapp.start_up import StartUpError

T = TypeVar("T")


class SettingsError(StartUpError):
    """The settings cannot be used. The text of the error has one line for each problem.

    :ivar problems: the list of these lines.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Ini:
    """The settings of an ini file whose keys begin with one prefix.

    :param ini: all settings of the file.
    :param prefix: ``authapp.``, for example. Settings without this prefix are ignored.
    :ivar known: the keys for which :meth:`take` was called, with the prefix.
    :ivar shown: key -> text, for each of these keys that is set. The text of a secret is ``***``.
    :ivar blank: the keys that are in the file without a text.
    """

    def __init__(self, ini: Mapping[str, Any], prefix: str) -> None:
        self._prefix = prefix
        self._left = {key: value for key, value in ini.items() if key.startswith(prefix)}
        self.blank = {key for key, value in self._left.items() if not str(value).strip()}
        self._others = [key for key in ini if not key.startswith(prefix)]
        self.known: list[str] = []
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
        """Return the value of a setting. If the text of the setting is not allowed, report this.

        :param key: the key without the prefix.
        :param read: a function that takes the text and returns the value. If the text is not
            allowed, the function raises ``ValueError`` with a message that says what is allowed.
        :param secret: True if no message may show the text.
        :param missing: the problem to report if the key is missing or empty. With None, the key may
            be missing.
        :returns: the value, or ``default`` if the key is missing or empty or its text is not
            allowed.
        """
        name, key = key, self._prefix + key
        self.known.append(key)
        text = str(self._left.pop(key, "")).strip()
        if not text:
            if missing:
                near = [name] if name in self._others else []
                near += difflib.get_close_matches(key, self._others, 1, 0.9)
                hint = f" ({near[0]} is set, which is another key)" if near else ""
                self._problems.append(missing + hint)
            return default
        secret = secret or "@" in text  # a URL with a password in it
        self.shown[key] = "***" if secret else text
        try:
            return read(resolve(text))
        except ValueError as error:
            value = "" if secret else f" = {text!r}"
            self._problems.append(f"{key}{value}: {error}")
            return default

    def needs(self, key: str, other: str) -> None:
        """Report a problem if ``key`` is set, but has no effect because ``other`` is not set."""
        if self.has(key) and not self.has(other):
            self.problem(f"{self._prefix}{key} has no effect without {self._prefix}{other}")

    def problem(self, line: str) -> None:
        """Report a problem.

        :param line: one line that names the key.
        """
        self._problems.append(line)

    def has(self, key: str) -> bool:
        """Return True if a key is set. Call :meth:`take` for this key first."""
        return self._prefix + key in self.shown

    def finish(self, perhaps: Sequence[str] = ()) -> None:
        """Report each key that is not a setting. Then raise an error if there is any problem.

        :param perhaps: further problems. They are reported only if there are other problems too.
        :raises SettingsError: with all problems.
        """
        for key in self._left:
            near = difflib.get_close_matches(key, self.known, 1, 0)[0]
            self._problems.append(f"{key} is not a setting; the nearest is {near}")
        if self._problems:
            raise SettingsError([*self._problems, *perhaps])
