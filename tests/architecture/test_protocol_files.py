"""What is committed of the protocol: stubs that are those of the sources, and a baseline that nothing breaks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "proto"
BUF = Path(sys.executable).with_name("buf")


def stubs_below(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "quanlian" / "v1").glob("*_pb2*.py*")}


def test_the_committed_stubs_are_those_of_the_sources(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, PROTO / "generate.py", tmp_path], capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    committed, generated = stubs_below(PROTO), stubs_below(tmp_path)
    assert generated, "the generator wrote nothing"
    assert committed.keys() == generated.keys(), "stubs are missing or left over: run `make proto`"
    stale = sorted(name for name, content in generated.items() if committed[name] != content)
    assert not stale, f"{', '.join(stale)} differ from what their sources give: run `make proto`"


@pytest.mark.parametrize("rule", ["lint", "breaking"])
def test_the_protocol_passes_buf(rule: str) -> None:
    baseline = PROTO / "baseline.binpb"
    assert baseline.stat().st_size > 0, "proto/baseline.binpb is empty"
    options = ["--against", baseline] if rule == "breaking" else []
    run = subprocess.run([BUF, rule, PROTO, *options], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, f"buf {rule}:\n{run.stdout}{run.stderr}"
