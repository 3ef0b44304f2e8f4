"""Classic bugs, each planted in a copy of the sources: the simulator finds it, and says in how many schedules."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUGS = Path(__file__).parent / "bugs"
PACKAGES = ("proto", "node", "clearinghouse", "custodian", "chassis", "pki", "reporting", "simulations")
SEED = 7
SCHEDULES = 1000
"""How many are played at most; every bug is found in far fewer."""

BY_NAME = [path.stem for path in sorted(BUGS.glob("*.patch"))]
TOLD = ("retry-that-gets-a-new-answer", "capture-that-does-not-check-custody", "expired-money-returned-twice")
"""Bugs whose stories are asked for, too."""

SEARCH = f"""
import json
from simulations.faults.run import first_failure
print(json.dumps(first_failure({SEED}, {SCHEDULES})))
"""

INTERRUPTIBLE = """
import signal, sys
from chassis.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""
"""The command as at a terminal: a run of the tests in the background has its children ignore SIGINT."""


@pytest.mark.parametrize("bug", BY_NAME)
def test_the_simulator_finds_a_planted_bug(bug: str, tmp_path: Path, told: Callable[[str], None]) -> None:
    _plant(bug, tmp_path)
    found = json.loads(_run(tmp_path, "-c", SEARCH).stdout or "null")
    assert found, f"{bug} was not found in {SCHEDULES} schedules of seed {SEED}"
    schedule, violations = found
    told(f"{bug}: found in schedule {schedule + 1} of seed {SEED}: {violations[0]}")
    assert violations


@pytest.mark.parametrize("bug", TOLD)
def test_a_planted_bug_is_told_as_a_short_story(bug: str, tmp_path: Path) -> None:
    _plant(bug, tmp_path)
    ended = _simulate(tmp_path, 20)
    assert ended.returncode == 1, ended.stderr or f"{bug} was not found"
    found = json.loads(ended.stdout)
    assert 0 < found["failed"] <= 20
    assert found["violations"], "the shortened schedule still fails"
    assert any("✗" in line for line in found["story"])
    assert not any(line.endswith(("RedeemStreamRequest", "RedeemStreamResponse")) for line in found["story"]), "pings"


def test_a_long_search_names_a_failure_as_it_is_found_and_sums_up_when_it_is_interrupted(tmp_path: Path) -> None:
    _plant("retry-that-gets-a-new-answer", tmp_path)
    command = [
        sys.executable,
        "-c",
        INTERRUPTIBLE,
        "simulate",
        "--faults",
        "--seed",
        str(SEED),
        "--schedules",
        "1000000",
    ]
    with subprocess.Popen(
        command, cwd=tmp_path, env=_environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as search:
        assert search.stderr is not None
        first = search.stderr.readline()
        search.send_signal(signal.SIGINT)
        shown, _ = search.communicate()
    assert first.startswith("场次 schedule "), first
    assert search.returncode == 130
    assert "失败场次 which, the first 20" in shown


def test_without_a_bug_the_copy_is_sound(tmp_path: Path) -> None:
    _copy(tmp_path)
    ended = _simulate(tmp_path, 20)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def _copy(folder: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))


def _plant(bug: str, folder: Path) -> None:
    _copy(folder)
    command = ["git", "apply", "-C1", str(BUGS / f"{bug}.patch")]
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    applied = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert applied.returncode == 0, f"{bug}.patch no longer applies: plant it anew\n{applied.stderr}"


def _simulate(sources: Path, schedules: int) -> subprocess.CompletedProcess[str]:
    """`quanlian simulate` on the sources in a folder."""
    command = ["-m", "chassis", "simulate", "--faults", "--json", "--workers", "1"]
    return _run(sources, *command, "--seed", str(SEED), "--schedules", str(schedules))


def _run(sources: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=sources, env=_environment(sources), capture_output=True, text=True, check=False
    )


def _environment(sources: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{sources}{os.pathsep}{sources / 'proto'}"}
