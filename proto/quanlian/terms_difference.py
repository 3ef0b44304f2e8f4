"""The difference between two versions of a campaign's terms, as lines that a director can read and sign off.

Compared is what the files say, field by field of `terms_fields`; a field left out says its default. Entries of a list
are matched by their id or name, not by their place.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

from quanlian.file_rules import Words
from quanlian.notices import NOTHING_GIVEN, Given
from quanlian.refusals import CHINA
from quanlian.regions import covers_all
from quanlian.terms_display import Entry, Version, identity
from quanlian.terms_fields import FIELDS, NOTICE_FIELDS, TABLES, Field

Kind = Literal["added", "removed", "changed"]
Holders = Literal["better", "worse", "depends", "neither", "refused"]

TAKES_EFFECT: Final = Words(
    "自公布时起领取的券适用；此前已发放的券仍按领取时的细则使用。",
    "Counts for vouchers claimed once it is published; vouchers already out keep the terms they were issued under.",
)
NOTICE_TAKES_EFFECT: Final = Words(
    "自公布时起对已发放的券同样适用；没有一张券因此受损。",
    "Counts for vouchers already out too, from its publication; no voucher loses anything by it.",
)
_MORE: Final = frozenset(
    {
        "campaign.ends_at",
        "campaign.regions",
        "campaign.channels",
        "voucher_type[].categories",
        "voucher_type[].face",
        "voucher_type[].tier[].amount",
        "voucher_type[].rate_percent",
        "voucher_type[].cap",
        "voucher_type[].price",
        "voucher_type[].price_limit",
        "voucher_type[].uses",
        "voucher_type[].attraction[].share_percent",
        "pack[].vouchers",
        "pack[].valid_days",
        "pack[].valid_until",
        "round[].closes_at",
        "round[].quota",
        "round[].per_person",
        "round[].per_day",
        "round[].groups",
    }
)
"""Of these, more is better for holders."""
_LESS: Final = frozenset({"campaign.starts_at", "voucher_type[].minimum_spend", "round[].opens_at", "round[].evidence"})
"""Of these, less."""
_DEPENDS: Final = frozenset(
    {
        "funding.shortfall_rule",
        "merchants.conditions",
        "merchants.vetoes",
        "voucher_type[].kind",
        "voucher_type[].tier[].class",
        "voucher_type[].tier[].from",
        "round[].pack",
        "round[].mode",
    }
)
"""Of these, it depends on the holder."""
_UNLIMITED: Final = frozenset(
    {"voucher_type[].minimum_spend", "voucher_type[].price_limit", "round[].per_day", "round[].groups"}
)
"""Of these, none at all is no limit."""
_ROAMING: Final = frozenset({"campaign.roaming", "pack[].roaming"})
_KEPT: Final = frozenset({"campaign.id", "campaign.issuer", "campaign.fiscal_year"})
"""What an amendment keeps; a node refuses one that does not."""
_NEITHER: Final = frozenset(field.name for field in FIELDS if field.table in ("funder[]", "cofunder[]", "group[]")) | {
    "campaign.title_zh",
    "campaign.title_en",
    "campaign.budget_document",
    "campaign.hold_seconds",
    "campaign.refund_policy",
    "campaign.minimum_leverage",
    "campaign.visitors_leverage",
    "campaign.vouchers_per_order",
    "campaign.other_discounts",
    "campaign.agreement",
    "funding.cascade",
    "voucher_type[].id",
    "voucher_type[].title_zh",
    "voucher_type[].title_en",
    "voucher_type[].attraction[].id",
    "voucher_type[].attraction[].title_zh",
    "voucher_type[].attraction[].title_en",
    "pack[].id",
    "pack[].title_zh",
    "pack[].title_en",
    "round[].id",
}
"""These do not concern holders: names, and who pays."""
_GIVING: Final = frozenset({"voucher_type[]", "voucher_type[].attraction[]", "pack[]", "round[]"})
"""Tables whose new entries give holders something."""


class Difference(NamedTuple):
    """One field that changed, or one entry that is new or gone, with everything it says.

    `field` is as a file has it, entries by their name: `pack[retail].valid_days`. `before` or `after` is empty where
    there was nothing. `holders` is what it means to those who claim under the new version; `refused` is a change that
    no amendment can make.
    """

    field: str
    label: Words
    kind: Kind
    before: Words
    after: Words
    holders: Holders


NOTHING: Final = Words("", "")


def difference(old: bytes, new: bytes) -> list[Difference]:
    """What changed from one version to another, in the order of the sheet; both files must check without errors."""
    before, after = Version(_read(old)), Version(_read(new))
    found: list[Difference] = []
    for table in (name for name in TABLES if name.count("[]") + name.count(".") <= 1):
        if table.endswith("[]"):
            found += _entries(table, "", NOTHING, (before, before.root), (after, after.root))
        else:
            pair = before.root.get(table, {}), after.root.get(table, {})
            found += _fields(table, f"{table}.", NOTHING, (before, pair[0]), (after, pair[1]))
    return found


def notice_difference(terms: bytes, notice: bytes, earlier: Given = NOTHING_GIVEN) -> list[Difference]:
    """What a notice gives the holders of vouchers under these terms beyond what `earlier` notices gave.

    Both files must check without errors.
    """
    version, given = Version(_read(terms)), _read(notice)["notice"]
    postponed = datetime.fromtimestamp(earlier.valid_until, CHINA)
    until, *scopes = (each for each in NOTICE_FIELDS if each.key != "campaign")
    found = []
    for pack in version.root["pack"] if "valid_until" in given else ():
        field = next(each for each in FIELDS if each.table == "pack[]" and each.key in pack and "valid" in each.key)
        end = version.shown(until, given["valid_until"])
        if field.key == "valid_until":
            known = max(pack["valid_until"], postponed)
            if known >= given["valid_until"]:
                continue
            shown, after = version.shown(field, known), end
        else:
            days = version.shown(field, pack["valid_days"])
            shown = _not_before(days, version.shown(until, postponed)) if earlier.valid_until else days
            after = _not_before(days, end)
        label = _joined(version.label("pack[]", pack), field.label)
        found.append(Difference(f"pack[{identity(pack)}].{field.key}", label, "changed", shown, after, "better"))
    for field in scopes:
        if field.key == "regions":
            known = [*version.root["campaign"]["regions"], *earlier.regions]
            new = [scope for scope in given.get("regions", ()) if not covers_all(known, [scope])]
        else:
            known = [*version.root["campaign"]["channels"], *sorted(earlier.channels)]
            new = [channel for channel in given.get("channels", ()) if channel not in known]
        if new:
            sides = version.shown(field, known), version.shown(field, known + new)
            found.append(Difference(f"campaign.{field.key}", field.label, "changed", *sides, "better"))
    return found


def _not_before(days: Words, end: Words) -> Words:
    return Words(f"{days.zh}，且不早于 {end.zh}", f"{days.en}, and not before {end.en}")


def _read(content: bytes) -> dict[str, Any]:
    return tomllib.loads(content.decode("utf-8"), parse_float=Decimal)


Side = tuple[Version, Entry]


def _entries(table: str, place: str, owner: Words, old: Side, new: Side) -> Iterator[Difference]:
    """What changed in a list of tables, matched by name."""
    key = table[:-2].rpartition(".")[2]
    olds = {identity(each): each for each in old[1].get(key, [])}
    news = {identity(each): each for each in new[1].get(key, [])}
    if table == "funder[]":
        yield from _order_of_funders(old[0], olds, new[0], news)
    for name in [*olds, *(name for name in news if name not in olds)]:
        where = f"{place}{key}[{name}]"
        version, entry = (new[0], news[name]) if name in news else (old[0], olds[name])
        label = _joined(owner, version.label(table, entry))
        if name in olds and name in news:
            sides = (old[0], olds[name]), (new[0], news[name])
            yield from _fields(table, f"{where}.", label, *sides)
            for inner in (each for each in TABLES if each.startswith(f"{table}.")):
                yield from _entries(inner, f"{where}.", label, *sides)
            continue
        gives = table in _GIVING
        said = version.summary(table, entry)
        if name in news:
            yield Difference(where, label, "added", NOTHING, said, "better" if gives else _otherwise(table))
        else:
            yield Difference(where, label, "removed", said, NOTHING, "worse" if gives else _otherwise(table))


def _order_of_funders(
    old: Version, olds: Mapping[str, Entry], new: Version, news: Mapping[str, Entry]
) -> Iterator[Difference]:
    """In their order funders pay what others lack under `cascade`, and get the fen that are left over in a split.

    A funder that is gone, or is added behind the others, leaves the order as it is.
    """
    if list(news) != [*(name for name in olds if name in news), *(name for name in news if name not in olds)]:
        label = Words("出资方顺序（依次递补）", "order of funders, in which they stand in")
        yield Difference("funder", label, "changed", _in_order(old, olds), _in_order(new, news), "neither")


def _in_order(version: Version, funders: Mapping[str, Entry]) -> Words:
    titles = [version.title(each) for each in funders.values()]
    return Words("、".join(title.zh for title in titles), ", ".join(title.en for title in titles))


def _otherwise(table: str) -> Holders:
    return "depends" if table == "voucher_type[].tier[]" else "neither"


def _fields(table: str, place: str, owner: Words, old: Side, new: Side) -> Iterator[Difference]:
    for field in (each for each in FIELDS if each.table == table):
        before, after = old[0].value(field, old[1]), new[0].value(field, new[1])
        if _same(before, after):
            continue
        kind: Kind = "added" if before is None else "removed" if after is None else "changed"
        shown = old[0].shown(field, before), new[0].shown(field, after)
        yield Difference(
            f"{place}{field.key}", _joined(owner, field.label), kind, *shown, _holders(field, before, after)
        )


def _joined(owner: Words, label: Words) -> Words:
    return Words(f"{owner.zh} {label.zh}", f"{owner.en}: {label.en}") if owner.zh else label


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, list) and isinstance(after, list):
        return Counter(before) == Counter(after)
    return bool(before == after)


def _holders(field: Field, before: Any, after: Any) -> Holders:
    if field.name in _KEPT:
        return "refused"
    if field.name == "campaign.regions":
        return _compared(covers_all(after, before), covers_all(before, after))
    if field.name in _ROAMING:
        return _compared(before == "never", after == "never") if "never" in (before, after) else "neither"
    if field.name in _NEITHER:
        return "neither"
    if field.name in _DEPENDS:
        return "depends"
    if before is None or after is None:
        if field.name in _UNLIMITED:
            return "better" if after is None else "worse"
        return "depends"
    if isinstance(before, list):
        wider, narrower = Counter(before) <= Counter(after), Counter(after) <= Counter(before)
    else:
        wider, narrower = before <= after, after <= before
    return _compared(wider, narrower) if field.name in _MORE else _compared(narrower, wider)


def _compared(better: bool, worse: bool) -> Holders:
    return "depends" if better == worse else "better" if better else "worse"
