"""What handed-over receipts rely on, and only people can enter again: regions, their keys, agreements, visitors' funds.

The operator entered it after the copy was made, so that no node brings it. It is told before anything is applied,
since a capture without it would be taken back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from clearinghouse.desk import Desk
from clearinghouse.engine import Engine
from clearinghouse.relearning import PostingId, Waiting, posting_id
from custodian.withdrawals import Withdrawal
from pki.trust import Keyring
from quanlian.accounts import VISITORS
from quanlian.errors import InvalidInput, UnknownKey
from quanlian.redemptions import State
from quanlian.regions import region
from quanlian.signing import KEY_ID_BYTES
from quanlian.v1 import recovery_pb2 as pb
from quanlian.v1 import redemption_pb2
from quanlian.v1.signed_pb2 import Leg
from quanlian.wire import Purchase

_SIGNED_BY_REGIONS = ("terms", "change", "hand_over")


class Reliance:
    """Counts, over receipts in the order of their times, what the books must have to take them."""

    def __init__(self, engine: Engine, keyring: Keyring, taken_back: Mapping[PostingId, Withdrawal]) -> None:
        self._engine = engine
        self._keyring = keyring
        self._taken_back = taken_back
        self._regions: Counter[str] = Counter()
        self._keys: Counter[tuple[str, str]] = Counter()
        self._agreements: Counter[str] = Counter()
        self._funds: Counter[str] = Counter()
        self._used_fen: Counter[str] = Counter()
        """By account of a visitors' fund: what postings that are to be booked take of it, refunds subtracted."""
        self._held: dict[bytes, tuple[Leg, ...]] = {}
        self._ended: set[bytes] = set()

    def count(self, receipts: Iterable[Waiting]) -> None:
        """A page of them. What cannot be read relies on nothing, and neither does what the books have."""
        page = [each for each in receipts if each.fault is None]
        with self._engine.database.snapshot() as transaction:
            desk = self._engine.desk(transaction)
            received = [each.received for each in page if each.received is not None]
            desk.books.load_requests((each.participant, each.request_id) for each in received)
            for each in page:
                if each.kind in _SIGNED_BY_REGIONS:
                    self._count_signer(each)
                elif each.received is not None and not self._is_booked(desk, each):
                    self._count_redemption(desk, each)

    def _count_signer(self, each: Waiting) -> None:
        self._regions[each.region] += 1
        key_id = getattr(each.receipt, each.kind).key_id
        if len(key_id) != KEY_ID_BYTES:
            return
        try:
            self._keyring.key(key_id)
        except UnknownKey:
            self._keys[each.region, key_id.hex()] += 1

    def _is_booked(self, desk: Desk, each: Waiting) -> bool:
        """Or was taken back: then it is not booked again."""
        assert each.received is not None
        posting = each.posting
        if desk.books.request((each.received.participant, each.received.request_id)) is not None:
            return True
        return posting is not None and posting_id(posting) in self._taken_back

    def _count_redemption(self, desk: Desk, each: Waiting) -> None:
        assert each.received is not None
        answer, posting = redemption_pb2.RedemptionAnswer(), each.posting
        if each.kind == "answered":
            answer.ParseFromString(each.receipt.answered.answer)
        if posting is None and not answer.redemption_id:
            return
        item = each.received.item
        issuer = item.subject.key.issuer if item and isinstance(item.subject, Purchase) else ""
        self._regions.update({each.received.redeeming_region, posting.issuer if posting else issuer} - {""})
        if answer.agreement:
            self._agreements[answer.agreement] += 1
        if posting is None:
            self._count_hold(desk, answer)
        else:
            self._count_posting(desk, posting)

    def _count_hold(self, desk: Desk, answer: redemption_pb2.RedemptionAnswer) -> None:
        """One that is still good takes its money, unless it ended: answers of one second come in any order."""
        if answer.state != redemption_pb2.REDEMPTION_STATE_AUTHORIZED:
            self._end(answer.redemption_id)
        elif answer.expires_at > desk.at and answer.redemption_id not in self._ended:
            self._held[answer.redemption_id] = tuple(answer.legs)
            self._funds.update(list(_funds(answer.legs)))

    def _count_posting(self, desk: Desk, posting: redemption_pb2.Posting) -> None:
        known = desk.books.redemption(posting.redemption_id)
        held_here = known is not None and known.state is State.AUTHORIZED and posting.number == 1
        if (known is not None and known.postings >= posting.number) or held_here:
            return
        self._end(posting.redemption_id)
        funds = _funds(posting.legs)
        self._funds.update(list(funds))
        for account, fen in funds.items():
            self._used_fen[account] += fen

    def _end(self, redemption_id: bytes) -> None:
        self._ended.add(redemption_id)
        self._held.pop(redemption_id, None)

    def lacking(self) -> list[pb.Lacking]:
        """What the books do not have of all this, in the order in which it can be entered."""
        with self._engine.database.snapshot() as transaction:
            desk = self._engine.desk(transaction)
            return [*self._regions_lacking(desk), *self._agreements_lacking(desk), *self._funds_lacking(desk)]

    def _regions_lacking(self, desk: Desk) -> Iterator[pb.Lacking]:
        for code in sorted(self._regions):
            if code not in desk.regions:
                yield pb.Lacking(
                    kind=pb.LACKING_KIND_REGION,
                    region=code,
                    receipts=self._regions[code],
                    remedy=f"quanlian clearinghouse enrol {code} CHAIN... {_names(code)}",
                )
        for code, key_id in sorted(self._keys):
            if code in desk.regions:
                yield pb.Lacking(
                    kind=pb.LACKING_KIND_KEY,
                    region=code,
                    name=key_id,
                    receipts=self._keys[code, key_id],
                    remedy=f"quanlian clearinghouse enrol {code} CHAIN... {_names(code)}",
                )

    def _agreements_lacking(self, desk: Desk) -> Iterator[pb.Lacking]:
        signed = {each.name for each in desk.agreements()}
        for name in sorted(self._agreements.keys() - signed):
            yield pb.Lacking(
                kind=pb.LACKING_KIND_AGREEMENT,
                name=name,
                receipts=self._agreements[name],
                remedy="quanlian agreement propose FILE; quanlian agreement sign FILE",
            )

    def _funds_lacking(self, desk: Desk) -> Iterator[pb.Lacking]:
        used_fen = self._used_fen.copy()
        for legs in self._held.values():
            for account, fen in _funds(legs).items():
                used_fen[account] += fen
        desk.books.load_balances(sorted(used_fen))
        for account in sorted(used_fen):
            budget_fen = desk.books.balance(account).limit_fen
            needed_fen = budget_fen + used_fen[account] - desk.books.free_fen(account)
            if needed_fen > budget_fen:
                _, code, year, _, funder = account.split("/")
                yield pb.Lacking(
                    kind=pb.LACKING_KIND_VISITORS_FUND,
                    region=code,
                    name=funder,
                    fiscal_year=int(year),
                    budget_fen=budget_fen,
                    needed_fen=needed_fen,
                    receipts=self._funds[account],
                    remedy=f"quanlian clearinghouse visitors {code} {year} "
                    f"{funder}=WEIGHT:{_plain_yuan(needed_fen)} ... --rule RULE",
                )


def _funds(legs: Iterable[Leg]) -> Counter[str]:
    """What legs take of visitors' funds, in fen by account."""
    found: Counter[str] = Counter()
    for leg in legs:
        kind, *dimensions = leg.account.split("/")
        if kind == "funding" and len(dimensions) == 4 and dimensions[2] == VISITORS and dimensions[1].isdecimal():
            found[leg.account] += leg.amount_fen
    return found


def _plain_yuan(fen: int) -> str:
    """As commands take it, without separators."""
    return f"{fen // 100}.{fen % 100:02d}"


def _names(code: str) -> str:
    try:
        return f"--name-zh {region(code).name} --name-en NAME"
    except InvalidInput:
        return "--name-zh NAME --name-en NAME"
