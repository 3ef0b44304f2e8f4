"""Every command and option explains itself in Chinese and English, in words that the glossary allows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

import pytest

from chassis import cli

CHINESE = re.compile("[一-鿿]")
ENGLISH = re.compile(r"[A-Za-z]{2,}")
FORBIDDEN = ("清算所", "清算机构", "跨境", "清算窗口")


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for part, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {part}")


def groups() -> Iterator[str]:
    yield ""
    for entry in entry_points(group=cli.ENTRY_POINTS):
        yield from (name for name, _ in commands(cli._loaded(entry), entry.name))


@pytest.mark.parametrize("name", list(groups()))
def test_a_flag_is_not_shown_as_taking_a_value(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--help" in shown
    assert "<bool>" not in shown
    assert not re.search(r"(?m)\w\.\.\.$", shown), "a sentence is cut"


def texts() -> Iterator[tuple[str, str]]:
    """Every help text with the command, and option or argument, that it explains."""
    for entry in entry_points(group=cli.ENTRY_POINTS):
        for name, command in commands(cli._loaded(entry), entry.name):
            yield name, command.help or ""
            for parameter in command.params:
                if parameter.name != "help":
                    yield f"{name} {parameter.name}", getattr(parameter, "help", None) or ""


@pytest.mark.parametrize(("place", "text"), list(texts()), ids=[place for place, _ in texts()])
def test_help_is_in_chinese_and_english(place: str, text: str) -> None:
    assert CHINESE.search(text), f"{place}: no Chinese in {text!r}"
    assert ENGLISH.search(text), f"{place}: no English in {text!r}"
    assert not [word for word in FORBIDDEN if word in text], f"{place}: {text!r}"
