"""What a department's operator does at its node: campaigns and their changes, merchants, platforms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select

from chassis import telemetry
from custodian import evidence_file
from custodian.campaigns import Campaigns, SignedChange
from custodian.limit_warnings import latest_warnings
from custodian.recovering import ASK_AGAIN_SECONDS
from custodian.stats import read_stats
from custodian.suspensions import Suspensions, records
from custodian.withdrawals import CloseWithdrawal, withdrawn_postings
from node import evidence, schema
from node.cancelling import REMEDIES, Cancel, cancellations
from node.closing import last_end
from node.desk import Desk
from node.disputes import open_disputes
from node.domain.publishing import check_publishable
from node.publishing import TakeChange, current_terms
from node.recall import given_page
from node.service import NodeService
from node.signatures import signed
from node.suspending import Suspend
from pki.identity import Identity
from quanlian.campaign_changes import Change, ChangeKind, Standing, check_next
from quanlian.errors import InvalidInput, Unavailable
from quanlian.merchants import check_code
from quanlian.notices import check_notice, parse_notice
from quanlian.refusals import Refusal
from quanlian.signing import Signer
from quanlian.terms import Terms
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import (
    cancellation_pb2,
    limit_pb2,
    node_operator_pb2,
    recovery_pb2,
    stats_pb2,
    suspension_pb2,
)
from quanlian.vouchers import VoucherKey
from quanlian.wire import CHANGE_KINDS, change_message, change_to_body, suspension_kind, suspension_message

_log = telemetry.logger("operations")
RECALL_PAGE = 1000
FIRST_WHY = "首次公布 first publication"
CLOSED_OUT_WHY = "已结项 closed out"


class NodeOperations:
    """The operator's use cases; what changes the books goes through the service's group commit."""

    def __init__(self, service: NodeService, terms_signer: Signer, root: bytes = b"") -> None:
        """`root` is the root's certificate as PEM, which goes with what is shown as evidence."""
        self._service = service
        self._terms_signer = terms_signer
        self._root = root

    # Campaigns

    async def publish_campaign(
        self, caller: Identity, request: node_operator_pb2.PublishCampaignRequest
    ) -> node_operator_pb2.PublishCampaignResponse:
        """Sign terms, open their budgets here, and make them known to the network.

        Terms published before are sent again, which changes nothing. Raises InvalidInput for what `check_publishable`
        refuses, and for a campaign whose id is taken.
        """
        name = request.file_name or "terms"
        terms = parse_terms(request.terms, name)
        check_publishable(terms, name, self._service.region.code, self._service.region.minimum_leverage)
        known = await self._service.database.read(self._standing, terms.campaign)
        if known.last_number and known.terms_hash != terms.terms_hash:
            raise InvalidInput(
                f"活动 {terms.campaign} 已以另一细则发布 · "
                f"campaign {terms.campaign} is published already, with other terms",
                place=name,
                remedy="修改（quanlian node amend），或为新活动另取编号 · "
                "amend it (quanlian node amend), or give a new campaign a new id",
            )
        if not known.last_number:
            await self._make(known, ChangeKind.PUBLISH, caller, request.why.strip() or FIRST_WHY, terms, request.terms)
        return node_operator_pb2.PublishCampaignResponse(
            campaign=terms.campaign,
            terms_hash=terms.terms_hash,
            announced=await self._service.announcements.all_announced(),
        )

    async def change_campaign(
        self, caller: Identity, request: node_operator_pb2.ChangeCampaignRequest
    ) -> node_operator_pb2.ChangeCampaignResponse:
        """Amend, give notice, pause, resume or withdraw, by compare-and-set on what the sender has seen.

        Raises InvalidInput for an outdated view, a reason left out, or a change that the campaign cannot take.
        """
        known, current = await self._service.database.read(self._known, request.campaign)
        kind = ChangeKind(request.kind) if request.kind in CHANGE_KINDS else ChangeKind.PUBLISH
        if kind in (ChangeKind.PUBLISH, ChangeKind.CLOSE_OUT) or not request.why.strip():
            raise InvalidInput(
                "须写明变更种类和理由 · needs a kind of change and why it is made",
                place="change",
                remedy="一并写明 · give both",
            )
        if (request.expected_terms_hash, request.expected_number) != (known.terms_hash, known.last_number):
            raise InvalidInput(
                f"活动 {request.campaign} 其间已变更，现为第{known.last_number}次 · "
                f"campaign {request.campaign} was changed meanwhile: it stands at change {known.last_number}",
                place="change",
                remedy="查看变更后再定 · look at its changes and decide again",
            )
        terms, document, notice = current, b"", b""
        if kind is ChangeKind.AMEND:
            terms, document = self._amended(current, request), request.document
        elif kind is ChangeKind.NOTICE:
            notice = request.document
            at = await self._service.database.read(self._now)
            check_notice(parse_notice(notice, request.file_name or "notice"), current, known.given, at)
        made = await self._make(known, kind, caller, request.why, terms, document, notice)
        return node_operator_pb2.ChangeCampaignResponse(
            change=change_message(made), announced=await self._service.announcements.all_announced()
        )

    async def tell_closed_out(self, caller: Identity, campaign: str) -> None:
        """Sign, once, and make known that a campaign which is closed out here has no good voucher left."""
        known, terms = await self._service.database.read(self._known, campaign)
        if not known.last_end:
            ended = await self._service.database.read(self._last_end, terms)
            await self._make(known, ChangeKind.CLOSE_OUT, caller, CLOSED_OUT_WHY, terms, last_end=ended)

    async def list_changes(self, campaign: str, number: int = 0) -> node_operator_pb2.ListCampaignChangesResponse:
        """Every change of an own campaign with who and why, and the terms after change `number`; 0 is the last."""

        def load() -> node_operator_pb2.ListCampaignChangesResponse:
            with self._service.database.snapshot() as transaction:
                changes = Campaigns(transaction).changes(self._service.region.code, campaign)
                if not changes:
                    raise _unknown(campaign)
                if number > len(changes):
                    what, remedy = f"没有第{number}次变更 has no change {number}", f"1–{len(changes)}"
                    raise InvalidInput(what, place=f"campaign {campaign}", remedy=remedy)
                table = schema.terms
                key = (changes[number - 1].change.terms_hash,)
                rows = transaction.select_keys(table, [table.c.terms_hash], [key])
            return node_operator_pb2.ListCampaignChangesResponse(
                changes=[change_message(each.change) for each in changes], terms=rows[0].document
            )

        return await self._service.database.read(load)

    def _amended(self, current: Terms, request: node_operator_pb2.ChangeCampaignRequest) -> Terms:
        name = request.file_name or "terms"
        terms = parse_terms(request.document, name)
        check_publishable(terms, name, self._service.region.code, self._service.region.minimum_leverage)
        if (terms.campaign, terms.fiscal_year) != (current.campaign, current.fiscal_year):
            raise InvalidInput(
                f"是{terms.fiscal_year}年的 {terms.campaign}，不是{current.fiscal_year}年的 {current.campaign} · "
                f"is {terms.campaign} of {terms.fiscal_year}, not {current.campaign} of {current.fiscal_year}",
                place=name,
                remedy="修改不得改变活动编号和年度 · an amendment keeps the campaign and its fiscal year",
            )
        if terms.terms_hash == current.terms_hash:
            raise InvalidInput(
                "就是现行版本 · is the version in force", place=name, remedy="改动应改之处 · change what should change"
            )
        return terms

    async def _make(
        self,
        known: Standing,
        kind: ChangeKind,
        caller: Identity,
        why: str,
        terms: Terms,
        document: bytes = b"",
        notice: bytes = b"",
        last_end: int = 0,
    ) -> Change:
        """Sign a change, take it here, then make it known to the network: now, or as soon as that can be reached.

        This node's books judge first, so that nobody hears of a change that they refuse.
        """
        change = Change(
            issuer=self._service.region.code,
            campaign=terms.campaign,
            number=known.last_number + 1,
            kind=kind,
            at=await self._service.database.read(self._now),
            by=caller.uri,
            why=why,
            terms_hash=terms.terms_hash,
            notice=notice,
            last_end=last_end,
        )
        check_next(known, change)
        if document:
            message = signed(document, "terms", self._terms_signer)
            await self._service.directory.keep_terms(message)
        message = signed(change_to_body(change), "campaign-change", self._terms_signer)
        await self._service.engine.submit(TakeChange(SignedChange(change, message)))
        try:
            await self._service.announcements.announce_changes()
        except Unavailable as error:
            _log.warning("a change will be announced later", campaign=change.campaign, error=str(error))
        return change

    def _standing(self, campaign: str) -> Standing:
        with self._service.database.snapshot() as transaction:
            return Campaigns(transaction).standing(self._service.region.code, campaign)

    def _known(self, campaign: str) -> tuple[Standing, Terms]:
        with self._service.database.snapshot() as transaction:
            desk = Desk(transaction, self._service.region, self._service.shelf)
            terms = current_terms(desk, campaign)
            if terms is None:
                raise _unknown(campaign)
            return desk.campaigns.standing(self._service.region.code, campaign), terms

    def _last_end(self, terms: Terms) -> int:
        with self._service.database.snapshot() as transaction:
            return last_end(Desk(transaction, self._service.region, self._service.shelf), terms)

    def _now(self) -> int:
        with self._service.database.snapshot() as transaction:
            return transaction.now()

    # Merchants and platforms

    async def admit_merchants(self, merchants: Sequence[node_operator_pb2.Merchant]) -> int:
        """Admit merchants, all or none. Raises InvalidInput for a code that fails its check character."""
        rows = [
            {
                "code": check_code(each.code),
                "name": each.name,
                "categories": json.dumps(sorted(each.categories)),
            }
            for each in merchants
        ]

        def store() -> None:
            with self._service.database.transaction() as transaction:
                transaction.upsert(schema.merchant, rows)

        await self._service.database.write(store)
        return len(rows)

    async def admit_platform(self, chain: bytes) -> str:
        """Raises TrustError for a chain that does not lead to the root, InvalidInput for another region's."""
        key = self._service.keyring.examine(chain)
        name = key.purpose.removeprefix("message.")
        if key.owner != self._service.region.code or name == key.purpose:
            raise InvalidInput(
                f"是{key.owner}用于 {key.purpose} 的密钥 · is {key.owner}'s key for {key.purpose}",
                place="signing_chain",
                remedy=f"以{self._service.region.code}的签发机构签发 message.<platform> 密钥 · "
                f"issue a key for message.<platform> under the authority of {self._service.region.code}",
            )
        self._service.keyring.add(chain)

        def store() -> None:
            with self._service.database.transaction() as transaction:
                transaction.upsert(schema.platform, [{"name": name, "chain": chain}])
                transaction.upsert(schema.known_chain, [{"key_id": key.key_id, "chain": chain}])

        await self._service.database.write(store)
        return name

    # Suspensions

    async def suspend(
        self, caller: Identity, request: node_operator_pb2.SuspendRequest
    ) -> node_operator_pb2.SuspendResponse:
        """Suspend or reactivate: from the next batch on here, at every party once announced. Raises InvalidInput."""
        if not request.why.strip():
            raise InvalidInput("须写明理由 · needs why it is made", place="suspension", remedy="写明理由 · say why")
        kind = suspension_kind(request.kind)
        work = Suspend(kind, request.subject, request.suspended, caller.uri, request.why)
        suspension = await self._service.engine.submit(work)
        try:
            await self._service.announcements.announce_suspensions()
        except Unavailable as error:
            _log.warning("a suspension will be announced later", subject=suspension.subject, error=str(error))
        announced = await self._service.announcements.suspensions_announced() >= suspension.number
        return node_operator_pb2.SuspendResponse(suspension=suspension_message(suspension), announced=announced)

    async def suspensions(self, history: bool) -> list[suspension_pb2.SuspensionRecord]:
        def load() -> list[suspension_pb2.SuspensionRecord]:
            with self._service.database.snapshot() as transaction:
                return records(transaction, history)

        return await self._service.database.read(load)

    # Figures

    async def stats(self, query: stats_pb2.StatsQuery) -> list[stats_pb2.StatsRow]:
        def load() -> list[stats_pb2.StatsRow]:
            with self._service.database.snapshot() as transaction:
                return read_stats(transaction, query)

        return await self._service.database.read(load)

    # Custody

    async def recall(
        self, request: node_operator_pb2.RecallVouchersRequest
    ) -> node_operator_pb2.RecallVouchersResponse:
        """Take a page of vouchers back.

        Raises InvalidInput for a campaign or a voucher that this region did not issue, Unavailable when the
        clearinghouse does not answer.
        """
        find = self._given_page if request.campaign else self._named
        keys = await self._service.database.read(find, request)
        recalled = await self._service.recall(keys)
        response = node_operator_pb2.RecallVouchersResponse(returned=recalled.returned)
        for each in recalled.refused:
            refused = response.refused.add(reason=each.reason.value)
            refused.voucher.pack_id, refused.voucher.index = each.key.pack_id, each.key.voucher_index
        if request.campaign and len(keys) == RECALL_PAGE:
            response.next.pack_id, response.next.index = keys[-1].pack_id, keys[-1].voucher_index
        return response

    def _given_page(self, request: node_operator_pb2.RecallVouchersRequest) -> list[VoucherKey]:
        region, after = self._service.region, None
        if request.HasField("after"):
            after = VoucherKey(region.code, request.after.pack_id, request.after.index)
        with self._service.database.snapshot() as transaction:
            desk = Desk(transaction, region, self._service.shelf)
            if current_terms(desk, request.campaign) is None:
                raise InvalidInput(
                    f"本地没有活动 {request.campaign} · no campaign {request.campaign} here",
                    place="campaign",
                    remedy="写本地发布的活动 · name one that this region issues",
                )
            return given_page(desk, request.campaign, after, RECALL_PAGE)

    def _named(self, request: node_operator_pb2.RecallVouchersRequest) -> list[VoucherKey]:
        region = self._service.region
        keys = [VoucherKey(region.code, each.pack_id, each.index) for each in request.vouchers]
        if len(keys) > RECALL_PAGE:
            raise InvalidInput(f"{len(keys)} 张 vouchers", place="recall", remedy=f"一次至多 {RECALL_PAGE} 张 at most")
        with self._service.database.snapshot() as transaction:
            books = Desk(transaction, region, self._service.shelf).books
            books.load_vouchers(keys)
            for key in keys:
                if books.voucher(key) is None:
                    raise InvalidInput(
                        f"{key.pack_id.hex()}/{key.voucher_index} 不是本地所发 · was not issued here",
                        place="voucher",
                        remedy="写本地区的券 · name vouchers of this region",
                    )
        return keys

    async def cancel_voucher(
        self, caller: Identity, request: node_operator_pb2.CancelVoucherRequest
    ) -> cancellation_pb2.Cancellation:
        """Take a voucher out of use for good, from the next batch on; one that is away is recalled first.

        Raises InvalidInput for one that is held or used, Unavailable when the clearinghouse must give it back and does
        not answer.
        """
        if not request.why.strip():
            raise InvalidInput("须写明理由 · needs why it is made", place="cancellation", remedy="写明理由 · say why")
        key = VoucherKey(self._service.region.code, request.voucher.pack_id, request.voucher.index)
        for refused in (await self._service.recall([key])).refused:
            refusal = Refusal(refused.reason)
            raise InvalidInput(
                f"清分平台未退回 · the clearinghouse keeps it: {refusal.message_zh} · {refusal.message_en}",
                place="voucher",
                remedy=REMEDIES.get(refusal.reason, "与清分平台核对 · settle it with the clearinghouse"),
            )
        made: cancellation_pb2.Cancellation = await self._service.engine.submit(Cancel(key, caller.uri, request.why))
        return made

    async def cancellations(self) -> list[cancellation_pb2.Cancellation]:
        def load() -> list[cancellation_pb2.Cancellation]:
            with self._service.database.snapshot() as transaction:
                return cancellations(transaction)

        return await self._service.database.read(load)

    async def withdrawals(self, everything: bool) -> list[recovery_pb2.WithdrawnPosting]:
        """Postings that a restored clearinghouse took back and nobody has dealt with, or all."""

        def load() -> list[recovery_pb2.WithdrawnPosting]:
            with self._service.database.snapshot() as transaction:
                return withdrawn_postings(transaction, schema.withdrawn_posting, everything)

        return await self._service.database.read(load)

    async def close_withdrawal(
        self, caller: Identity, request: node_operator_pb2.CloseWithdrawalRequest
    ) -> list[recovery_pb2.WithdrawnPosting]:
        """Keep how the operator says that a redemption's were dealt with. Raises InvalidInput."""
        table, signer = schema.withdrawn_posting, self._service.region.message_signer
        work = CloseWithdrawal(table, signer, request.redemption_id, request.reference, request.note, caller.uri)
        closed: list[recovery_pb2.WithdrawnPosting] = await self._service.engine.submit(work)
        return closed

    async def book_receipts(
        self, request: node_operator_pb2.BookReceiptsRequest
    ) -> node_operator_pb2.BookReceiptsResponse:
        return await self._service.recovery.book_receipts(request)

    async def recover(self, without: Sequence[str]) -> node_operator_pb2.RecoverNodeResponse:
        """What the recovery brought back, or how far it is. Raises InvalidInput where a platform's receipts have not
        come and it is not begun `without` them.
        """
        await self._service.recovery.require_receipts(without)
        report = await self._service.recovery.run(ASK_AGAIN_SECONDS)
        return node_operator_pb2.RecoverNodeResponse(report=report, state=self._service.recovery.job.state())

    async def recovery(self, incarnation: int) -> node_operator_pb2.GetNodeRecoveryResponse:
        """The report that was kept. Raises InvalidInput for an incarnation that no recovery began."""
        report, incarnations = await self._service.recovery.job.kept(incarnation)
        return node_operator_pb2.GetNodeRecoveryResponse(report=report, incarnations=incarnations)

    # Evidence

    async def evidence(self, id: bytes) -> bytes:
        """What was signed about a redemption or a request, as a file. Raises InvalidInput for an id nobody gave."""

        region = self._service.region

        def load() -> bytes:
            with self._service.database.snapshot() as transaction:
                found = evidence.exchanges(transaction, id, region.code, region.message_signer)
            return evidence_file.write(region.code, id, found, self._root, self._service.keyring.chain)

        return await self._service.database.read(load)

    # Feed

    async def retry_feed(self) -> node_operator_pb2.RetryFeedResponse:
        """Try parked events again; what still cannot be taken comes with why."""
        rows = await self._service.parked_events()
        outcome = await self._service.retry_parked()
        return node_operator_pb2.RetryFeedResponse(
            taken=[sequence for sequence, reason in outcome.items() if not reason],
            parked=[_parked(row, outcome[row.sequence]) for row in rows if outcome.get(row.sequence)],
        )

    async def status(self) -> node_operator_pb2.GetNodeStatusResponse:
        outbox, handed, window = schema.outbox, schema.hand_over, schema.settlement_window
        waiting = select(func.count(), func.min(outbox.c.sent_at)).where(outbox.c.answered.is_(False))
        ((unanswered, unanswered_since),) = await self._service.engine.read(waiting)
        open_hand_overs = await self._service.engine.read(select(func.count()).where(handed.c.taken.is_(False)))
        windows = await self._service.engine.read(window.select().order_by(window.c.number))
        warnings = await self._service.database.read(self._warnings)
        return node_operator_pb2.GetNodeStatusResponse(
            region=self._service.region.code,
            unanswered=unanswered,
            unanswered_since=unanswered_since or 0,
            undecided=self._service.undecided.requests,
            hand_overs_open=open_hand_overs[0][0],
            feed_sequence=await self._service.feed_position(),
            clearinghouse_reached=self._service.reaches_clearinghouse,
            parked=[_parked(row, row.reason) for row in await self._service.parked_events()],
            windows=[
                node_operator_pb2.WindowConfirmation(
                    window=row.number,
                    matched=row.matched,
                    missing=row.missing,
                    extra=row.extra,
                    different=row.different,
                    confirmed=row.confirmed,
                    settled=row.settled,
                )
                for row in windows
            ],
            warnings=warnings,
            recovery=self._service.recovery.job.state(),
            withdrawn=await self.withdrawals(False),
            disputes_open=await self._service.database.read(self._open_disputes),
            keys=await self._service.database.read(self._own_keys),
        )

    def _own_keys(self) -> list[node_operator_pb2.OwnKey]:
        service = self._service
        with service.database.snapshot() as transaction:
            suspensions = Suspensions(transaction)
            signers = (service.signers.voucher, service.signers.terms, service.signers.message)
            judged = [suspensions.judged(service.keyring.key(each.key_id)) for each in signers]
        return [
            node_operator_pb2.OwnKey(
                purpose=each.purpose, key_id=each.key_id, not_after=each.not_after, bad_from=each.revoked_from or 0
            )
            for each in judged
        ]

    def _open_disputes(self) -> int:
        with self._service.database.snapshot() as transaction:
            return open_disputes(transaction)

    def _warnings(self) -> list[limit_pb2.LimitWarning]:
        with self._service.database.snapshot() as transaction:
            return latest_warnings(transaction.connection)


def _parked(row: Any, reason: str) -> node_operator_pb2.ParkedEvent:
    return node_operator_pb2.ParkedEvent(sequence=row.sequence, kind=row.kind, reason=reason, parked_at=row.parked_at)


def _unknown(campaign: str) -> InvalidInput:
    return InvalidInput(
        f"本地没有活动 {campaign} · no campaign {campaign} here", place="campaign", remedy="先发布 · publish it first"
    )
