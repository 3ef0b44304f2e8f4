"""One value of the terms as a cell shows it, and one cell, as Excel, WPS or a person left it, as a value.

A cell is read for what it shows: an amount may be a number or text, with full-width digits, thousands separators
or `元`; a time a date of Excel, its serial number or text. What a cell does not show beyond doubt is misread and
said so; it is never guessed. Whether a value keeps the rules of the terms is for the checker to say.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from node.campaign.workbook import rules
from node.campaign.workbook.layout import SCOPES, Column, Form, label
from quanlian.errors import InvalidInput
from quanlian.file_rules import Rule, Words
from quanlian.refusals import CHINA
from quanlian.regions import region
from quanlian.terms_words import CATEGORIES, WORDS, until

YES, NO = "是 yes", "否 no"

CellValue = str | int | Decimal | datetime
"""What is written: text, numbers, or a time without its zone, which is Asia/Shanghai's."""

_YES: Final = frozenset({"是 yes", "是", "yes", "y", "true", "1", "√", "✓", "✔", "对"})
_NO: Final = frozenset({"否 no", "否", "no", "n", "false", "0", "×", "✗", "✘"})
_MAX_DIGITS: Final = 15
"""Excel keeps no more digits of a number."""
_MAX_SHOWN: Final = 80
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,15}|[0-9]{1,3}(?:,[0-9]{3}){1,4})(?:\.[0-9]{1,15})?")
_DAY: Final = r"(?P<year>[0-9]{4})\s*[-/.年]\s*(?P<month>[0-9]{1,2})\s*[-/.月]\s*(?P<day>[0-9]{1,2})\s*日?"
_SECOND: Final = r"(?:[:分]\s*(?:(?P<second>[0-9]{1,2})\s*秒?)?)?"
_HOUR: Final = rf"(?P<hour>[0-9]{{1,2}})\s*[:时点]\s*(?:(?P<minute>[0-9]{{1,2}})\s*{_SECOND})?"
_ZONE: Final = r"(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})"
_TIME: Final = re.compile(rf"{_DAY}(?:\s*T?\s*{_HOUR}\s*{_ZONE}?)?", re.IGNORECASE)
_HOURED: Final = re.compile(r"[:时点]")
_SERIAL_YEARS: Final = range(2000, 2100)
_BETWEEN_WORDS: Final = re.compile(r"[\s,、;|]+")
_CODE_AND_NAME: Final = re.compile(r"([0-9]{6})(?:\s+(\S.*))?")
_BLANKS: Final = "\u200b\u200c\u200d\u2060\ufeff"


class Raw(NamedTuple):
    """A cell as it was found. `percent` is whether its format shows hundredths; `since` is day 0 of its dates."""

    value: Any
    percent: bool = False
    since: date = date(1899, 12, 30)


class Lost(NamedTuple):
    """The value of a cell that holds none: a formula without a stored result, or an error of Excel's."""

    shown: str


class Misread(Exception):
    """A cell that does not show a value of its form."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(f"{rule.wrong.en} — {rule.remedy.en}")
        self.rule = rule


def cell_of(column: Column, value: Any) -> CellValue:
    """A value of the terms as its cell shows it."""
    match column.form:
        case Form.WORD:
            return label(column.field, value)
        case Form.FLAG | Form.TICK:
            return YES if value else NO
        case Form.WORDS:
            return "、".join(f"{CATEGORIES[word][0]} {word}" if _named(column, word) else word for word in value)
        case Form.REGION | Form.SCOPE:
            return region_label(value)
        case Form.PERCENT:
            return Decimal(value) / 100
        case Form.INSTANT:
            moment: datetime = value.astimezone(CHINA)
            return moment.replace(tzinfo=None)
        case Form.END:
            return until(int(value.timestamp()))
        case _:
            return value if isinstance(value, int | Decimal) else str(value)


def category_labels() -> list[str]:
    """What the drop-down of categories offers; others may be written."""
    return [f"{zh} {word}" for word, (zh, _) in CATEGORIES.items()]


def region_label(scope: str) -> str:
    """A region code or scope with its name: `330100 杭州市`."""
    return f"{scope} {WORDS[scope][0]}" if scope in SCOPES else f"{scope} {region(scope).name}"


def is_blank(raw: Raw | None) -> bool:
    """Whether a cell shows nothing: empty, or blanks of any width."""
    if raw is None or raw.value is None:
        return True
    return isinstance(raw.value, str) and not raw.value.strip().strip(_BLANKS).strip()


def shown(raw: Raw | None) -> str:
    """What stands in a cell, shortened, for a message."""
    if raw is None or is_blank(raw):
        return ""
    value = raw.value.shown if isinstance(raw.value, Lost) else raw.value
    text = _plain(Decimal(repr(value))) if isinstance(value, float) and math.isfinite(value) else str(value)
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def value_of(column: Column, raw: Raw) -> Any:
    """The value of a cell that is not blank, as `tomllib` would read it. Raises Misread."""
    if isinstance(raw.value, Lost):
        raise Misread(rules.ERROR_VALUE if raw.value.shown.startswith("#") else rules.UNSOLVED)
    return _READERS[column.form](column, raw)


def doubt_of(column: Column, raw: Raw, value: Any) -> Rule | None:
    """What a cell may say and not mean: a date without an hour is 0:00, so that its day is not the last one."""
    if column.form is not Form.END or isinstance(raw.value, str) or not isinstance(value, datetime):
        return None
    if value.timetz().replace(tzinfo=None) != time():
        return None
    last = value - timedelta(days=1)
    return rules.ENDS_AT_MIDNIGHT.of(
        last=Words(f"{last.year}年{last.month}月{last.day}日", f"{last.day} {last:%B %Y}"),
        day=Words(f"{value.month}月{value.day}日", f"{value.day} {value:%B}"),
        end=f"{value:%Y-%m-%d} 24:00",
        known=until(int(value.timestamp())),
    )


def _text(column: Column, raw: Raw) -> str:
    """A title, as it is where it may be; else without line breaks and blanks that a title must not have."""
    text = _letters(raw)
    if text.isprintable() and text.strip():
        return text
    kept = "".join(" " if letter.isspace() else letter for letter in text if letter not in _BLANKS)
    return " ".join(kept.split())


def _letters(raw: Raw) -> str:
    match raw.value:
        case bool():
            return str(raw.value).lower()
        case int():
            return str(raw.value)
        case float() if math.isfinite(raw.value):
            return _plain(_decimal(raw.value))
        case str():
            return raw.value
    raise Misread(rules.TIME_FOR_TEXT)


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _name(column: Column, raw: Raw) -> str:
    text = unicodedata.normalize("NFKC", _letters(raw))
    return "".join(letter for letter in text if letter not in _BLANKS).strip()


def _word(column: Column, raw: Raw) -> str:
    text = _name(column, raw)
    for word in column.words:
        both = unicodedata.normalize("NFKC", label(column.field, word))
        if text.casefold() in (word, both, both.removesuffix(word).strip()):
            return word
    raise Misread(rules.NOT_A_CHOICE.of(choices=", ".join(label(column.field, word) for word in column.words)))


def _flag(column: Column, raw: Raw) -> bool:
    text = _name(column, raw).casefold()
    if text in _YES | _NO:
        return text in _YES
    raise Misread(rules.NEITHER_YES_NOR_NO)


def _words(column: Column, raw: Raw) -> list[str]:
    """Each once, whether it stands there by its Chinese name, by its code or by both: `零售 retail、catering`."""
    names = {CATEGORIES[word][0]: word for word in CATEGORIES if _named(column, word)}
    words = _BETWEEN_WORDS.split(_name(column, raw))
    return list(dict.fromkeys(names.get(word, word) for word in words if word))


def _named(column: Column, word: str) -> bool:
    return column.name == "categories" and word in CATEGORIES


def _region(column: Column, raw: Raw) -> str:
    text = _name(column, raw)
    found = _CODE_AND_NAME.fullmatch(text)
    if found is None:
        named = {unicodedata.normalize("NFKC", region_label(scope)): scope for scope in column.words}
        return named.get(text, text)
    if found[2]:
        try:
            known = region(found[1]).name
        except InvalidInput:
            return found[1]
        if found[2].strip() != known:
            raise Misread(rules.OTHER_REGION.of(code=found[1], name=known))
    return found[1]


def _number(raw: Raw, rule: Rule, unit: str = "") -> Decimal:
    """A number, or text that shows one; `unit` may stand around it. Raises Misread with the rule."""
    wrong = Misread(rule)
    value = raw.value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise wrong
    if isinstance(value, str):
        if len(value) > _MAX_SHOWN:
            raise wrong
        text = unicodedata.normalize("NFKC", value).strip(_BLANKS + " \t\r\n" + unit).replace(" ", "")
        if not _NUMBER.fullmatch(text):
            raise wrong
        return Decimal(text.replace(",", ""))
    if not math.isfinite(value) or abs(value) >= 10**_MAX_DIGITS:
        raise wrong
    return _decimal(value)


def _decimal(value: float) -> Decimal:
    """The number that Excel shows: it counts in binary and shows fifteen digits."""
    return Decimal(format(value, f".{_MAX_DIGITS}g")) if isinstance(value, float) else Decimal(value)


def _yuan(column: Column, raw: Raw) -> Decimal:
    amount = _number(raw, rules.NOT_AN_AMOUNT, "¥元")
    if amount != round(amount, 2):
        raise Misread(rules.PARTS_OF_A_FEN)
    return amount.quantize(Decimal("0.01"))


def _percent(column: Column, raw: Raw) -> int | Decimal:
    number = _number(raw, rules.NOT_A_PERCENTAGE, "%")
    if isinstance(raw.value, str):
        percent = number
    elif raw.percent:
        percent = number * 100
    elif abs(number) <= 1:
        raise Misread(rules.WHICH_PERCENTAGE.of(less=_plain(number), more=_plain(number * 100)))
    else:
        percent = number
    return _tidy(percent)


def _ratio(column: Column, raw: Raw) -> int | Decimal:
    return _tidy(_number(raw, rules.NOT_A_RATIO, "倍"))


def _tidy(number: Decimal) -> int | Decimal:
    return int(number) if number == number.to_integral_value() else Decimal(_plain(number))


def _whole(column: Column, raw: Raw) -> int:
    number = _number(raw, rules.NOT_WHOLE)
    if number != number.to_integral_value():
        raise Misread(rules.NOT_WHOLE)
    return int(number)


def _instant(column: Column, raw: Raw) -> datetime:
    """A moment of Asia/Shanghai; 24:00 is the next day's 0:00, as work plans write it."""
    value = raw.value
    wrong = Misread(rules.NOT_A_TIME)
    try:
        if isinstance(value, str):
            return _written_time(unicodedata.normalize("NFKC", value).strip(_BLANKS + " \t\r\n"), wrong)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = datetime.combine(raw.since, time()) + timedelta(days=float(value))
            if value.year not in _SERIAL_YEARS:
                raise wrong
        if not isinstance(value, datetime):
            raise wrong
        value = value.replace(tzinfo=None)
        return (value + timedelta(microseconds=500_000)).replace(microsecond=0, tzinfo=CHINA)
    except (ValueError, OverflowError) as error:
        raise wrong from error


def _end(column: Column, raw: Raw) -> datetime:
    """As `_instant`; what is typed must tell its hour."""
    found = _instant(column, raw)
    if isinstance(raw.value, str) and not _HOURED.search(unicodedata.normalize("NFKC", raw.value)):
        raise Misread(rules.NO_HOUR.of(day=f"{found:%Y-%m-%d}"))
    return found


def _written_time(text: str, wrong: Misread) -> datetime:
    found = _TIME.fullmatch(text) if len(text) <= _MAX_SHOWN else None
    if found is None:
        raise wrong
    day = datetime(int(found["year"]), int(found["month"]), int(found["day"]), tzinfo=CHINA)
    hour, minute, second = (int(found[part] or 0) for part in ("hour", "minute", "second"))
    if hour > 24 or minute > 59 or second > 59 or (hour == 24 and minute + second > 0):
        raise wrong
    if found["zone"]:
        zone = datetime.fromisoformat(f"2000-01-01T00:00:00{found['zone'].upper()}").tzinfo
        day = day.replace(tzinfo=zone)
    return (day + timedelta(hours=hour, minutes=minute, seconds=second)).astimezone(CHINA)


_READERS: Final[dict[Form, Callable[[Column, Raw], Any]]] = {
    Form.TEXT: _text,
    Form.NAME: _name,
    Form.WORD: _word,
    Form.FLAG: _flag,
    Form.TICK: _flag,
    Form.WORDS: _words,
    Form.REFERENCE: _name,
    Form.REGION: _region,
    Form.SCOPE: _region,
    Form.YUAN: _yuan,
    Form.PERCENT: _percent,
    Form.RATIO: _ratio,
    Form.WHOLE: _whole,
    Form.INSTANT: _instant,
    Form.END: _end,
}
