"""The sheets of a campaign's workbook and their columns, made from the field tables of the terms.

A table with one entry (`campaign`) is upright: its fields stand below each other. A list of tables (`round[]`)
has a row for each entry. Two lists of the terms have a sheet of their own, a row for each of their entries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple

from quanlian.regions import EVERYWHERE, GROUPS
from quanlian.terms_display import ENDS
from quanlian.terms_fields import FIELDS, REQUIRED, Field, in_chinese
from quanlian.terms_parsing import MAX_VOUCHERS_A_PACK
from quanlian.terms_words import WORDS


class Form(Enum):
    """What a cell holds, and how it is written in Excel."""

    TEXT = "text on one line"
    NAME = "an identifier"
    WORD = "one word of a closed set"
    FLAG = "yes or no"
    TICK = "yes where a list has this word, empty where it has not"
    WORDS = "several identifiers"
    REFERENCE = "the identifier of an entry of another sheet"
    REGION = "a region code"
    SCOPE = "a region code, a named group of regions, or everywhere"
    YUAN = "an amount in yuan"
    PERCENT = "a share in percent"
    RATIO = "a number with decimals"
    WHOLE = "a whole number"
    INSTANT = "a date and time of Asia/Shanghai"
    END = "a date and time of Asia/Shanghai, not included; as text, for a bare date does not tell its last day"


class Column(NamedTuple):
    """One field of a sheet, or one word of a list that is ticked. `key` is its name in its sheet."""

    key: str
    field: Field
    form: Form
    words: tuple[str, ...] = ()
    target: str = ""

    @property
    def name(self) -> str:
        """The field's name inside its table: `per_day`."""
        return self.field.key

    @property
    def required(self) -> bool:
        return self.field.default == REQUIRED

    @property
    def zh(self) -> str:
        """Its heading in Chinese, with * where it must be filled in."""
        if self.form is Form.TICK:
            return f"{self.field.zh}：{WORDS[self.words[0]][0]}"
        return f"{self.field.zh} *" if self.required else self.field.zh

    @property
    def en(self) -> str:
        """Its heading in English: the name in the file, in words."""
        titles = {"title_zh": "Chinese title", "title_en": "English title"}
        return titles.get(self.key) or self.key.replace("_", " ") + (", yuan" if self.form is Form.YUAN else "")

    @property
    def unit(self) -> str:
        """Its unit or values, in Chinese and English."""
        if self.form in (Form.TICK, Form.FLAG):
            return "是/否 yes or no"
        if self.form is Form.END:
            return f"{_both(self.field.unit)}，如 like 2026-12-31 24:00"
        return _both(self.field.unit)

    @property
    def default(self) -> str:
        """Its default, in Chinese and English."""
        return _both(self.field.default)


class Layout(NamedTuple):
    """One sheet. `table` is a table or a list of the terms, named as in `FIELDS`."""

    table: str
    zh: str
    en: str
    columns: tuple[Column, ...]

    @property
    def title(self) -> str:
        """What Excel shows on its tab."""
        return f"{self.zh} {self.en}"

    @property
    def upright(self) -> bool:
        return not self.table.endswith("[]") and self.table not in _LISTS

    def mark(self, column: Column) -> str:
        """What finds the column again in a workbook: `round.quota`, `campaign.channels: shop`."""
        return f"{self.table.replace('[]', '')}.{column.key}"

    def column(self, key: str) -> Column:
        """The column with this key. Raises StopIteration if there is none."""
        return next(column for column in self.columns if column.key == key)


def _both(text: str) -> str:
    return " ".join(dict.fromkeys((in_chinese(text), text)))


_TITLES: Final[dict[str, tuple[str, str]]] = {
    "campaign": ("活动", "Campaign"),
    "campaign.regions": ("适用地区", "Regions"),
    "funding": ("资金", "Funding"),
    "funder[]": ("出资方", "Funders"),
    "cofunder[]": ("共同出资方", "Co-funders"),
    "merchants": ("商户", "Merchants"),
    "group[]": ("人群", "Groups"),
    "voucher_type[]": ("券种", "Vouchers"),
    "voucher_type[].tier[]": ("档次", "Tiers"),
    "voucher_type[].attraction[]": ("景点", "Attractions"),
    "pack[]": ("券包", "Packs"),
    "pack[].vouchers": ("券包内容", "Pack contents"),
    "round[]": ("轮次", "Rounds"),
}
_FORMS: Final[dict[str, Form]] = {
    "text": Form.TEXT,
    "a–z 0–9 -": Form.NAME,
    "3–48 of a–z 0–9 -": Form.NAME,
    "true, false": Form.FLAG,
    "list of a–z 0–9 -": Form.WORDS,
    "list of groups": Form.WORDS,
    "a pack": Form.REFERENCE,
    "region code": Form.REGION,
    "yuan": Form.YUAN,
    "percent, to 4 decimals": Form.PERCENT,
    "ratio 1–1000": Form.RATIO,
    "date, time, zone": Form.INSTANT,
    "packs": Form.WHOLE,
    "1": Form.WHOLE,
    "1–64": Form.WHOLE,
    "whole number from 0": Form.WHOLE,
    "year 2000–2099": Form.WHOLE,
    "seconds 1–86400": Form.WHOLE,
    "days 1–3650": Form.WHOLE,
}
"""The form of each unit that is not a closed set of words, which names its words: `never, on-demand, at-issue`."""
_TARGETS: Final[dict[str, str]] = {"a pack": "pack[]", "list of groups": "group[]"}
_LISTS: Final = ("campaign.regions", "pack[].vouchers")
_CLOSED: Final = re.compile(r"(list: )?([a-z-]+(?:, [a-z-]+)*)")

GUIDE_TITLE: Final = "说明 How to use"
LISTS_TITLE: Final = "选项 Lists"
SOURCE_TITLE: Final = "原文 Source"
FAULTS_TITLE: Final = "错误 Faults"
"""Sheets that hold no terms: how to use the workbook; what drop-downs offer; the file it was made from; its faults."""

SCOPES: Final = (EVERYWHERE, *GROUPS)
"""What may stand for regions besides a region code."""


def _columns_of(field: Field) -> Iterator[Column]:
    name = field.key
    if field.name in ENDS:
        yield Column(name, field, Form.END)
        return
    if field.unit in _FORMS:
        yield Column(name, field, _FORMS[field.unit], target=_TARGETS.get(field.unit, ""))
        return
    closed = _CLOSED.fullmatch(field.unit)
    if closed is None:
        raise ValueError(f"no form for the unit {field.unit!r} of {field.name}")
    words = tuple(closed[2].split(", "))
    if closed[1]:
        yield from (Column(f"{name}: {word}", field, Form.TICK, (word,)) for word in words)
    else:
        yield Column(name, field, Form.WORD, words)


def _layout(table: str) -> Layout:
    named = {field.name: field for field in FIELDS}
    if table == "campaign.regions":
        columns = [Column("region", named[table], Form.SCOPE, SCOPES)]
    elif table == "pack[].vouchers":
        count = Field(table, f"1–{MAX_VOUCHERS_A_PACK}", "1", "张数", "how many of it, one after another")
        columns = [
            Column("pack", named["pack[].id"], Form.REFERENCE, target="pack[]"),
            Column("voucher", named["voucher_type[].id"], Form.REFERENCE, target="voucher_type[]"),
            Column("count", count, Form.WHOLE),
        ]
    else:
        own = [field for field in FIELDS if field.table == table and field.name not in _LISTS]
        columns = [column for field in own for column in _columns_of(field)]
        parent = table.rpartition(".")[0]
        if parent:
            of = Field(f"{parent}.id", "a voucher type", REQUIRED, "券种", "the voucher type it belongs to")
            columns.insert(0, Column("voucher_type", of, Form.REFERENCE, target=parent))
    return Layout(table, *_TITLES[table], tuple(columns))


LAYOUTS: Final[tuple[Layout, ...]] = tuple(_layout(table) for table in _TITLES)
"""Every sheet that holds terms, in the order of its tabs."""


def layout_of(table: str) -> Layout:
    """The sheet of a table of the terms, named as in `FIELDS`."""
    return next(layout for layout in LAYOUTS if layout.table == table)


_SHORT: Final[dict[str, dict[str, str]]] = {
    "campaign.refund_policy": {"pro-rata": "按比例退回", "full-clawback": "全额收回"},
    "campaign.visitors_leverage": {"refuse": "不予核销", "warn": "提示", "off": "不限"},
    "campaign.other_discounts": {"before": "先行抵减"},
    "funding.shortfall_rule": {"cascade": "依次递补", "pro-rata": "按权重分担", "refuse": "停止发放"},
    "funding.cascade": {"borne": "承担", "advanced": "垫付"},
}
"""Words whose Chinese depends on their field."""


def label(field: Field, word: str) -> str:
    """A word of a closed set as the drop-down shows it: `满减 threshold`."""
    return f"{_SHORT.get(field.name, {}).get(word) or WORDS[word][0]} {word}"
