"""Campaign terms back to a TOML file: written anew, or as a file with comments in which only what differs changes.

What a file says is held as `tomllib` reads it, amounts as Decimal. Both ways give terms that read the same.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

from quanlian.terms_display import identity
from quanlian.terms_fields import FIELDS

_ORDERED: Final = frozenset({"regions", "vouchers"})
"""Lists whose order the terms keep; every other list is a set."""
_TABLES: Final = tuple(dict.fromkeys(entry.name.replace("[]", "").partition(".")[0] for entry in FIELDS))
_GROUPED_FROM: Final = 10_000  # written `10_000`, as the examples do; a year stays `2026`, an amount is `2_000.00`
_TOML: Final = Language(tree_sitter_toml.language())
_SPACED_COMMENT: Final = re.compile(rb"( +)#")


Who = tuple[str | int, ...]
"""The names of the tables that an entry stands in, each of a list with what its entry is matched by."""


class _Entry(NamedTuple):
    """One table of a file. `who` tells it from the others of its list by what it is matched by, else by its place."""

    names: tuple[str, ...]
    listed: bool
    who: Who
    pairs: dict[str, Any]


class _Pair(NamedTuple):
    """Where a field's value stands: rows of its block, and columns in bytes of the first and the last."""

    first: int
    last: int
    start: int
    end: int


class _Block(NamedTuple):
    """The rows of one table, from its heading to the comments right below its last field.

    `lead` are the rows before the heading that no other table claims, `trailing` counts the rows after the last
    field.
    """

    lead: list[bytes]
    rows: list[bytes]
    pairs: dict[str, _Pair]
    trailing: int


def write_terms(values: Mapping[str, Any]) -> bytes:
    """A new file that says `values`, its tables in the order of `terms_fields.FIELDS`."""
    known = {name: values[name] for name in _TABLES if name in values}
    blocks = [_written(entry) for entry in _entries({**known, **values})]
    return b"\n".join(b"".join(row + b"\n" for row in rows) for rows in blocks)


def rewrite_terms(base: bytes, values: Mapping[str, Any]) -> bytes:
    """The file `base` with what differs from `values` changed: the very same bytes if nothing does.

    Comments stay beside fields and above tables that stay; entries are known again by their id or name. A file
    whose layout this cannot follow (dotted fields, tables in turns) is written anew, as `write_terms` does.
    Raises ValueError if `base` is not TOML.
    """
    text = base.decode("utf-8")
    old = tomllib.loads(text, parse_float=Decimal)
    if _alike(old, values):
        return base
    entries, (blocks, foot) = list(_entries(old)), _blocks(base)
    if len(entries) == len(blocks) and all(_heads(*both) for both in zip(entries, blocks, strict=True)):
        known = {entry.who: (entry, block) for entry, block in zip(entries, blocks, strict=True)}
        news = list(_entries(_in_order(old, values)))
        moved = _moved_tiers([entry.who for entry in entries], [entry.who for entry in news])
        rows = [row for entry in news for row in _carried(entry, known.get(moved.get(entry.who, entry.who)))]
        content = b"\n".join(rows + foot)
        try:
            if _alike(tomllib.loads(content.decode("utf-8"), parse_float=Decimal), values):
                return content
        except ValueError:
            pass
    return write_terms(values)


def _moved_tiers(olds: Sequence[Who], news: Sequence[Who]) -> dict[Who, Who]:
    """Tiers whose lower bound changed, and what it was: as many of a class came as went, in the same order."""
    found: dict[Who, Who] = {}
    for came in (who for who in news if who not in olds and "tier" in who[:-1]):

        def of_its_class(who: Who, kin: Who = came) -> bool:
            return who[:-1] == kin[:-1] and str(who[-1]).split(" ")[0] == str(kin[-1]).split(" ")[0]

        coming = [who for who in news if who not in olds and of_its_class(who)]
        gone = [who for who in olds if who not in news and of_its_class(who)]
        if len(coming) == len(gone):
            found[came] = gone[coming.index(came)]
    return found


def _entries(table: Mapping[str, Any], above: tuple[str, ...] = (), who: Who = ()) -> Iterator[_Entry]:
    for name, value in table.items():
        listed = isinstance(value, list) and bool(value) and isinstance(value[0], dict)
        for place, each in enumerate(value if listed else [value]):
            if isinstance(each, dict):
                pairs = {key: field for key, field in each.items() if not _holds_tables(field)}
                one = (*who, name, identity(each) or place) if listed else (*who, name)
                yield _Entry((*above, name), listed, one, pairs)
                yield from _entries(each, (*above, name), one)


def _holds_tables(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _alike(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether both say the same: the same tables in the same order of each list, the same fields in each."""
    olds, news = ([entry for entry in _entries(each) if entry.pairs] for each in (_in_order(new, old), new))
    return [entry[:3] for entry in olds] == [entry[:3] for entry in news] and all(
        one.pairs.keys() == other.pairs.keys()
        and all(_same(key, one.pairs[key], other.pairs[key]) for key in one.pairs)
        for one, other in zip(olds, news, strict=True)
    )


def _same(key: str, old: Any, new: Any) -> bool:
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new
    if isinstance(old, list) and isinstance(new, list) and key not in _ORDERED:
        return sorted(map(str, old)) == sorted(map(str, new))
    return bool(old == new)


def _in_order(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`new` with its tables in the order of `old`; a table that `old` lacks goes where `FIELDS` would have it."""
    order = [name for name in old if name in new]
    for name in new:
        if name not in order:
            before = [order.index(other) for other in _TABLES[: _rank(name)] if other in order]
            order.insert(max(before, default=-1) + 1, name)
    return {name: _in_order(old[name], new[name]) if _tables(old, new, name) else new[name] for name in order}


def _tables(old: Mapping[str, Any], new: Mapping[str, Any], name: str) -> bool:
    return isinstance(old.get(name), dict) and isinstance(new[name], dict)


def _rank(name: str) -> int:
    return _TABLES.index(name) if name in _TABLES else len(_TABLES)


def _heads(entry: _Entry, block: _Block) -> bool:
    """Whether the block is this table's: same heading, same fields."""
    heading = block.rows[0].split(b"#")[0].strip().decode("utf-8")
    dotted = ".".join(entry.names)
    return heading == (f"[[{dotted}]]" if entry.listed else f"[{dotted}]") and entry.pairs.keys() == block.pairs.keys()


def _carried(entry: _Entry, known: tuple[_Entry, _Block] | None) -> list[bytes]:
    """The rows of a table that was there, with its changes, or of a new one."""
    if known is None:
        return [b"", *_written(entry)]
    old, block = known
    rows = list(block.rows)
    for key, pair in reversed(block.pairs.items()):
        if key not in entry.pairs:
            del rows[pair.first : pair.last + 1]
        elif not _same(key, old.pairs[key], entry.pairs[key]):
            rows[pair.first : pair.last + 1] = [_changed(rows, pair, _value(entry.pairs[key]))]
    end = len(rows) - block.trailing
    rows[end:end] = [_field(key, value) for key, value in entry.pairs.items() if key not in old.pairs]
    return block.lead + rows


def _changed(rows: Sequence[bytes], pair: _Pair, value: bytes) -> bytes:
    """The row with another value; a comment behind it stays in its column where there is room."""
    before, after = rows[pair.first][: pair.start], rows[pair.last][pair.end :]
    comment = _SPACED_COMMENT.match(after)
    if comment and pair.first == pair.last:
        longer = len(value.decode("utf-8")) - len(rows[pair.first][pair.start : pair.end].decode("utf-8"))
        after = b" " * max(1, len(comment[1]) - longer) + after[len(comment[1]) :]
    return before + value + after


def _blocks(base: bytes) -> tuple[list[_Block], list[bytes]]:
    """The tables of the file in its order, and the rows after the last."""
    rows = base.split(b"\n")
    nodes = [
        node
        for node in Parser(_TOML).parse(base).root_node.named_children
        if node.type in ("table", "table_array_element")
    ]
    blocks: list[_Block] = []
    position = 0
    for index, node in enumerate(nodes):
        head = node.start_point.row
        beyond = nodes[index + 1].start_point.row if index + 1 < len(nodes) else len(rows)
        pairs = {_name(pair): _pair(pair, head) for pair in node.named_children if pair.type == "pair"}
        last = head + max((pair.last for pair in pairs.values()), default=0) + 1
        end = last
        while end < beyond and rows[end].strip():
            end += 1
        blocks.append(_Block(rows[position:head], rows[head:end], pairs, end - last))
        position = end
    return blocks, rows[position:]


def _name(pair: Node) -> str:
    return (pair.named_children[0].text or b"").decode("utf-8")


def _pair(pair: Node, head: int) -> _Pair:
    value = pair.named_children[1]
    return _Pair(
        pair.start_point.row - head, value.end_point.row - head, value.start_point.column, value.end_point.column
    )


def _written(entry: _Entry) -> list[bytes]:
    dotted = ".".join(entry.names)
    heading = f"[[{dotted}]]" if entry.listed else f"[{dotted}]"
    return [heading.encode("utf-8"), *(_field(key, value) for key, value in entry.pairs.items())]


def _field(key: str, value: Any) -> bytes:
    return f"{key} = ".encode() + _value(value)


def _value(value: Any) -> bytes:
    match value:
        case bool():
            text = "true" if value else "false"
        case int():
            text = f"{value:_}" if abs(value) >= _GROUPED_FROM else str(value)
        case Decimal():
            text = f"{value:,f}".replace(",", "_")
        case datetime():
            text = value.isoformat()
        case list():
            text = f"[{', '.join(_quoted(str(each)) for each in value)}]"
        case _:
            text = _quoted(str(value))
    return text.encode("utf-8", errors="replace")


def _quoted(text: str) -> str:
    """A basic string; what JSON escapes, TOML reads the same."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
