"""Reports what a command has found: as lines for the user, or as JSON for a program."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import click

OK, NOTE, PROBLEM = "ok", "note", "problem"

_COLOURS = {OK: "green", NOTE: "yellow", PROBLEM: "red"}
_WIDTH = 10


@dataclass
class Finding:
    """One thing that was checked.

    :param about: what was checked, in one or two words.
    :param level: :data:`OK`, :data:`NOTE` or :data:`PROBLEM`.
    :param text: what was found, in one line.
    :param settings: proposed lines for the ini file.
    :param exchanges: the requests and responses, as :meth:`Exchange.shown` returns them.
    """

    about: str
    level: str
    text: str
    settings: list[str] = field(default_factory=list)
    exchanges: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Report:
    """The findings of one command, in their order."""

    file: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """True if there is no problem."""
        return all(each.level != PROBLEM for each in self.findings)

    def add(self, about: str, level: str, text: str, *settings: str, **more: Any) -> None:
        """Add a finding. The parameters are those of :class:`Finding`."""
        self.findings.append(Finding(about, level, text, list(settings), **more))

    def show(self, as_json: bool) -> None:
        """Write the report to standard output. It has colours only if the output is a terminal."""
        if as_json:
            findings = [asdict(each) for each in self.findings]
            show_json({"file": self.file, "ok": self.good, "findings": findings})
            return
        for each in self.findings:
            self._show(each)
        problems = sum(each.level == PROBLEM for each in self.findings)
        end = f"{problems} problem{'s' * (problems != 1)}" if problems else "no problem"
        click.secho(f"{self.file}: {end}", fg=_COLOURS[PROBLEM if problems else OK], bold=True)

    def _show(self, found: Finding) -> None:
        level = click.style(found.level.ljust(_WIDTH), fg=_COLOURS[found.level])
        click.echo(
            f"{level}{click.style(found.about.ljust(_WIDTH), bold=True)} {printable(found.text)}"
        )
        margin = " " * 2 * _WIDTH
        for exchange in found.exchanges:
            _show_exchange(exchange, margin)
        for number, line in enumerate(found.settings):
            said = "would set:" if number == 0 else ""
            click.echo(f"{margin} {said.ljust(_WIDTH)} {click.style(printable(line), fg='cyan')}")


def _show_exchange(exchange: dict[str, Any], margin: str) -> None:
    """Write one request and its response, in the form of HTTP."""
    click.echo(f"{margin} > {exchange['request']}")
    for name, value in exchange["headers"].items():
        click.echo(f"{margin} > {name}: {value}")
    if exchange["body"]:
        click.echo(f"{margin} > {as_json(exchange['body'])}")
    if exchange["status"] is None:
        click.echo(f"{margin} < no response ({exchange['milliseconds']} ms)")
        return
    click.echo(f"{margin} < {exchange['status']} ({exchange['milliseconds']} ms)")
    for header in exchange["answer_headers"]:
        click.echo(f"{margin} < {header}")
    if exchange["answer"]:
        click.echo(f"{margin} < {as_json(exchange['answer'])}")


def show_json(value: Any) -> None:
    """Write a value as JSON."""
    click.echo(as_json(value, indent=2))


def as_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON. Control characters of terminals are escaped."""
    return printable(json.dumps(value, indent=indent, ensure_ascii=False))


def printable(text: str) -> str:
    """Return a text in which control characters of terminals are escaped, as in JSON."""
    return "".join(
        each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text
    )
