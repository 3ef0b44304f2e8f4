"""A TOML file whose fields know their line: values come from `tomllib`, positions from tree-sitter.

A department reads campaign terms, signs them off and mends them. So a file is read to its end, and every
problem is kept with its line, field, value, rule and remedy. What the fields mean is told in `terms_parsing.py`.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple, TypeVar

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

from quanlian import file_rules as rules
from quanlian.errors import InvalidInput
from quanlian.file_rules import Rule, Words
from quanlian.money import parse_yuan

MAX_FILE_BYTES = 256 * 1024
MAX_AMOUNT_FEN = 10**14
"""One trillion yuan: sums of many such amounts still fit a 64-bit column."""
MAX_TITLE_CHARACTERS = 200
MAX_ENTRIES = 256
"""Of a list: bounds the time that checking the entries against each other takes."""

CAMPAIGN_FILE: Final = "protocol.md, Campaign terms"
"""Where the rules of a file come from that names no other source."""
_MAX_SHOWN = 60
_MAX_FAULT_SHOWN = 200
_MAX_SYNTAX_ERRORS = 100
_MAX_PARSED_BYTES = 1_000_000  # over all readings of one file, which takes ten seconds at worst
_MAX_DOTS_A_LINE = 100  # tomllib needs quadratic time for long dotted keys: 27 s for one that fills a file
_NAME = re.compile(r"[a-z0-9-]{1,48}")
_YEARS = range(2000, 2100)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATED = frozenset({"offset_date_time", "local_date_time", "local_date"})
_FIELD = re.compile(r"\s*(?:[A-Za-z0-9_-]+|\"[^\"\\]*\"|'[^']*')(?:\s*\.\s*[A-Za-z0-9_-]+)*\s*=")
_TOML = Language(tree_sitter_toml.language())

Path = tuple[str | int, ...]
T = TypeVar("T")
S = TypeVar("S", bound=str)


class Problem(NamedTuple):
    """One thing that breaks a rule. `field` counts entries from 1, as people do: `pack[2].valid_days`.

    `rule` says what is wrong, `source` where the rule comes from: a policy text, a standard or a document of this
    project.
    """

    line: int
    field: str
    value: str
    rule: str
    remedy: str
    source: str
    rule_zh: str
    remedy_zh: str

    def __str__(self) -> str:
        """On one line, without the file."""
        found = f"{self.value} " if self.value else ""
        chinese = f"{self.rule_zh} — {self.remedy_zh}"
        return f"{self.line}: {self.field}: {found}{self.rule} — {self.remedy} · {chinese}"


class InvalidTerms(InvalidInput):
    """Terms that break rules: all of them, one to a line that begins with file and line."""

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        self.name, self.problems = name, tuple(sorted(problems))
        super().__init__("\n".join(f"{name}:{problem}" for problem in self.problems))


@dataclass(slots=True)
class Document:
    """What the tables of a file share: where things stand, the rules' sources, and the problems found.

    `sources` names the source of a field's rule by its name without positions, `pack.valid_days`; what is not
    there has its table's. `unread` are lines that are no TOML and were passed over.
    """

    lines: Mapping[Path, int]
    sources: Mapping[str, str]
    unread: frozenset[int] = frozenset()
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """The line, from 1, of a field or of what it stands in."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def source(self, path: Path) -> str:
        """Where the rule of a field comes from."""
        names = [part for part in path if isinstance(part, str)]
        while names and ".".join(names) not in self.sources:
            names.pop()
        return self.sources.get(".".join(names), "")

    def problem(self, path: Path, value: str, rule: Rule, source: str = "") -> Problem:
        """A problem of what stands at `path`; nothing is kept."""
        return _problem(self.line(path), _field(path), value, rule, source or self.source(path))


class Table:
    """One table of a file, whose fields are asked for one by one.

    A field that is missing or wrong is noted and a stand-in of its type returned, so that reading goes on and
    one pass finds everything; `sound` says whether fields were read without a problem, before they are
    compared.
    """

    def __init__(self, values: dict[str, Any], document: Document, path: Path = ()) -> None:
        self._values, self._document, self._path = values, document, path
        self._missing = False
        self._asked: list[str] = []
        self._wrong: set[str] = set()

    def __contains__(self, key: str) -> bool:
        """Whether an optional field is there; asking makes it a known field of this table."""
        self._asked.append(key)
        return key in self._values

    def sound(self, *keys: str) -> bool:
        """Whether none of these fields has had a problem noted."""
        return self._wrong.isdisjoint(keys)

    def note(self, key: str, rule: Rule, index: int | None = None) -> None:
        """Keep a problem of the field `key`, or of its list's entry `index` (from 0)."""
        self._wrong.add(key)
        value = self._values.get(key)
        if self._missing or (key in self._values and self._line((*self._path, key)) in self._document.unread):
            return
        path: Path = (*self._path, key)
        if index is not None and isinstance(value, list):
            value, path = value[index], (*path, index)
        self._document.problems.append(self._document.problem(path, _shown(value), rule))

    def finish(self) -> None:
        """Note every field that nobody asked for."""
        known = list(dict.fromkeys(self._asked))
        for key in sorted(self._values.keys() - set(known))[:MAX_ENTRIES]:
            near = difflib.get_close_matches(key, known, n=1)
            rule = rules.MISSPELT.of(near=near[0]) if near else rules.NOT_A_FIELD.of(known=", ".join(known))
            self.note(key, rule)

    def table(self, key: str) -> Table:
        """The sub-table `key`; an empty one if it is missing or something else."""
        values = self._value(key, dict, _filled(rules.TABLE, key=key))
        table = Table(values or {}, self._document, (*self._path, key))
        table._missing = values is None  # one problem, not one for each field in it
        return table

    def tables(self, key: str, *, required: bool = False) -> list[Table]:
        """The tables of a list `[[key]]`, in the order of the file."""
        entries = self._entries(key, _filled(rules.TABLES, key=key), None if required else [])
        if not all(isinstance(entry, dict) for entry in entries):
            self.note(key, rules.NOT_TABLES.of(key=key))
            return []
        return [Table(entry, self._document, (*self._path, key, index)) for index, entry in enumerate(entries)]

    def text(self, key: str) -> str:
        """A title or a reference: printable text on one line."""
        value = self._value(key, str, rules.TEXT)
        if value is None:
            return ""
        if not value.strip() or not value.isprintable() or len(value) > MAX_TITLE_CHARACTERS:
            self.note(key, rules.NOT_A_TITLE.of(most=MAX_TITLE_CHARACTERS))
        return value

    def name(self, key: str, pattern: re.Pattern[str] = _NAME, otherwise: rules.Rule = rules.NOT_AN_IDENTIFIER) -> str:
        """An identifier of lower-case letters, digits and hyphens, or what else a pattern allows."""
        value = self._value(key, str, rules.IDENTIFIER)
        if value is not None and not pattern.fullmatch(value):
            self.note(key, otherwise.of(pattern=pattern.pattern))
        return value or ""

    def choice(self, key: str, choices: Sequence[S], default: S | None = None) -> S:
        """One of a few words."""
        listed = ", ".join(choices)
        value = self._value(key, str, _filled(rules.CHOICE, choices=listed), default)
        for choice in choices:
            if choice == value:
                return choice
        if value is not None:
            self.note(key, rules.NOT_KNOWN.of(choices=listed))
        return choices[0]

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of at least one text; repeats are kept."""
        entries = self._entries(key, rules.TEXTS)
        for index, entry in enumerate(entries):
            if not isinstance(entry, str):
                self.note(key, rules.NOT_TEXT, index)
        return tuple(entry for entry in entries if isinstance(entry, str))

    def words(self, key: str, choices: Collection[str] = ()) -> frozenset[str]:
        """A list of different identifiers, each one of `choices` if any are given."""
        entries = self.texts(key)
        for index, entry in enumerate(entries if self.sound(key) else ()):
            if choices and entry not in choices:
                self.note(key, rules.NOT_KNOWN.of(choices=", ".join(choices)), index)
            elif not _NAME.fullmatch(entry):
                self.note(key, rules.NOT_AN_IDENTIFIER.of(pattern=_NAME.pattern), index)
            elif entry in entries[:index]:
                self.note(key, rules.LISTED_TWICE, index)
        return frozenset(entries)

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        return bool(self._value(key, bool, rules.FLAG, default))

    def count(self, key: str, lowest: int, highest: int, default: int | None = None) -> int:
        """A whole number in `lowest..highest`."""
        value = self._value(key, int, _filled(rules.COUNT, lowest=lowest, highest=highest), default)
        if value is not None and not lowest <= value <= highest:
            bounds = rules.OUT_OF_RANGE.of(lowest=lowest, highest=highest)
            self.note(key, bounds if lowest < highest else rules.NOTHING_ELSE.of(only=lowest))
        return lowest if value is None else value

    def amount_fen(self, key: str) -> int:
        """An amount above zero, in fen, from yuan with exactly two decimals."""
        value = self._value(key, Decimal, rules.YUAN)
        if value is None:
            return 0
        try:
            amount = parse_yuan(str(value))
        except InvalidInput:
            self.note(key, rules.NOT_AN_AMOUNT)
            return 0
        if not 0 < amount <= MAX_AMOUNT_FEN:
            self.note(key, rules.AMOUNT_OUT_OF_RANGE)
        return amount

    def percent_ppm(self, key: str) -> int:
        """A share above 0 and up to 100 percent with at most four decimals, in parts per million."""
        value = self._number(key, rules.PERCENT)
        if not 0 < value <= 100 or _decimals(value) > 4:
            if self.sound(key):
                self.note(key, rules.NOT_A_SHARE)
            return 0
        return int(value * 10_000)

    def ratio(self, key: str) -> Fraction:
        """A ratio of at least 1 and at most 1000, with up to four decimals."""
        value = self._number(key, rules.RATIO)
        if not 1 <= value <= 1000 or _decimals(value) > 4:
            if self.sound(key):
                self.note(key, rules.NOT_A_RATIO)
            return Fraction(1)
        return Fraction(value)

    def instant(self, key: str) -> int:
        """A moment in UTC seconds, from a date and time with its zone."""
        value = self._value(key, datetime, rules.INSTANT)
        if value is None:
            return 0
        if value.tzinfo is None or value.microsecond:
            self.note(key, rules.NO_ZONE.of(expected=rules.INSTANT))
            return 0
        if value.year not in _YEARS:
            self.note(key, rules.YEAR_OUT_OF_RANGE.of(first=_YEARS[0], last=_YEARS[-1]))
            return 0
        return (value - _EPOCH) // timedelta(seconds=1)

    def _entries(self, key: str, expected: Words, default: list[Any] | None = None) -> list[Any]:
        entries = self._value(key, list, expected, default)
        if key in self._values and entries is not None and not 1 <= len(entries) <= MAX_ENTRIES:
            self.note(key, rules.ENTRIES.of(count=len(entries), most=MAX_ENTRIES))
            return []
        return entries or []

    def _number(self, key: str, expected: Words) -> Decimal:
        if type(self._values.get(key)) is int:
            return Decimal(self._value(key, int, expected) or 0)
        value = self._value(key, Decimal, expected)
        return value if value is not None and value.is_finite() else Decimal(0)

    def _value(self, key: str, kind: type[T], expected: Words, default: T | None = None) -> T | None:
        self._asked.append(key)
        if key not in self._values:
            if default is None:
                self.note(key, rules.MISSING.of(expected=expected))
            return default
        value = self._values[key]
        if type(value) is not kind:  # `true` is an int and a date-time a date: neither may pass for the other
            self.note(key, rules.WRONG_TYPE.of(expected=expected))
            return None
        return value

    def _line(self, path: Path) -> int:
        return self._document.line(path)


def open_document(content: bytes, name: str, sources: Mapping[str, str] | None = None) -> tuple[Table, Document]:
    """The file's root table, and what its tables share; lines that are no TOML are among its problems already.

    Raises InvalidTerms if nothing can be read: not UTF-8, too long, or a fault that hides what follows it.
    """
    sources = sources or {}
    values, readable, problems = _load(content, name, sources.get("", CAMPAIGN_FILE))
    unread = frozenset(problem.line for problem in problems)
    document = Document(dict(_positions(_tree(readable))), sources, unread, problems)
    return Table(values, document), document


def shift_dates(content: bytes, days: int) -> bytes:
    """The same file with every date and date-time moved by whole days, and every other byte as it was.

    Brings a historic campaign to another day with its hours of the day kept. Numbers such as `fiscal_year`,
    texts and comments stay. Raises InvalidTerms if the file is not TOML, InvalidInput if a date would leave
    the years 1–9999.
    """
    _, _, problems = _load(content, "terms", CAMPAIGN_FILE)
    if problems:
        raise InvalidTerms("terms", problems)
    shifted = bytearray(content)
    for node in _walk(_tree(content)):
        if node.type in _DATED:
            day = slice(node.start_byte, node.start_byte + len("YYYY-MM-DD"))
            shifted[day] = _moved(content[day].decode("ascii"), days, node).encode("ascii")
    return bytes(shifted)


def _moved(day: str, days: int, node: Node) -> str:
    try:
        return (date.fromisoformat(day) + timedelta(days=days)).isoformat()
    except OverflowError as error:
        place = f"line {node.start_point.row + 1}"
        raise InvalidInput(f"{day} moved by {days} days is no date", place=place, remedy="move it less") from error


def _load(content: bytes, name: str, source: str) -> tuple[dict[str, Any], bytes, list[Problem]]:
    """The file's values, amounts as Decimal; the bytes that were read; and a problem for each line that was not.

    A line that is no TOML is passed over and reading goes on, so that one slip does not hide the others. Raises
    InvalidTerms when the fault is in a heading or open at the end, for then what follows would be misread.
    """
    rows = _text(content, name, source).split("\n")
    problems: list[Problem] = []
    for _ in range(max(1, min(_MAX_SYNTAX_ERRORS, _MAX_PARSED_BYTES // (len(content) + 1)))):
        text = "\n".join(rows)
        try:
            return tomllib.loads(text, parse_float=Decimal), text.encode(), problems
        except RecursionError as error:
            raise InvalidTerms(name, [*problems, unreadable(1, "", rules.TOO_DEEP, source)]) from error
        except (ValueError, ArithmeticError) as error:  # a syntax error, or a number too long to be read
            where = re.search(r"at line (\d+)", str(error))
            line = int(where[1]) if where else len(rows)
            if line not in {problem.line for problem in problems}:
                rule = _repeated(rows, line - 1) if "overwrite" in str(error) else None
                rule = rule or rules.NOT_TOML.of(fault=str(error)[:_MAX_FAULT_SHOWN])
                problems.append(unreadable(line, "", rule, "TOML 1.0"))
            if not where or not _pass_over(rows, line - 1, twice="overwrite" in str(error)):
                break
    raise InvalidTerms(name, problems)


def _repeated(rows: Sequence[str], index: int) -> Rule | None:
    """The rule for a field that its table has already, if it stands above on a row of its own."""
    found = _FIELD.match(rows[index])
    name = found[0] if found else ""
    for above in range(index - 1, -1, -1):
        row = rows[above]
        if not name or row.lstrip().startswith("["):
            return None
        earlier = _FIELD.match(row)
        if earlier and earlier[0].split() == name.split():
            return rules.WRITTEN_TWICE.of(key=_cut(name.rstrip("= \t").strip()), first=above + 1)
    return None


def _pass_over(rows: list[str], index: int, *, twice: bool) -> bool:
    """Take the fault out of a row, keeping the name of its field. Returns whether reading may go on."""
    row = rows[index]
    found = _FIELD.match(row)
    if not row.strip() or row.lstrip().startswith(("[", "#")):
        return False
    stand_in = f"{found[0]} false" if found and not twice else ""
    rows[index] = "" if row == stand_in else stand_in
    return True


def _text(content: bytes, name: str, source: str) -> str:
    """The file's text. Raises InvalidTerms for bytes that are no text, or too many."""

    def stop(line: int, value: str, rule: Rule) -> InvalidTerms:
        return InvalidTerms(name, [unreadable(line, value, rule, source)])

    if len(content) > MAX_FILE_BYTES:
        raise stop(1, f"{len(content)}", rules.TOO_LONG.of(most=MAX_FILE_BYTES))
    if content.startswith(b"\xef\xbb\xbf"):
        raise stop(1, "", rules.BYTE_ORDER_MARK)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise stop(line, f"byte {error.start}", rules.NOT_UTF8) from error
    for number, row in enumerate(text.split("\n"), start=1):
        if row.count(".") > _MAX_DOTS_A_LINE:
            raise stop(number, "", rules.TOO_MANY_DOTS.of(most=_MAX_DOTS_A_LINE))
    return text


def unreadable(line: int, value: str, rule: Rule, source: str = CAMPAIGN_FILE) -> Problem:
    """A problem of the file itself."""
    return _problem(line, "file", value, rule, source)


def _problem(line: int, field: str, value: str, rule: Rule, source: str) -> Problem:
    wrong, remedy = rule
    return Problem(line, field, value, wrong.en, remedy.en, source, wrong.zh, remedy.zh)


def _filled(words: Words, **figures: object) -> Words:
    return Words(words.zh.format(**figures), words.en.format(**figures))


def _tree(content: bytes) -> Node:
    """Parsed only after `_load` has refused deep nesting, which tree-sitter would overflow its stack on."""
    return Parser(_TOML).parse(content).root_node


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.named_children:
        yield from _walk(child)


def _positions(root: Node) -> Iterator[tuple[Path, int]]:
    """The line, from 1, of every table, field and list entry."""
    lengths: dict[Path, int] = {}

    def opened(parts: Path) -> Path:
        path: Path = ()
        for part in parts:
            path = (*path, part)
            if path in lengths:
                path = (*path, lengths[path] - 1)
        return path

    for node in root.named_children:
        if node.type == "pair":
            yield from _pair(node, ())
        elif node.type in ("table", "table_array_element"):
            parts = _key(node.named_children[0])
            path = opened(parts[:-1]) + parts[-1:]
            if node.type == "table_array_element":
                lengths[path] = lengths.get(path, 0) + 1
                path = (*path, lengths[path] - 1)
            yield path, node.start_point.row + 1
            for child in node.named_children[1:]:
                if child.type == "pair":
                    yield from _pair(child, path)


def _pair(node: Node, table: Path) -> Iterator[tuple[Path, int]]:
    path = table + _key(node.named_children[0])
    yield path, node.start_point.row + 1
    yield from _inside(node.named_children[1], path)


def _inside(value: Node, path: Path) -> Iterator[tuple[Path, int]]:
    if value.type == "inline_table":
        for pair in value.named_children:
            yield from _pair(pair, path)
    elif value.type == "array":
        entries = [entry for entry in value.named_children if entry.type != "comment"]
        for index, entry in enumerate(entries):
            yield (*path, index), entry.start_point.row + 1
            yield from _inside(entry, (*path, index))


def _key(node: Node) -> tuple[str, ...]:
    if node.type == "dotted_key":
        return tuple(part for child in node.named_children for part in _key(child))
    return ((node.text or b"").decode("utf-8").strip("\"'"),)


def _field(path: Path) -> str:
    """On one line whatever the file calls its fields: a quoted name may hold anything."""
    text = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{_named(part)}" for part in path)
    return text.removeprefix(".")


def _named(part: str) -> str:
    return _cut(part) if part.isprintable() and part else repr(_cut(part))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _shown(value: object) -> str:
    match value:
        case None:
            return ""
        case dict():
            return "{…}"
        case list():
            return "[…]" if value else "[]"
        case bool():
            return str(value).lower()
        case datetime():
            return value.isoformat()
        case str():
            return repr(_cut(value))
        case _:
            return _cut(str(value))


def _decimals(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0
