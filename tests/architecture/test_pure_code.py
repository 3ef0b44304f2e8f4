"""No float near money; no clock, id or chance in what must decide alike everywhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "proto" / "quanlian").glob("*.py"))
DOMAINS = sorted([*(ROOT / "node" / "domain").rglob("*.py"), *(ROOT / "clearinghouse" / "domain").rglob("*.py")])
CUSTODIAN = sorted((ROOT / "custodian").glob("*.py"))

CLOCK_METHODS = {"now", "utcnow", "today"}
CLOCK_OWNERS = {"datetime", "date"}
IMPURE_MODULES = {"os", "random", "secrets", "time", "uuid"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def floats(path: Path) -> Iterator[str]:
    """Float literals, `float`, `round` and true division. No path is joined in these folders, so `/` is a division."""
    for node in nodes(path):
        match node:
            case ast.Constant(value=float() | complex()):
                yield f"line {node.lineno}: the literal {node.value}"
            case ast.Name(id="float"):
                yield f"line {node.lineno}: float"
            case ast.Call(func=ast.Name(id="round")):
                yield f"line {node.lineno}: round() — say which remainder rule, or use money.allocate"
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                yield f"line {node.lineno}: the division {ast.unparse(node)} — use //, or money.allocate"


def impurities(path: Path) -> Iterator[str]:
    for node in nodes(path):
        match node:
            case ast.Import(names=names):
                found = {alias.name.partition(".")[0] for alias in names} & IMPURE_MODULES
            case ast.ImportFrom(module=str(module), level=0):
                found = {module.partition(".")[0]} & IMPURE_MODULES
            case ast.Attribute(value=ast.Name(id=owner), attr=method) if owner in CLOCK_OWNERS:
                found = {f"{owner}.{method}"} if method in CLOCK_METHODS else set()
            case _:
                continue
        for each in found:
            yield f"line {node.lineno}: {each}"


@pytest.mark.parametrize("path", [*CORE, *DOMAINS, *CUSTODIAN], ids=name_of)
def test_no_float_touches_money(path: Path) -> None:
    found = list(floats(path))
    assert not found, f"{name_of(path)}: money is integers in fen:\n" + "\n".join(found)


@pytest.mark.parametrize("path", [*CORE, *DOMAINS], ids=name_of)
def test_time_ids_and_chance_are_arguments(path: Path) -> None:
    found = list(impurities(path))
    assert not found, f"{name_of(path)}: take it as an argument:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("source", "wrong"),
    [("share = total / 3", 1), ("rate = 0.7", 1), ("total /= 2", 1), ("part = float(total)", 1), ("x = 7 // 2", 0)],
)
def test_the_search_for_floats_finds_them(source: str, wrong: int, tmp_path: Path) -> None:
    (tmp_path / "sample.py").write_text(source, encoding="utf-8")
    assert len(list(floats(tmp_path / "sample.py"))) == wrong


@pytest.mark.parametrize(
    ("source", "wrong"),
    [("at = datetime.now(UTC)", 1), ("import time", 1), ("from uuid import uuid4", 1), ("day = date(2026, 1, 1)", 0)],
)
def test_the_search_for_clocks_finds_them(source: str, wrong: int, tmp_path: Path) -> None:
    (tmp_path / "sample.py").write_text(source, encoding="utf-8")
    assert len(list(impurities(tmp_path / "sample.py"))) == wrong
