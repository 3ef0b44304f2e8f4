"""The command's frame: groups appear without being imported, errors end as one message."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer

from chassis import cli
from quanlian.errors import ConfigurationError, Unavailable

MODULE = '''"""Counts things.

More than one line.
"""
import typer
from quanlian.errors import InvalidInput

app = typer.Typer()


@app.command()
def add(a: int, b: int) -> None:
    print(a + b)


@app.command()
def fail() -> None:
    raise InvalidInput("not a number", place="form.toml", remedy="write one")


def lone(name: str = "one") -> None:
    """Runs alone."""
    print(f"alone, {name}")
'''


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counting_group.py").write_text(MODULE)
    (tmp_path / "broken_group.py").write_text('"""Cannot be imported."""\nraise ZeroDivisionError\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("QUANLIAN_DEBUG", raising=False)
    entries = [
        EntryPoint("count", "counting_group:app", cli.ENTRY_POINTS),
        EntryPoint("lone", "counting_group:lone", cli.ENTRY_POINTS),
        EntryPoint("broken", "broken_group:app", cli.ENTRY_POINTS),
        EntryPoint("absent", "absent_group:app", cli.ENTRY_POINTS),
    ]
    monkeypatch.setattr(cli, "entry_points", lambda group: entries)
    monkeypatch.delitem(sys.modules, "counting_group", raising=False)


Output = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("groups")


def test_help_lists_every_group_without_importing_any(capsys: Output) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "Counts things." in shown
    assert "Cannot be imported." in shown
    assert "(not installed)" in shown
    assert "counting_group" not in sys.modules


def test_a_group_s_command_runs(capsys: Output) -> None:
    assert cli.main(["count", "add", "2", "3"]) == 0
    assert capsys.readouterr().out == "5\n"


def test_a_plain_function_is_a_command_by_itself(capsys: Output) -> None:
    assert cli.main(["lone", "--name", "two"]) == 0
    assert capsys.readouterr().out == "alone, two\n"


def test_the_version_is_shown(capsys: Output) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("quanlian ")


@pytest.mark.parametrize("line", [["nope"], ["count", "add", "two", "3"], ["count", "add"], ["--nope"]])
def test_a_wrong_command_line_exits_with_2(line: list[str], capsys: Output) -> None:
    assert cli.main(line) == 2
    assert capsys.readouterr().out == ""


def test_an_error_for_a_person_is_one_message_and_no_traceback(capsys: Output) -> None:
    assert cli.main(["count", "fail"]) == 1
    assert capsys.readouterr().err == "错误 Error: form.toml: not a number — write one\n"


def raising(error: BaseException) -> Callable[..., object]:
    def command(*arguments: object, **options: object) -> None:
        raise error

    return command


def test_errors_of_tasks_that_failed_together_are_all_told(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    group = ExceptionGroup("tasks", [Unavailable("node"), ExceptionGroup("more", [ConfigurationError("port")])])
    monkeypatch.setattr(cli, "_run", raising(group))
    assert cli.main([]) == 1
    assert capsys.readouterr().err == "错误 Error: node\n错误 Error: port\n"
    monkeypatch.setattr(cli, "_run", raising(ExceptionGroup("tasks", [Unavailable("node"), KeyError("x")])))
    assert cli.main([]) == 70


def test_a_fault_of_the_program_says_so_and_shows_its_traceback_only_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    assert cli.main(["broken"]) == 70
    told = capsys.readouterr().err
    assert "ZeroDivisionError" in told
    assert "QUANLIAN_DEBUG=1" in told
    assert "Traceback" not in told
    monkeypatch.setenv("QUANLIAN_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.main(["broken"])


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setattr(cli, "_loaded", raising(KeyboardInterrupt()))
    assert cli.main(["count", "add", "1", "2"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_an_exit_code_of_a_command_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_loaded", raising(typer.Exit(3)))
    assert cli.main(["count", "add", "1", "2"]) == 3


def test_a_reader_that_closes_the_pipe_hears_no_complaint() -> None:
    program = "import sys; from chassis.cli import main; sys.exit(main(['--help']))"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait() == 1
