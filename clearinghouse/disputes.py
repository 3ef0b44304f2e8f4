"""Disputes: lines of a statement that a region does not accept. The window settles as calculated; an upheld dispute
ends in adjusting entries in the open window that name it (money.md, Statement).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from chassis.database import Transaction
from clearinghouse import schema
from clearinghouse.desk import Desk
from clearinghouse.domain.calendar_days import last_day
from clearinghouse.signatures import verify_signed
from clearinghouse.silence import deadline
from custodian import schema as books_schema
from pki.trust import Keyring
from quanlian import wire
from quanlian.accounts import account_region, is_memo
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import InvalidInput
from quanlian.ledger import Movement
from quanlian.money import yuan
from quanlian.redemptions import Redemption, adjust
from quanlian.signing import Signer, digest
from quanlian.statements import BALANCE, HOME, ISSUER, REDEEMER, LineKey, Statement, json_to_statement
from quanlian.v1 import clearing_operator_pb2, settlement_pb2, signed_pb2

OPEN, UPHELD, REJECTED = "open", "upheld", "rejected"
DISPUTE, ADJUSTMENT = "dispute", "adjustment"
"""Kinds of the journal's entries."""
TAKEN = "dispute-taken"


@dataclass(slots=True)
class TakeDispute:
    """A region's signed dispute, its signature checked before; taken once. Returns since when it is here.

    `taken_at` is when this party took it in a former life, by its own signature; 0 where nothing shows that it did.
    """

    message: signed_pb2.SignedMessage
    dispute: settlement_pb2.Dispute
    taken_at: int = 0

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> int:
        """Raises InvalidInput for a line that the statement does not have, unless it names the region's own redemptions
        of it: whether it was left out is for the operator to find out. Likewise after the dispute deadline.
        """
        dispute, table = self.dispute, schema.dispute
        known = desk.transaction.select_keys(
            table, [table.c.region, table.c.number], [(dispute.region, dispute.number)]
        )
        if known:
            if known[0].body != self.message.body:
                raise InvalidInput(
                    f"第{dispute.number}号是另一份异议 · number {dispute.number} is another dispute",
                    place="dispute",
                    remedy="先恢复该地区的节点 · let the region's node recover first, which learns its disputes again",
                )
            return int(known[0].raised_at)
        raised_at = self.taken_at or desk.at
        statement = _statement(desk, dispute.region, dispute.window)
        _require_in_time(desk, statement, raised_at)
        for line in dispute.lines:
            if _key(line) not in statement.lines.keys() | statement.balances.keys():
                _require_own(desk, dispute, line)
        desk.transaction.insert(
            table,
            [
                {
                    "region": dispute.region,
                    "number": dispute.number,
                    "settlement_window": dispute.window,
                    "body": self.message.body,
                    "key_id": self.message.key_id,
                    "signature": self.message.signature,
                    "raised_at": raised_at,
                    "outcome": OPEN,
                    "resolution": "",
                    "resolved_at": 0,
                }
            ],
        )
        desk.books.record(DISPUTE, desk.at, f"{dispute.region}/{dispute.number}", self.message.signature)
        return raised_at


@dataclass(slots=True)
class Resolve:
    """Uphold a dispute by adjusting redemptions of its lines, or reject it. Each dispute is decided once; the same
    decision again changes nothing, so that a command which never saw its answer can be sent again.
    """

    region: str
    number: int
    upheld: bool
    why: str
    adjustments: Sequence[tuple[bytes, int]]

    @property
    def reference(self) -> str:
        """Of the adjusting entry."""
        return f"dispute {self.region}/{self.number}"

    @property
    def outcome(self) -> str:
        return UPHELD if self.upheld else REJECTED

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> clearing_operator_pb2.DisputeRecord:
        table = schema.dispute
        rows = desk.transaction.select_keys(table, [table.c.region, table.c.number], [(self.region, self.number)])
        if not rows:
            raise InvalidInput(
                f"{self.region}没有第{self.number}号异议 · no dispute {self.number} of {self.region}",
                place="dispute",
                remedy="先列出异议 · list them: quanlian clearinghouse disputes",
            )
        if rows[0].outcome != OPEN:
            self._require_the_same(desk, rows[0])
            return record(rows[0])
        dispute = settlement_pb2.Dispute.FromString(rows[0].body)
        self._require_reasoned(dispute)
        _require_named_once([redemption_id for redemption_id, _ in self.adjustments])
        adjusted = [self._adjust(desk, dispute, *each) for each in self.adjustments]
        values: dict[str, Any] = {
            "outcome": self.outcome,
            "resolution": self.why,
            "resolved_at": desk.at,
        }
        desk.transaction.update(table, {"region": self.region, "number": self.number}, values)
        self._tell(desk, dispute, adjusted)
        return clearing_operator_pb2.DisputeRecord(dispute=dispute, **values)

    def _require_the_same(self, desk: Desk, decided: Any) -> None:
        """Raises InvalidInput where the dispute was decided otherwise."""
        adjusted = [(each.redemption_id, each.amount_fen) for each in booked(desk.transaction, self.reference)]
        told = (self.outcome, self.why, sorted(self.adjustments))
        if told != (decided.outcome, decided.resolution, sorted(adjusted)):
            raise InvalidInput(
                f"已处理 · is {decided.outcome} already",
                place=f"dispute {self.region}/{self.number}",
                remedy="另有问题请该地区另提异议 · let the region raise another for what is left",
            )

    def _require_reasoned(self, dispute: settlement_pb2.Dispute) -> None:
        """A left out line may be upheld with no money going back, as nothing of it was booked; a balance too, which
        is put right by the deposit or pay-out that is missing.
        """
        adjusts = self.upheld and not any(_is_left_out(line) or line.role == BALANCE for line in dispute.lines)
        if not self.why or (adjusts and not self.adjustments) or (self.adjustments and not self.upheld):
            raise InvalidInput(
                "须有理由；成立的须有调整，驳回的不得有 · needs a reason, and adjustments if and only if it is upheld",
                place="dispute",
                remedy="写明理由，成立的逐笔写明金额 · say why, and name each redemption with its amount to uphold it",
            )

    def _adjust(self, desk: Desk, dispute: settlement_pb2.Dispute, redemption_id: bytes, amount_fen: int) -> Redemption:
        before = desk.books.redemption(redemption_id)
        if before is None or not _is_of_a_line(desk, dispute, before):
            raise InvalidInput(
                f"该核销不在所异议的行内 · redemption {redemption_id.hex()} is on none of the disputed lines",
                place=f"dispute {self.region}/{self.number}",
                remedy="写所异议各行的核销 · name redemptions of the disputed lines",
            )
        voucher = desk.books.voucher(before.voucher)
        assert voucher is not None
        outcome = adjust(before, voucher, amount_fen, desk.credit(before), desk.window, desk.at)
        desk.books.apply(outcome)
        desk.applied(before, outcome)
        assert outcome.posting is not None
        _require_not_its_loss(dispute, before, outcome.movements)
        desk.tell(before.redeeming_region, adjustment=wire.posting_message(outcome.posting, outcome.redemption))
        return before

    def _tell(self, desk: Desk, dispute: settlement_pb2.Dispute, adjusted: Sequence[Redemption]) -> None:
        """The region that raised it hears how it was decided; so does the other region of what was adjusted."""
        parties = {region for each in adjusted for region in (each.voucher.issuer, each.redeeming_region)}
        for region in sorted({dispute.region} | parties):
            decision = settlement_pb2.DisputeDecision(
                dispute=dispute if region == dispute.region else _as_told_to(region, dispute),
                outcome=self.outcome,
                why=self.why,
                at=desk.at,
                booked=[
                    settlement_pb2.BookedAdjustment(
                        redemption_id=each.id, amount_fen=fen, entry=desk.books.next_entry, window=desk.window
                    )
                    for each, (_, fen) in sorted(
                        zip(adjusted, self.adjustments, strict=True), key=lambda pair: pair[0].id
                    )
                    if region in (dispute.region, each.voucher.issuer, each.redeeming_region)
                ],
            )
            desk.tell(region, dispute_decided=decision)


def disputes_of(transaction: Transaction, region: str, signer: Signer) -> list[settlement_pb2.TakenDispute]:
    """A region's disputes in their order, each with this party's word that it has it."""
    table = schema.dispute
    rows = transaction.connection.execute(table.select().where(table.c.region == region).order_by(table.c.number))
    found = []
    for row in rows:
        message = signed_pb2.SignedMessage(body=row.body, key_id=row.key_id, signature=row.signature)
        taken = sign_taken(message, row.raised_at, signer)
        found.append(settlement_pb2.TakenDispute(dispute=message, taken=taken))
    return found


def sign_taken(message: signed_pb2.SignedMessage, at: int, signer: Signer) -> signed_pb2.SignedMessage:
    """By which a region shows that it disputed in time, should these books be restored to before."""
    body = settlement_pb2.DisputeTaken(dispute_digest=digest(DISPUTE, message.body), at=at).SerializeToString()
    return signed_pb2.SignedMessage(body=body, key_id=signer.key_id, signature=signer.sign(TAKEN, body))


def taken_before(message: signed_pb2.SignedMessage, taken: signed_pb2.SignedMessage, keyring: Keyring) -> int:
    """When this party took a dispute, by its own word; 0 without one. Raises TrustError or InvalidInput for a word that
    it did not sign, or of another dispute.
    """
    if not taken.body:
        return 0
    verify_signed(keyring, taken, TAKEN, CLEARINGHOUSE)
    said = wire.parse(settlement_pb2.DisputeTaken, taken.body, TAKEN)
    if said.dispute_digest != digest(DISPUTE, message.body):
        raise InvalidInput("所附回执是另一份异议的 · is the receipt of another dispute", place="dispute.taken")
    return said.at


def open_disputes_of(desk: Desk, redemption_id: bytes) -> list[tuple[str, int]]:
    """Region and number of each dispute that nobody has decided and that a redemption may be adjusted by."""
    redemption, table = desk.books.redemption(redemption_id), schema.dispute
    if redemption is None:
        return []
    rows = desk.transaction.connection.execute(table.select().where(table.c.outcome == OPEN)).all()
    disputes = [settlement_pb2.Dispute.FromString(row.body) for row in rows]
    return sorted((each.region, each.number) for each in disputes if _is_of_a_line(desk, each, redemption))


def booked(transaction: Transaction, reference: str) -> list[settlement_pb2.BookedAdjustment]:
    """What a dispute's adjusting entry, found by its reference, gave back of each redemption."""
    posting, entry = books_schema.posting.c, books_schema.entry.c
    query = (
        select(posting.redemption_id, posting.discount_fen, posting.entry, posting.settlement_window)
        .join_from(
            books_schema.entry,
            books_schema.posting,
            (posting.settlement_window == entry.settlement_window) & (posting.entry == entry.number),
        )
        .where(entry.kind == ADJUSTMENT, entry.reference == reference)
        .order_by(posting.redemption_id)
    )
    return [
        settlement_pb2.BookedAdjustment(
            redemption_id=row.redemption_id,
            amount_fen=-row.discount_fen,
            entry=row.entry,
            window=row.settlement_window,
        )
        for row in transaction.connection.execute(query)
    ]


def record(row: Any) -> clearing_operator_pb2.DisputeRecord:
    """A dispute as it stands."""
    return clearing_operator_pb2.DisputeRecord(
        dispute=settlement_pb2.Dispute.FromString(row.body),
        outcome=row.outcome,
        resolution=row.resolution,
        resolved_at=row.resolved_at,
    )


def _as_told_to(region: str, dispute: settlement_pb2.Dispute) -> settlement_pb2.Dispute:
    """Another region's dispute: of its lines those with this region, and not who raised it."""
    told = settlement_pb2.Dispute(region=dispute.region, number=dispute.number, window=dispute.window, at=dispute.at)
    told.why = dispute.why
    told.lines.extend(line for line in dispute.lines if line.counterpart == region)
    return told


def _require_not_its_loss(
    dispute: settlement_pb2.Dispute, redemption: Redemption, movements: Sequence[Movement]
) -> None:
    """Raises InvalidInput where the region that disputed would be the poorer for being right.

    An adjusting entry gives back to funders; it cannot give a redeeming region more than the discount was split into.
    """
    moved = [each for each in movements if not is_memo(each.account)]
    lost = sum(each.posted_fen for each in moved if account_region(each.account) == dispute.region)
    if lost > 0:
        id, region = redemption.id.hex(), dispute.region
        raise InvalidInput(
            f"核销 {id} 的调整使提出异议的{region}少得{yuan(lost)}元：调整只能退回出资方，不能给核销地区补款 · "
            f"adjusting redemption {id} costs {region}, which disputed, {yuan(lost)} yuan: an adjusting entry gives "
            "back to funders and pays a redeeming region nothing more",
            place=f"dispute {region}/{dispute.number}",
            remedy="多计的，由发券地区就同一核销提出异议；少付的，由两地区另行结算，并在驳回理由中写明 · "
            "where too much was counted, let the issuing region dispute it; where too little was paid, have the two "
            "regions settle it between them and say so in the reason of the rejection",
        )


def _require_named_once(redemption_ids: Sequence[bytes]) -> None:
    for redemption_id, times in Counter(redemption_ids).items():
        if times > 1:
            raise InvalidInput(
                f"核销 {redemption_id.hex()} 写了{times}次 · redemption {redemption_id.hex()} is named {times} times",
                place="dispute",
                remedy="每笔核销只写一次，写明退回总额 · name each redemption once, with all that goes back of it",
            )


def _require_in_time(desk: Desk, statement: Statement, raised_at: int) -> None:
    until = deadline(desk, statement)
    if raised_at >= until:
        raise InvalidInput(
            f"场次{statement.window}的异议期至{last_day(until)}，已逾期 · "
            f"window {statement.window} could be disputed until {last_day(until)}",
            place="dispute",
            remedy="与清分平台和对方地区协商 · settle it with the clearinghouse and the other region",
        )


def _is_of_a_line(desk: Desk, dispute: settlement_pb2.Dispute, redemption: Redemption) -> bool:
    """Whether it was posted in the disputed window on one of the disputed lines, or is named as left out of one."""
    posting, line = books_schema.posting, _line_of(dispute.region, redemption)
    named = {redemption_id for each in dispute.lines for redemption_id in each.redemption_ids}
    key = (redemption.id, dispute.window)
    posted = desk.transaction.select_keys(posting, [posting.c.redemption_id, posting.c.settlement_window], [key])
    return line in map(_key, dispute.lines) and (redemption.id in named or bool(posted))


def _is_left_out(line: settlement_pb2.LineRef) -> bool:
    """Whether a region disputes that the statement lacks the line."""
    return bool(line.redemption_ids)


def _require_own(desk: Desk, dispute: settlement_pb2.Dispute, line: settlement_pb2.LineRef) -> None:
    """Raises InvalidInput for a line that the region cannot have: one without redemptions, or of others."""
    name = "/".join(_key(line))
    if line.role not in (ISSUER, REDEEMER, HOME) or line.counterpart not in desk.regions or not _is_left_out(line):
        raise InvalidInput(
            f"场次{dispute.window}的对账单没有这一行 · {name} is no line of window {dispute.window}",
            place="dispute",
            remedy="照对账单的行填写；对账单漏列的，附本地区账上的核销 · "
            "name lines as the statement has them; if one was left out, the redemptions of it on the region's books",
        )
    desk.books.load_redemptions(line.redemption_ids)
    for redemption_id in line.redemption_ids:
        known = desk.books.redemption(redemption_id)
        if known is not None and _line_of(dispute.region, known) != _key(line):
            raise InvalidInput(
                f"核销 {redemption_id.hex()} 不属于 {name} · redemption {redemption_id.hex()} is not of {name}",
                place="dispute",
                remedy="附该行的核销 · name redemptions of that line",
            )


def _line_of(region: str, redemption: Redemption) -> LineKey:
    """The line of a region's statement on which a redemption stands."""
    issuer, redeemer = redemption.voucher.issuer, redemption.redeeming_region
    if issuer == redeemer:
        return LineKey(HOME, redeemer, redemption.campaign)
    role, counterpart = (ISSUER, redeemer) if issuer == region else (REDEEMER, issuer)
    return LineKey(role, counterpart, redemption.campaign)


def _key(line: settlement_pb2.LineRef) -> LineKey:
    return LineKey(line.role, line.counterpart, line.campaign)


def _statement(desk: Desk, region: str, window: int) -> Statement:
    table = schema.statement
    rows = desk.transaction.select_keys(table, [table.c.settlement_window, table.c.region], [(window, region)])
    if not rows:
        raise InvalidInput(
            f"{region}没有场次{window}的对账单 · no statement of {region} for window {window}",
            place="dispute",
            remedy="写有对账单的场次 · name a window that has one",
        )
    return json_to_statement(rows[0].document)
