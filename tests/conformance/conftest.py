"""Golden cases: a test that asks for `<file>_case` runs once for each case of `<file>.json`.

`QUANLIAN_VECTORS=DIR` takes the cases of the same shape from DIR instead: every `DIR/<file>*.json`, so `refunds.json`
and `refunds-2.json` alike. What DIR lacks comes from `proto/vectors/`; a file of no known name is an error.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

SHIPPED = Path(__file__).parents[2] / "proto" / "vectors"
FILES = ("allocation", "funder_split", "region_split", "refunds", "token", "merkle_path", "terms_hash")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for file in FILES:
        fixture = f"{file}_case"
        if fixture in metafunc.fixturenames:
            cases = golden_cases(f"{file}.json")
            metafunc.parametrize(fixture, cases, ids=[f"{file}-{number}" for number in range(len(cases))])


def golden_cases(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = []
    for path in vector_files(name.removesuffix(".json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, list) or not found:
            raise pytest.UsageError(f"{path} holds no cases")
        cases += found
    return cases


def vector_files(name: str) -> list[Path]:
    """The files with cases of one shape."""
    folder = os.environ.get("QUANLIAN_VECTORS")
    if not folder:
        return [SHIPPED / f"{name}.json"]
    if not Path(folder).is_dir():
        raise pytest.UsageError(f"QUANLIAN_VECTORS is not a folder: {folder}")
    files = sorted(Path(folder).glob("*.json"))
    strange = [path.name for path in files if not path.stem.startswith(FILES)]
    if strange or not files:
        raise pytest.UsageError(f"{folder} holds {', '.join(strange) or 'no vectors'}; name them {', '.join(FILES)}")
    return [path for path in files if path.stem.startswith(name)] or [SHIPPED / f"{name}.json"]
