"""Ten classic bugs, each planted in a copy of the sources: the simulator finds it, and says in how many schedules."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BUGS = Path(__file__).parent / "bugs"
PACKAGES = ("proto", "node", "clearinghouse", "custodian", "chassis", "pki", "reporting", "simulations")
SEED = 7
USUAL = {
    "retry-that-gets-a-new-answer": 20,
    "capture-that-does-not-check-custody": 40,
    "expired-money-returned-twice": 60,
}
"""Found so often that few schedules do; how many are played."""

RARE = 500


def _cases() -> list[Any]:
    return [
        pytest.param(path.stem, USUAL.get(path.stem, RARE), marks=() if path.stem in USUAL else pytest.mark.long)
        for path in sorted(BUGS.glob("*.patch"))
    ]


@pytest.mark.parametrize(("bug", "schedules"), _cases())
def test_the_simulator_finds_a_planted_bug(bug: str, schedules: int, tmp_path: Path) -> None:
    _plant(bug, tmp_path)
    ended = _simulate(tmp_path, schedules)
    assert ended.returncode == 1, ended.stderr or f"{bug} was not found in {schedules} schedules"
    found = json.loads(ended.stdout)
    print(f"{bug}: found in {found['failed']} of {schedules} schedules")
    assert 0 < found["failed"] <= schedules
    assert found["violations"], "the shortened schedule still fails"
    assert any("✗" in line for line in found["story"])


@pytest.mark.parametrize("bug", [path.stem for path in sorted(BUGS.glob("*.patch"))])
def test_every_patch_still_applies(bug: str, tmp_path: Path) -> None:
    _plant(bug, tmp_path)


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
    command = [sys.executable, "-m", "chassis", "simulate", "--faults", "--json", "--workers", "1"]
    command += ["--seed", str(SEED), "--schedules", str(schedules)]
    environment = os.environ | {"PYTHONPATH": f"{sources}{os.pathsep}{sources / 'proto'}"}
    return subprocess.run(command, cwd=sources, env=environment, capture_output=True, text=True, check=False)
