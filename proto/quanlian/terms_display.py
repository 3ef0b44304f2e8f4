"""One version of terms as its file says it: what each entry is called, and each field's value as people read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from quanlian.file_rules import Words
from quanlian.money import parse_yuan, yuan
from quanlian.refusals import CHINA
from quanlian.regions import full_name, region
from quanlian.terms_fields import FIELDS, NONE, REQUIRED, TABLES, Field
from quanlian.terms_words import CATEGORIES, CLASSES, NATURE, REFUNDS, SHORTFALL, VISITORS, WORDS, until

Entry = Mapping[str, Any]

_NAMES: Final = ("id", "name", "class", "from", "title_zh", "title_en")
_TITLED: Final = {"pack": "pack", "vouchers": "voucher_type", "groups": "group"}
"""Fields that name entries of a list, and the list."""
_WORDED: Final[Mapping[str, Mapping[str, Words]]] = {
    "voucher_type[].categories": CATEGORIES,
    "voucher_type[].tier[].class": CLASSES,
    "funding.shortfall_rule": SHORTFALL,
    "funding.cascade": NATURE,
    "campaign.refund_policy": REFUNDS,
    "campaign.visitors_leverage": VISITORS,
    "campaign.other_discounts": {"before": Words("先行抵减", "taken off first")},
}
_UNITS: Final[Mapping[str, Words]] = {
    "yuan": Words("{} 元", "{} yuan"),
    "days 1–3650": Words("{} 天", "{} days"),
    "packs": Words("{} 份", "{} packs"),
    "seconds 1–86400": Words("{} 秒", "{} s"),
    "percent, to 4 decimals": Words("{} %", "{} %"),
    "ratio 1–1000": Words("{} 倍", "{} times"),
}
ENDS: Final = frozenset({"campaign.ends_at", "pack[].valid_until", "round[].closes_at", "notice.valid_until"})
"""Fields that hold an end, which is not included."""


def identity(entry: Entry) -> str:
    """What an entry is matched by: its id, its name, or, of a tier, its class and lower bound; empty without any."""
    named = entry.get("id") or entry.get("name")
    return str(named) if named else f"{entry.get('class', '')} {entry.get('from', '')}".strip()


class Version:
    """A file that checks without errors."""

    def __init__(self, root: Entry) -> None:
        self.root = root

    def value(self, field: Field, entry: Entry) -> Any:
        """What an entry says in a field: its default where it says nothing, None where it has none."""
        if field.key in entry:
            return entry[field.key]
        if field.name == "pack[].roaming":
            return self.root["campaign"]["roaming"]
        if field.default in (REQUIRED, NONE) or " " in field.default or not entry:
            return None
        return {"false": False}.get(field.default, int(field.default) if field.default.isdigit() else field.default)

    def label(self, table: str, entry: Entry) -> Words:
        """What an entry is called: 券包“零售类消费券包”."""
        name = self.title(entry)
        return Words(f"{TABLES[table].zh}“{name.zh}”", f"{TABLES[table].en} “{name.en}”")

    def title(self, entry: Entry) -> Words:
        """Its title, or what it is matched by; of a tier, its class and lower bound."""
        if "title_zh" in entry:
            return Words(entry["title_zh"], entry.get("title_en") or identity(entry))
        if "class" in entry:
            klass, start = CLASSES.get(entry["class"], Words(entry["class"], entry["class"])), entry["from"]
            return Words(f"{klass.zh} {_amount(start)} 元起", f"{klass.en} from {_amount(start)}")
        return Words(identity(entry), identity(entry))

    def summary(self, table: str, entry: Entry) -> Words:
        """Everything an entry says beside its name."""
        parts = [
            Words(f"{field.label.zh} {shown.zh}", f"{field.label.en} {shown.en}")
            for field in FIELDS
            if field.table == table and field.key in entry and field.key not in _NAMES
            for shown in [self.shown(field, entry[field.key])]
        ]
        for inner in (each for each in TABLES if each.startswith(f"{table}.")):
            for each in entry.get(inner[:-2].rpartition(".")[2], []):
                label, said = self.label(inner, each), self.summary(inner, each)
                parts.append(Words(f"{label.zh} {said.zh}", f"{label.en} {said.en}"))
        return Words("；".join(part.zh for part in parts), "; ".join(part.en for part in parts))

    def shown(self, field: Field, value: Any) -> Words:
        """A value as people read it: yuan, Beijing time, percentages, names of regions and of entries."""
        match value:
            case None:
                return Words("", "")
            case list():
                counted = Counter(value)
                parts = [_times(self._word(field, name), count) for name, count in counted.items()]
                return Words("、".join(part.zh for part in parts), ", ".join(part.en for part in parts))
            case bool():
                return Words("是", "yes") if value else Words("否", "no")
            case datetime():
                return Words(*[_instant(field, value)] * 2)
            case str():
                return self._word(field, value)
            case _:
                figure = _amount(value) if field.unit == "yuan" else _figure(field, value)
                unit = _UNITS.get(field.unit, Words("{}", "{}"))
                return Words(unit.zh.format(figure), unit.en.format(figure))

    def _word(self, field: Field, word: str) -> Words:
        if field.key in _TITLED:
            return next(
                Words(each["title_zh"], each["title_en"])
                for each in self.root[_TITLED[field.key]]
                if each["id"] == word
            )
        if field.key in ("regions", "issuer") and word.isdigit():
            return Words(f"{full_name(word)} {word}", f"{region(word).name_en} {word}".strip())
        if field.unit == "text":
            return Words(word, word)
        return _WORDED.get(field.name, WORDS).get(word, Words(word, word))


def _times(word: Words, count: int) -> Words:
    return word if count == 1 else Words(f"{word.zh} × {count}", f"{word.en} × {count}")


def _instant(field: Field, value: datetime) -> str:
    if field.name in ENDS:
        return until(int(value.timestamp()))
    return value.astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S").removesuffix(":00")


def _amount(value: Decimal) -> str:
    return yuan(parse_yuan(str(value)))


def _figure(field: Field, value: Decimal | int) -> str:
    return str(value) if field.unit.startswith("year") else f"{value:,}"
