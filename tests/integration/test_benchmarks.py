"""Benchmarks that name the functions whose CPU they tell: each stage is still there and is passed through."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RUN_SECONDS = 300


Measured = Callable[..., Any]


@pytest.fixture
def measured(tmp_path: Path, backend: str, database_url: Callable[[str], str]) -> Measured:
    """Runs a benchmark quickly on this database, and gives its figures."""

    def run(*command: str) -> Any:
        told = tmp_path / "figures.json"
        where = ["--database-url", database_url("")] if backend == "postgresql" else []
        script = [sys.executable, *command, "--quick", "--database", backend, *where, "--json", str(told)]
        ended = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=RUN_SECONDS)
        assert ended.returncode == 0, ended.stderr
        return json.loads(told.read_text(encoding="utf-8"))

    return run


def test_a_redemption_passes_through_every_stage(measured: Measured) -> None:
    stages = measured("benchmarks/stages.py")["cpu_us"]["0"]
    assert set(stages) == {"read", "look_up", "decide", "rows", "write", "commit"}
    assert all(us > 0 for us in stages.values()), stages


def test_a_claim_passes_through_every_stage(measured: Measured) -> None:
    figures = measured("benchmarks/claims.py", "--only", "stages")
    stages = {name: us for name, us in figures.items() if name.startswith("stage_us_")}
    assert len(stages) == 10
    assert all(us > 0 for us in stages.values()), stages
