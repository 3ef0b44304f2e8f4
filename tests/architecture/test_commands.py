"""What a program relies on: every command that tells something tells it as JSON too."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

from chassis import cli

WITHOUT_JSON = {
    "campaign export-excel",
    "clearinghouse serve",
    "node serve",
    "node terms",
    "pki enrol",
    "pki init",
    "pki issue signer",
    "pki issue tls",
}
"""Services, and commands whose outcome is a file or a document as it is."""


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    within = getattr(command, "commands", None)
    if within is None:
        yield name, command
        return
    for each, inner in within.items():
        yield from commands(inner, f"{name} {each}")


def test_every_command_that_reports_does_so_as_json_too() -> None:
    groups = {entry.name: cli._loaded(entry) for entry in entry_points(group=cli.ENTRY_POINTS)}
    found = dict(pair for name, group in groups.items() for pair in commands(group, name))
    without = {name for name, each in found.items() if not any("--json" in option.opts for option in each.params)}
    assert len(found) > 100
    assert without == WITHOUT_JSON
