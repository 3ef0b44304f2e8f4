"""Golden cases: a test that asks for `<file>_case` runs once for each case of `<file>.json`.

`QUANLIAN_VECTORS=DIR` replaces files of the same name; what DIR lacks comes from `proto/vectors/`.
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
    cases: list[dict[str, Any]] = json.loads(vector_file(name).read_text(encoding="utf-8"))
    if not cases:
        raise pytest.UsageError(f"{vector_file(name)} holds no cases")
    return cases


def vector_file(name: str) -> Path:
    folder = os.environ.get("QUANLIAN_VECTORS")
    if folder and not Path(folder).is_dir():
        raise pytest.UsageError(f"QUANLIAN_VECTORS is not a folder: {folder}")
    replacement = Path(folder, name) if folder else SHIPPED / name
    return replacement if replacement.exists() else SHIPPED / name
