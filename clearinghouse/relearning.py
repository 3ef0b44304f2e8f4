"""One thing at a time that a node handed over, learned again: documents, custody, what was answered or told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from typing import Any

from chassis.database import Transaction
from clearinghouse.custody import read_hand_over
from clearinghouse.desk import Desk
from clearinghouse.disputes import open_disputes_of
from clearinghouse.engine import Engine
from clearinghouse.publishing import PublishChange, keep_terms
from clearinghouse.recall import relearn_return
from clearinghouse.recovery_desk import RecoveryDesk
from clearinghouse.signatures import verify_signed
from clearinghouse.signed_answers import NOT_HERE, Different, NotYet, book_signed, other_window
from clearinghouse.suspending import TakeSuspension
from custodian import schema as custodian_schema
from custodian.campaigns import verify_change
from custodian.decisions import Elsewhere, Received, decide
from custodian.deny_lists import keep_deny_list, newest_deny_list
from custodian.evidence import SignedBatch, shown_batch
from custodian.receiving import receive
from custodian.suspensions import verify_suspension
from custodian.withdrawals import Withdrawal
from pki.denylist import DenyList, load_denylist
from pki.trust import Keyring
from quanlian import hand_overs, wire
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import BadSignature, InvalidInput, QuanlianError
from quanlian.evidence import ANSWER_KIND, REQUEST_KIND, Message
from quanlian.money import yuan
from quanlian.v1 import custody_pb2, recovery_pb2, redemption_pb2, signed_pb2
from quanlian.vouchers import PACK_ID_BYTES

DOCUMENTS = ("terms", "change")
"""What everything else depends on, learned first."""
IN_TIME = ("hand_over", "custody_return", "answered", "told", "suspension", "deny_list")
"""The rest, in the order of their times; of one second in this order."""
REDEMPTION_ID_BYTES = 16
PostingId = tuple[bytes, int, bytes]
Report = recovery_pb2.RecoveryReport


class Contradicted(Different):
    """Somebody's word against what stands in these books, which is left as it is."""


@dataclass(slots=True)
class Waiting:
    """A receipt that is not applied yet.

    `posting` is the capture or refund that its sender or this party's own signature vouches for, with the id of its
    request; `fault` why the receipt cannot even be read.
    """

    region: str
    id: bytes
    kind: str
    receipt: custody_pb2.Receipt
    received: Received | None = None
    posting: redemption_pb2.Posting | None = None
    fault: Exception | None = None

    @property
    def name(self) -> tuple[str, str, bytes]:
        return self.region, self.kind, self.id


def order_of(row: Any) -> tuple[int, int, int, bytes]:
    """The order in which stored receipts are tried: an issuer's documents by their numbers, the rest by time."""
    if row.kind in DOCUMENTS:
        return DOCUMENTS.index(row.kind), row.at, 0, row.id
    return len(DOCUMENTS), row.at, IN_TIME.index(row.kind), row.id


def groups(page: Sequence[Waiting]) -> Iterator[list[Waiting]]:
    """What can be learned in one transaction, in order: answers of one second, or postings; all else by itself.

    In a time in which much was redeemed these are many.
    """
    numbers = count()

    def key(each: Waiting) -> tuple[Any, ...]:
        if each.kind in ("answered", "told") and each.fault is None:
            return each.kind, _decided_at(each)
        return (next(numbers),)

    for _, group in groupby(page, key):
        yield list(group)


def _decided_at(each: Waiting) -> int:
    if each.kind == "told":
        return each.receipt.told.at
    return redemption_pb2.RedemptionAnswer.FromString(each.receipt.answered.answer).decided_at


def posting_id(posting: redemption_pb2.Posting) -> PostingId:
    """What tells a posting from a later one that got its number, because it was taken back, by another request."""
    return posting.redemption_id, posting.number, posting.request_id


class Relearning:
    """Reads and applies receipts to a copy of incarnation `restored`; what was `taken_back` is not booked again."""

    def __init__(
        self,
        engine: Engine,
        keyring: Keyring,
        pending: Mapping[tuple[str, bytes], bytes],
        taken_back: Mapping[PostingId, Withdrawal],
        restored: int,
    ) -> None:
        self._engine = engine
        self._keyring = keyring
        self._pending = pending
        self._taken_back = taken_back
        self._restored = restored
        self._take: dict[str, Callable[[Desk, Waiting, Report], None]] = {
            "terms": self._take_terms,
            "change": self._take_change,
            "suspension": self._take_suspension,
            "deny_list": self._take_deny_list,
            "hand_over": self._take_hand_over,
        }
        self._book: dict[str, Callable[[RecoveryDesk, Waiting, bool, Report], None]] = {
            "custody_return": self._take_return,
            "answered": self._book_answer,
            "told": self._post_again,
        }

    # Reading

    def read(self, row: Any) -> Waiting:
        """A stored receipt, signatures inside an item checked; one that cannot be read says why when it is applied."""
        waiting = Waiting(row.region, row.id, row.kind, custody_pb2.Receipt.FromString(row.body))
        try:
            if waiting.kind == "answered":
                self._read_answered(waiting)
            elif waiting.kind == "told":
                self._read_told(waiting)
        except Exception as error:
            waiting.fault = error
        return waiting

    def _read_answered(self, each: Waiting) -> None:
        signed = each.receipt.answered
        message = Message(ANSWER_KIND, signed.answer, signed.hashes, signed.key_id, signed.signature)
        key = self._keyring.verify(signed.key_id, ANSWER_KIND, message.digest, signed.signature)
        if key.owner != CLEARINGHOUSE or key.purpose != "message" or message.position < 0:
            raise BadSignature(
                f"答复由 {key.owner} 的 {key.purpose} 密钥签名 · "
                f"an answer is signed by {key.owner}'s key for {key.purpose}"
            )
        answer = wire.parse(redemption_pb2.RedemptionAnswer, signed.answer, "answer")
        if answer.HasField("posting"):
            if answer.posting.redeeming_region != each.region:
                raise Different(
                    f"应由 {answer.posting.redeeming_region} 交回 · is {answer.posting.redeeming_region}'s to hand over"
                )
            each.posting = redemption_pb2.Posting.FromString(answer.posting.SerializeToString())
            each.posting.request_id = answer.request_id
        each.received = self._received(each.region, signed.item, answer.redemption_id, self._as_sent(each))
        if each.received.request_id != answer.request_id:
            raise Different("答复与请求不对应 · the answer is to another request")

    def _read_told(self, each: Waiting) -> None:
        told = each.receipt.told
        if told.issuer != each.region:
            raise Different(f"是 {told.issuer} 的券 · is of {told.issuer}'s vouchers")
        ids = len(told.redemption_id), len(told.pack_id)
        if told.number < 1 or told.index >= wire.MAXIMUM_VOUCHERS or ids != (REDEMPTION_ID_BYTES, PACK_ID_BYTES):
            raise InvalidInput("不是某张券的入账 · names no posting of a voucher", place="told")
        each.posting = told
        item = self._pending.get((told.redeeming_region, told.request_id))
        if item is not None:
            each.received = self._received(told.redeeming_region, item, told.redemption_id)

    def _received(self, region: str, item: bytes, redemption_id: bytes, batch: SignedBatch | None = None) -> Received:
        return receive(
            item,
            participant=region,
            acquirer="",
            redeeming_region=region,
            redemption_id=redemption_id,
            verifier=self._keyring,
            batch=batch,
            limit=wire.MAX_FORWARDED_BYTES,
        )

    def _as_sent(self, each: Waiting) -> SignedBatch | None:
        """An item with its node's signature, to be shown to that node if it has to recover in its turn.

        None where the signature is not the node's: what was answered counts by this party's own.
        """
        shown = each.receipt.answered
        item, key_id, signature = shown.item, shown.item_key_id, shown.item_signature
        message = Message(REQUEST_KIND, item, b"".join(wire.item_hashes([item])), key_id, signature)
        try:
            key = self._keyring.verify(key_id, REQUEST_KIND, message.digest, signature)
        except QuanlianError:
            return None
        mine = (key.owner, key.purpose) == (each.region, "message")
        return shown_batch(message, each.receipt.at) if mine else None

    # Applying

    def apply(self, group: Sequence[Waiting], over: bool, report: Report) -> None:
        """Learn one of `groups`, in a transaction of its own, all or nothing. Raises why not, or not yet; `over` as of
        `RecoveryDesk.free`.
        """
        for each in group:
            if each.fault is not None:
                raise each.fault
        answers = report.answers
        try:
            with self._engine.database.transaction() as transaction:
                self._learn(transaction, group, over, report)
        except Exception:
            report.answers = answers
            raise

    def _learn(self, transaction: Transaction, group: Sequence[Waiting], over: bool, report: Report) -> None:
        kind, regions = group[0].kind, {each.region for each in group}
        desk: Desk
        if kind in self._book:
            desk = booking = RecoveryDesk(transaction, self._engine.shelf, self._engine.signer)
            asked = [each.received for each in group if each.received is not None]
            desk.books.load_requests((each.participant, each.request_id) for each in asked)
            for each in group:
                self._book[kind](booking, each, over, report)
        else:
            desk = self._engine.desk(transaction)
            for each in group:
                self._take[kind](desk, each, report)
        desk.save("recovery", regions.pop() if len(regions) == 1 else "")

    def _take_terms(self, desk: Desk, each: Waiting, report: Report) -> None:
        verify_signed(self._keyring, each.receipt.terms, "terms", each.region)
        keep_terms(desk.transaction, each.region, each.receipt.terms)

    def _take_change(self, desk: Desk, each: Waiting, report: Report) -> None:
        PublishChange(verify_change(each.receipt.change, self._keyring)).decide(desk)

    def _take_suspension(self, desk: Desk, each: Waiting, report: Report) -> None:
        report.suspensions += TakeSuspension(verify_suspension(each.receipt.suspension, self._keyring)).decide(desk)

    def _take_deny_list(self, desk: Desk, each: Waiting, report: Report) -> None:
        """The newest list that was signed counts; the keys that it names are suspended by what is learned beside it."""
        message = each.receipt.deny_list
        newest, number = newest_deny_list(desk.transaction), DenyList.parse(message.body).number
        if newest is None or number > newest.denylist.number:
            load_denylist(message.body, message.signature, message.key_id, self._keyring)
            keep_deny_list(desk.transaction, number, message)

    def _take_hand_over(self, desk: Desk, each: Waiting, report: Report) -> None:
        message = each.receipt.hand_over
        verify_signed(self._keyring, hand_overs.signed_head(message), hand_overs.KIND, each.region)
        taken = read_hand_over(each.region, message).relearn(desk)
        report.hand_overs, report.vouchers = report.hand_overs + 1, report.vouchers + len(taken)

    def _take_return(self, desk: RecoveryDesk, each: Waiting, over: bool, report: Report) -> None:
        """Of what was given back no hold was left."""
        message = each.receipt.custody_return
        verify_signed(self._keyring, hand_overs.signed_head(message), hand_overs.KIND, CLEARINGHOUSE)
        returned = hand_overs.read(message.body)
        desk.at = returned.head.at
        for voucher in returned.vouchers():
            known = desk.books.voucher(voucher.key)
            if known is not None and known.epoch < voucher.epoch:
                desk.free(voucher.key, over)
        report.vouchers += relearn_return(desk, each.region, message)

    def _book_answer(self, desk: RecoveryDesk, each: Waiting, over: bool, report: Report) -> None:
        received, content = each.received, each.receipt.answered.answer
        assert received is not None
        known = desk.books.request((received.participant, received.request_id))
        if known is not None:
            if known.answer != content:
                raise Different("账上对该请求的答复不同 · its request is answered otherwise in these books")
            return
        if self._was_taken_back(each):
            return
        book_signed(desk, received, redemption_pb2.RedemptionAnswer.FromString(content), content, over)
        report.answers += 1

    def _post_again(self, desk: RecoveryDesk, each: Waiting, over: bool, report: Report) -> None:
        """Decide what an issuer was told of and the redeeming node has no answer to, as of its time."""
        told, received = each.receipt.told, each.received
        if self._stands(desk.transaction, told) or self._was_taken_back(each):
            return
        if not told.request_id:
            raise Different(_forgotten_adjustment(desk, told))
        if received is None:
            raise Different("核销地节点已不再请求 · its redeeming node does not ask for it any more")
        if desk.books.request((received.participant, received.request_id)) is not None:
            raise Different("对该请求已另作答复 · its request was answered otherwise")
        if told.window != desk.window:
            raise Different(other_window(told.window, desk.window))
        desk.at = told.at
        if received.item is not None and isinstance(received.item.subject, wire.Purchase):
            desk.free(received.item.subject.key, over)
        reply = decide(received, desk.books, desk)
        if isinstance(reply, Elsewhere):
            raise NotYet(NOT_HERE)
        posting = redemption_pb2.RedemptionAnswer.FromString(reply.content).posting
        posting.request_id = told.request_id
        posting.ClearField("state")
        if posting != told:
            raise Different("重新裁决与所告知的不同 · is decided otherwise now than it was told")
        report.answers += 1

    def _stands(self, transaction: Transaction, told: redemption_pb2.Posting) -> bool:
        """Raises Contradicted where another stands under its number."""
        table, key = custodian_schema.posting, (told.redemption_id, told.number)
        rows = transaction.select_keys(table, [table.c.redemption_id, table.c.number], [key])
        if rows and (rows[0].order_fen, rows[0].discount_fen) != (told.order_fen, told.discount_fen):
            raise Contradicted("账上入账与所告知的不同 · is posted otherwise in these books than it was told")
        return bool(rows)

    def _was_taken_back(self, each: Waiting) -> bool:
        """Whether it was as the copy knows. Raises Different for what was taken back since."""
        withdrawal = self._taken_back.get(posting_id(each.posting)) if each.posting is not None else None
        if withdrawal is not None and withdrawal.incarnation > self._restored:
            raise Different("已被上一次恢复撤回 · was taken back by a recovery before this one")
        return withdrawal is not None


def _forgotten_adjustment(desk: Desk, told: redemption_pb2.Posting) -> str:
    """What people must do about an adjusting entry: it was their decision, of which no party has the signed word."""
    amount = yuan(-told.discount_fen)
    disputes = open_disputes_of(desk, told.redemption_id)
    if not disputes:
        return (
            f"是备份后裁定成立的异议的调整分录，{amount} 元；该异议在此未登记或已处理，提出地区的节点会重新送来，"
            "届时请再次裁定 · "
            f"is an adjusting entry of {amount} yuan by a dispute that was upheld after the copy; its dispute is not "
            "open here: the node of its region brings it again by itself, then uphold it again"
        )
    again = " · ".join(
        f"quanlian clearinghouse uphold {region} {number} {told.redemption_id.hex()}={amount.replace(',', '')} --why …"
        for region, number in disputes
    )
    return (
        f"是备份后裁定成立的异议的调整分录，{amount} 元，已由两地冲回，请再次裁定 · "
        f"is an adjusting entry of {amount} yuan by a dispute that was upheld after the copy, taken back at both "
        f"regions: uphold it again: {again}"
    )


def id_of(receipt: custody_pb2.Receipt) -> bytes:
    """What names a receipt within its region and kind. Raises InvalidInput for one that cannot be read."""
    kind = receipt.WhichOneof("receipt")
    if kind is None:
        raise InvalidInput(
            "为空，或本版本不识其类别 · is empty, or of a kind that this version does not know", place="receipt"
        )
    if kind == "answered":
        return wire.answer_request_id(receipt.answered.answer)
    if kind == "pending":
        return wire.request_id_of(receipt.pending)
    if kind == "told":
        return receipt.told.redemption_id + receipt.told.number.to_bytes(4, "big")
    message: signed_pb2.SignedMessage = getattr(receipt, kind)
    return message.signature[:16]
