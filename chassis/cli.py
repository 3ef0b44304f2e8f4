"""The frame of the one command `quanlian`: its groups come from the entry points `quanlian.commands`.

A group is imported only when it is called; for the list of groups the first line of its module's docstring
is read from the source. Errors end as one message: exit code 1 for what a person can mend, 2 for a wrong
command line, 70 for a fault of the program, 130 for Ctrl-C.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points, metadata, version
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from quanlian.errors import QuanlianError

ENTRY_POINTS = "quanlian.commands"
EXIT_ERROR = 1
EXIT_FAULT = 70
_NEGATIVE = re.compile(r"-[0-9]")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code; never shows a traceback unless QUANLIAN_DEBUG=1."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    # gRPC's core writes lines of its own to stderr before Python hears of an error, and tells that one too.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("QUANLIAN_DEBUG") == "1":
            raise
        return _report(error)
    return code


def _run(arguments: Sequence[str] | None) -> int:
    command = typer.main.get_command(_frame())
    try:
        result = command(list(arguments) if arguments is not None else None, prog_name="quanlian")
    except SystemExit as end:
        result = end.code
    return result if isinstance(result, int) else EXIT_ERROR if result else 0


def _report(error: Exception) -> int:
    known = list(_expected(error))
    for expected in known:
        print(f"错误 Error: {expected}", file=sys.stderr)
    if known:
        return EXIT_ERROR
    print(
        f"程序故障 Program fault: {type(error).__name__}: {error}\n"
        "设置 QUANLIAN_DEBUG=1 重新运行可得到详细信息。 This is a fault of the program, not yours: "
        "run it again with QUANLIAN_DEBUG=1 for the traceback and report it.",
        file=sys.stderr,
    )
    return EXIT_FAULT


def _expected(error: BaseException) -> Iterator[QuanlianError]:
    """The errors meant for a person, also those raised together as a group; nothing if any other is there."""
    if isinstance(error, QuanlianError):
        yield error
    elif isinstance(error, BaseExceptionGroup):
        parts = [list(_expected(part)) for part in error.exceptions]
        if all(parts):
            yield from (expected for part in parts for expected in part)


class _Groups(TyperGroup):
    """The groups by name, as stand-ins until one is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(_entry_points())

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        entry = _entry_points().get(cmd_name)
        return TyperCommand(cmd_name, short_help=_summary(entry)) if entry else None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, _loaded(_entry_points()[name]) if name and command else command, rest


def _frame() -> typer.Typer:
    app = typer.Typer(
        cls=_Groups,
        help=metadata("quanlian")["Summary"],
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
    )

    @app.callback()
    def root(
        show_version: bool = typer.Option(
            False, "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ) -> None: ...

    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"quanlian {version('quanlian')}")
        raise typer.Exit


def _entry_points() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def _loaded(entry: EntryPoint) -> Any:
    """The command behind an entry point: a Typer app, or a function that is one command by itself."""
    target = entry.load()
    if not isinstance(target, typer.Typer):
        app = typer.Typer(add_completion=False)
        app.command(entry.name)(target)
        target = app
    target.rich_markup_mode = None  # as plain text: in boxes a flag is shown as <bool>, and long words are cut
    command = typer.main.get_command(target)
    command.name = entry.name
    _list_whole_sentences(command)
    _hear_negative_amounts(command)
    return command


def _list_whole_sentences(command: Any) -> None:
    """Commands are listed with their first paragraph, which would be cut to 45 characters otherwise."""
    for inner in getattr(command, "commands", {}).values():
        inner.short_help = (inner.help or "").partition("\n\n")[0]
        _list_whole_sentences(inner)


def _hear_negative_amounts(command: Any) -> None:
    """`-5.00` where an amount is asked for is an amount to refuse as one, not an option that there is none of."""
    for inner in getattr(command, "commands", {}).values():
        _hear_negative_amounts(inner)
    if all(each.metavar != "YUAN" for each in command.params):
        return
    parse = command.parse_args

    def parse_args(context: Any, arguments: list[str]) -> Any:
        context.ignore_unknown_options = any(_NEGATIVE.match(each) for each in arguments)
        return parse(context, arguments)

    command.parse_args = parse_args


def _summary(entry: EntryPoint) -> str:
    """The first line of the module's docstring, read without importing the module."""
    try:
        found = importlib.util.find_spec(entry.module)
    except ModuleNotFoundError:
        found = None
    if found is None or found.origin is None:
        return "(not installed)"
    with open(found.origin, encoding="utf-8") as source:
        docstring = ast.get_docstring(ast.parse(source.read()))
    return docstring.splitlines()[0] if docstring else ""
