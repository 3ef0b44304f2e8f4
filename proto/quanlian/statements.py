"""A region's statement of a window or month, and how a node compares it with its own books (money.md, Statement).

The clearinghouse fills a statement from running totals; a node adds its lines up from the single captures and refunds
it knows of. The two ways share only the shapes in this file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import pairwise
from operator import attrgetter
from typing import Any, NamedTuple

from quanlian.accounts import account_region
from quanlian.apportionment import Leg
from quanlian.errors import BooksDoNotBalance, InvalidInput

ISSUER, REDEEMER, HOME = "issuer", "redeemer", "home"
BALANCE = "balance"
"""Where a role stands in the key of a line, for one of `Statement.balances`."""


class LineKey(NamedTuple):
    """`role` is what the region was: issuer, redeemer, or home (both); `counterpart` the other region."""

    role: str
    counterpart: str
    campaign: str


@dataclass(slots=True)
class LineFigures:
    """Counts, and amounts in fen; order and discount are of captures, refunds apart."""

    captures: int = 0
    order_fen: int = 0
    discount_fen: int = 0
    refunds: int = 0
    refunded_order_fen: int = 0
    refunded_fen: int = 0
    own_share_fen: int = 0
    """What this region's funders bear, net of refunds; of a redeemer its visitors' funds and its merchants."""

    @property
    def net_discount_fen(self) -> int:
        return self.discount_fen - self.refunded_fen


class FunderFigures(NamedTuple):
    """What one funding account was used for against one counterpart, and what refunds gave back to it, in fen."""

    used_fen: int = 0
    refunded_fen: int = 0

    @property
    def net_fen(self) -> int:
        return self.used_fen - self.refunded_fen

    def plus(self, other: FunderFigures) -> FunderFigures:
        return FunderFigures(self.used_fen + other.used_fen, self.refunded_fen + other.refunded_fen)


def of_leg(amount_fen: int) -> FunderFigures:
    """A leg of a capture (positive) or of a refund (negative)."""
    return FunderFigures(amount_fen, 0) if amount_fen > 0 else FunderFigures(0, -amount_fen)


FunderKey = tuple[str, str]
"""A funding account and the counterpart region."""


def net_fen(key: LineKey, figures: LineFigures) -> int:
    """What the region receives (positive) or pays for a line."""
    if key.role == REDEEMER:
        return figures.net_discount_fen - figures.own_share_fen
    return -figures.own_share_fen if key.role == ISSUER else 0


@dataclass(slots=True)
class Statement:
    """One region, one window or month. Amounts in fen, times in UTC seconds.

    The balance is the region's position at the clearinghouse as if every window so far were settled: what it lodged
    and its funders paid ahead there, less what was paid out to it, plus the nets of its windows. `month` is empty on a
    window's statement; on a month's (`2026-05`) `window` is 0 and `windows` are those that opened in it.
    """

    window: int
    region: str
    opened_at: int
    closed_at: int
    opening_fen: int
    lines: dict[LineKey, LineFigures]
    funders: dict[FunderKey, FunderFigures] = field(default_factory=dict)
    """Of each of the region's funding accounts, by counterpart."""
    lodged_fen: int = 0
    """What the bank received from the region while the window was open."""
    paid_out_fen: int = 0
    """What the bank paid to the region while the window was open, less pay-outs that it returned; may be negative."""
    prefunded_fen: int = 0
    """What the region's funders paid ahead there while the window was open, less what went back to them; may be
    negative."""
    month: str = ""
    windows: tuple[int, ...] = ()

    @property
    def net_fen(self) -> int:
        return sum(net_fen(key, figures) for key, figures in self.lines.items())

    @property
    def received_fen(self) -> int:
        return sum(max(0, net_fen(key, figures)) for key, figures in self.lines.items())

    @property
    def paid_fen(self) -> int:
        return self.received_fen - self.net_fen

    @property
    def refunded_fen(self) -> int:
        """Discounts that refunds gave back to funders, on all lines."""
        return sum(figures.refunded_fen for figures in self.lines.values())

    @property
    def closing_fen(self) -> int:
        return self.opening_fen + self.lodged_fen + self.prefunded_fen - self.paid_out_fen + self.net_fen

    @property
    def balances(self) -> dict[LineKey, int]:
        """What is not a line: by `balance`, the region and the balance's name, as a dispute names it."""
        fields = {
            "opening": self.opening_fen,
            "lodged": self.lodged_fen,
            "prefunded": self.prefunded_fen,
            "paid_out": self.paid_out_fen,
            "refunded": self.refunded_fen,
            "closing": self.closing_fen,
        }
        return {LineKey(BALANCE, self.region, name): fen for name, fen in fields.items()}

    @property
    def covers(self) -> tuple[int, ...]:
        """The windows whose captures and refunds it adds up."""
        return self.windows if self.month else (self.window,)

    @property
    def period(self) -> str:
        """How a file or a person names it: `window-7`, or `2026-05`."""
        return self.month or f"window-{self.window}"


def monthly(month: str, statements: Sequence[Statement]) -> Statement:
    """One region's statement of a month from those of its windows, in order.

    Raises BooksDoNotBalance where a window does not open with the balance that the one before closed with.
    """
    first, last = statements[0], statements[-1]
    whole = Statement(
        window=0,
        region=first.region,
        opened_at=first.opened_at,
        closed_at=last.closed_at,
        opening_fen=first.opening_fen,
        lines={},
        lodged_fen=sum(each.lodged_fen for each in statements),
        paid_out_fen=sum(each.paid_out_fen for each in statements),
        prefunded_fen=sum(each.prefunded_fen for each in statements),
        month=month,
        windows=tuple(each.window for each in statements),
    )
    for before, after in pairwise(statements):
        if before.closing_fen != after.opening_fen:
            raise BooksDoNotBalance(
                f"{first.region}: window {before.window} closes with {before.closing_fen} fen, "
                f"window {after.window} opens with {after.opening_fen} fen"
            )
    for each in statements:
        for key, figures in each.lines.items():
            whole.lines[key] = _added(whole.lines.get(key, LineFigures()), figures)
        add_funders(whole.funders, each.funders)
    return whole


def add_funders(whole: dict[FunderKey, FunderFigures], part: Mapping[FunderKey, FunderFigures]) -> None:
    """Take what a part tells of funders into the whole."""
    for funder, figures in part.items():
        known = whole.get(funder)
        whole[funder] = figures if known is None else known.plus(figures)


def _added(one: LineFigures, other: LineFigures) -> LineFigures:
    return LineFigures(*(getattr(one, name) + getattr(other, name) for name in LineFigures.__dataclass_fields__))


def statement_to_json(statement: Statement) -> bytes:
    """The bytes that are signed and carried; keys in a fixed order, lines sorted, each on a line of text of its own."""
    head = {
        "kind": "quanlian statement",
        "version": 1,
        "window": statement.window,
        "month": statement.month,
        "windows": list(statement.covers),
        "region": statement.region,
        "opened_at": statement.opened_at,
        "closed_at": statement.closed_at,
        "opening_fen": statement.opening_fen,
        "lodged_fen": statement.lodged_fen,
        "prefunded_fen": statement.prefunded_fen,
        "paid_out_fen": statement.paid_out_fen,
        "received_fen": statement.received_fen,
        "paid_fen": statement.paid_fen,
        "refunded_fen": statement.refunded_fen,
        "net_fen": statement.net_fen,
        "closing_fen": statement.closing_fen,
    }
    lines = [_line_json(key, statement.lines[key]) for key in sorted(statement.lines)]
    funders = [
        _FUNDER_JSON % (_quoted(account), _quoted(counterpart), *figures, figures.net_fen)
        for (account, counterpart), figures in sorted(statement.funders.items())
    ]
    fields = [_json(head)[1:-1], f'"lines": {_array(lines)}', f'"funders": {_array(funders)}']
    return ("{" + ",\n".join(fields) + "}").encode()


def _line_json(key: LineKey, figures: LineFigures) -> str:
    return _LINE_JSON % (*map(_quoted, key), *_amounts(figures), net_fen(key, figures))


_amounts = attrgetter(*LineFigures.__dataclass_fields__)
_LINE_FIELDS = [f'"{name}": %s' for name in LineKey._fields]
_LINE_FIELDS += [f'"{name}": %d' for name in (*LineFigures.__dataclass_fields__, "net_fen")]
_LINE_JSON = "{" + ", ".join(_LINE_FIELDS) + "}"
_FUNDER_JSON = '{"account": %s, "counterpart": %s, "used_fen": %d, "refunded_fen": %d, "net_fen": %d}'


def _array(rows: Sequence[str]) -> str:
    return "[" + ",".join(f"\n {row}" for row in rows) + "]"


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False)


_quoted = lru_cache(maxsize=65536)(_json)


def json_to_statement(content: bytes) -> Statement:
    """Read a statement. Raises InvalidInput for what is none, or whose totals do not follow from its lines."""
    try:
        data = json.loads(content)
        figures = list(LineFigures.__dataclass_fields__)
        lines = {
            LineKey(line["role"], line["counterpart"], line["campaign"]): LineFigures(
                **{name: _whole(line[name]) for name in figures}
            )
            for line in data["lines"]
        }
        funders = {
            (each["account"], each["counterpart"]): FunderFigures(
                *(_whole(each[name]) for name in FunderFigures._fields)
            )
            for each in data["funders"]
        }
        statement = Statement(
            _whole(data["window"]),
            data["region"],
            _whole(data["opened_at"]),
            _whole(data["closed_at"]),
            _whole(data["opening_fen"]),
            lines,
            funders,
            lodged_fen=_whole(data["lodged_fen"]),
            paid_out_fen=_whole(data["paid_out_fen"]),
            prefunded_fen=_whole(data["prefunded_fen"]),
            month=data["month"],
            windows=tuple(map(_whole, data["windows"])) if data["month"] else (),
        )
        follows = json.loads(statement_to_json(statement))
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"not a statement ({error})", place="statement") from error
    for name, value in follows.items():
        if data.get(name) != value:
            said = f"says {data.get(name)}, its lines give {value}"
            told = "disagree in themselves" if isinstance(value, list) else said
            raise InvalidInput(told, place=f"statement.{name}", remedy="ask the clearinghouse for the statement again")
    return statement


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not a whole number")
    return value


class ItemFigures(NamedTuple):
    """A capture (positive) or refund (negative) as a node knows it; the node's `side` was merchant or funder.

    It may stand for as many as `times` says, its amounts being their sums.
    """

    side: str
    issuer: str
    redeeming_region: str
    campaign: str
    order_fen: int
    discount_fen: int
    legs: Sequence[Leg]
    times: int = 1


class Sums(NamedTuple):
    """What a statement says by line, and by funding account and counterpart."""

    lines: dict[LineKey, LineFigures]
    funders: dict[FunderKey, FunderFigures]


def add_up(region: str, items: Iterable[ItemFigures]) -> Sums:
    """The lines and funders of a statement, from single captures and refunds of one window."""
    lines: dict[LineKey, LineFigures] = {}
    funders: dict[FunderKey, FunderFigures] = {}
    is_own = cache(lambda account: account_region(account) == region)
    for item in items:
        away = item.issuer != item.redeeming_region
        counterpart = item.redeeming_region if item.issuer == region else item.issuer
        own = [leg for leg in item.legs if is_own(leg.account)]
        if away or item.side == "funder":
            add_funders(funders, {(leg.account, counterpart): of_leg(leg.amount_fen) for leg in own if leg.amount_fen})
        if away or item.side == "merchant":
            role = HOME if not away else (ISSUER if item.side == "funder" else REDEEMER)
            _count(lines.setdefault(LineKey(role, counterpart, item.campaign), LineFigures()), item, own)
    return Sums(lines, funders)


def _by_key(
    lines: Mapping[LineKey, LineFigures], funders: Mapping[FunderKey, FunderFigures]
) -> dict[tuple[str, ...], Any]:
    sides: dict[tuple[str, ...], Any] = dict(lines.items())
    sides.update(funders.items())
    return sides


def _count(figures: LineFigures, item: ItemFigures, own: Sequence[Leg]) -> None:
    if item.discount_fen < 0 or item.order_fen < 0:
        figures.refunds += item.times
        figures.refunded_order_fen -= item.order_fen
        figures.refunded_fen -= item.discount_fen
    else:
        figures.captures += item.times
        figures.order_fen += item.order_fen
        figures.discount_fen += item.discount_fen
    figures.own_share_fen += sum(leg.amount_fen for leg in own)


class Difference(NamedTuple):
    """A line that does not agree, with both sides; None where one side lacks it."""

    key: tuple[str, ...]
    statement: Any
    own: Any


class Reconciliation(NamedTuple):
    """The lists of money.md; a statement of which none is missing, extra or different is fully matched."""

    matched: list[tuple[str, ...]]
    missing: list[Difference]
    extra: list[Difference]
    different: list[Difference]
    unchecked: list[Difference]
    """Money at the bank of which the region keeps no record of its own: only the statement tells it."""

    @property
    def fully_matched(self) -> bool:
        return not (self.missing or self.extra or self.different)


def reconcile(
    statement: Statement,
    lines: Mapping[LineKey, LineFigures],
    funders: Mapping[FunderKey, FunderFigures],
    balances: Mapping[str, int | None],
) -> Reconciliation:
    """Compare a statement with a node's own sums. Missing: ours only; extra: the statement's only.

    `balances` are ours by name: None for money that the region keeps no record of, absent where ours cannot be told.
    """
    result = Reconciliation([], [], [], [], [])
    theirs = _by_key(statement.lines, statement.funders) | statement.balances
    ours = _by_key(lines, funders)
    ours |= {LineKey(BALANCE, statement.region, name): fen for name, fen in balances.items()}
    for key in sorted(theirs.keys() | ours.keys()):
        if key not in theirs:
            result.missing.append(Difference(key, None, ours[key]))
        elif key not in ours:
            result.extra.append(Difference(key, theirs[key], None))
        elif ours[key] is None and theirs[key]:
            result.unchecked.append(Difference(key, theirs[key], None))
        elif ours[key] is not None and theirs[key] != ours[key]:
            result.different.append(Difference(key, theirs[key], ours[key]))
        else:
            result.matched.append(tuple(key))
    return result
