"""The clearinghouse's side of one transaction: what its works read and write beside the shared books."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby
from typing import Any, Protocol

from chassis.database import Found, Query, Transaction
from clearinghouse import schema
from clearinghouse.agreements import ask_agreements, documents_in_force, require_signed
from clearinghouse.domain.ceilings import ceiling_left, ceiling_movements
from clearinghouse.domain.exposure import LimitUse, Position, crossed, owed_change
from clearinghouse.domain.funding_modes import FundingMode
from custodian import schema as custodian_schema
from custodian.books import Books, Take
from custodian.campaigns import Campaigns
from custodian.decisions import Apportioned, Received
from custodian.limit_warnings import warning_row
from custodian.suspensions import Suspensions
from quanlian.accounts import (
    arrears_account,
    ceiling_account,
    reimbursement_account,
    settlement_account,
    visitors_account,
)
from quanlian.agreements import Agreement, begun, in_force, parse_agreement
from quanlian.apportionment import FundingPlan, split
from quanlian.custody import CLEARINGHOUSE, VoucherState, in_custody
from quanlian.errors import BooksDoNotBalance, InvalidInput
from quanlian.redemptions import Outcome, Redemption, owed_between_regions
from quanlian.refusals import Refusal, RefusalReason
from quanlian.signing import Signer, Verifier
from quanlian.suspensions import SuspensionKind, merchant_subject, voucher_subject
from quanlian.terms import Terms
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import custody_pb2, limit_pb2
from quanlian.v1.agreement_pb2 import SignedAgreement
from quanlian.validation import Discounted, Facts, MerchantFacts
from quanlian.wire import Purchase, posting_message

CHINA_OFFSET_SECONDS = 8 * 3600
_PARTICIPANTS = Query(schema.participant.select())
_WINDOW_STATE = (schema.settlement_window.c.state,)


class Work(Protocol):
    """One thing to decide. `load` says what it will read, for the whole batch to be read at once."""

    def load(self, desk: Desk) -> None: ...

    def decide(self, desk: Desk) -> Any: ...


class Shelf:
    """Parsed documents that never change: terms by hash, agreements by the bytes of file and signatures."""

    def __init__(self, verifier: Verifier) -> None:
        self.terms: dict[bytes, Terms] = {}
        self._agreements: dict[bytes, Agreement] = {}
        self._verifier = verifier

    def clear(self) -> None:
        """The database was set back: it may have no row for what is here."""
        self.terms.clear()
        self._agreements.clear()

    def agreement(self, signed: SignedAgreement, name: str) -> Agreement:
        """Its signatures are checked when it is seen first. Raises UnknownKey or BadSignature."""
        content = signed.SerializeToString(deterministic=True)
        if content not in self._agreements:
            agreement = parse_agreement(signed.document, name)
            require_signed(agreement, signed, self._verifier)
            self._agreements[content] = agreement
        return self._agreements[content]


class Desk:
    """One transaction of the clearinghouse; implements `custodian.decisions.Party`."""

    name = CLEARINGHOUSE

    def __init__(self, transaction: Transaction, shelf: Shelf, signer: Signer) -> None:
        self.transaction = transaction
        self.shelf = shelf
        self.signer = signer
        windows = transaction.ask_keys(schema.settlement_window, _WINDOW_STATE, [("OPEN",)])
        participants = transaction.ask(_PARTICIPANTS)
        self.at = transaction.now()
        opened = _the_open(windows())
        self.window, self.window_opened_at = int(opened.number), int(opened.opened_at)
        self.books = Books(transaction)
        self.campaigns = Campaigns(transaction)
        self.suspensions = Suspensions(transaction)
        self._participants = {row.region: row for row in participants()}
        self._positions: dict[str, Position] = {}
        self._changed_positions: set[str] = set()
        self._withheld: dict[str, int] = {}
        self._prefund: dict[str, int] = {}
        self._proofs: dict[bytes, tuple[Any, ...]] = {}
        self._new_proofs: list[tuple[Any, ...]] = []
        self._agreements: list[Agreement] | None = None
        self._asked_agreements: Found | None = None
        self._standing: list[Agreement] | None = None
        self._in_force: dict[tuple[str, str, str], Agreement | None] = {}
        self._visitors: dict[str, FundingPlan | None] = {}
        self._wanted_campaigns: set[tuple[str, str]] = set()
        self._wanted_visitors: set[str] = set()
        self._news: list[tuple[str, int, bytes]] = []
        self.told: set[str] = set()
        """Regions whose feed grew."""
        self._warnings: list[dict[str, Any]] = []

    @property
    def year(self) -> int:
        """The calendar year in Asia/Shanghai for which it decides."""
        return china_year(self.at)

    @property
    def regions(self) -> list[str]:
        return sorted(self._participants)

    def want_purchase(self, purchase: Purchase, redeemer: str) -> None:
        """Note all that a redemption in a region depends on and changes; `fetch` reads it."""
        issuer, campaign = purchase.voucher.issuer, purchase.voucher.campaign
        accounts = [reimbursement_account(redeemer)]
        for region in (issuer, redeemer):
            accounts += settlement_account(region), arrears_account(region)
        self.books.want(vouchers=[purchase.key], accounts=accounts)
        self.suspensions.want_purchase(purchase, redeemer)
        self._wanted_campaigns.add((issuer, campaign))
        self._wanted_visitors.add(redeemer)

    def fetch(self) -> None:
        """Read what the works of a batch wanted: a few statements, which go to the database together."""
        self.books.expect_numbers()
        self.suspensions.expect()
        if self._wanted_campaigns:
            self._asked_agreements = ask_agreements(self.transaction)
        asked = self.campaigns.ask(self._wanted_campaigns), self._ask_visitors(self._wanted_visitors)
        self.books.fetch()
        for take in asked:
            take()

    # Party

    def facts(self, received: Received, purchase: Purchase, voucher: VoucherState | None) -> Facts:
        """The issuer's terms, what is suspended, and what this party has in custody.

        Which merchants are admitted and which orders discounted is the redeeming node's.
        """
        since = self.suspensions.since
        redeemer = received.redeeming_region
        merchant = since(SuspensionKind.MERCHANT, merchant_subject(redeemer, purchase.sale.merchant))
        held_here = voucher if voucher and in_custody(voucher, CLEARINGHOUSE) else None
        terms = self.terms(purchase.voucher.terms_hash)
        standing = self.campaigns.standing(purchase.voucher.issuer, purchase.voucher.campaign)
        assert received.key is not None
        return Facts(
            voucher=purchase.voucher,
            key=self.suspensions.judged(received.key),
            index=purchase.voucher_index,
            sale=purchase.sale,
            expected_fen=purchase.expected_fen,
            payer_tag=purchase.payer_tag,
            redeeming_region=redeemer,
            suspended_regions=self.suspensions.regions(purchase.voucher.issuer, redeemer),
            campaign_known=terms is not None or self._campaign_known(purchase),
            terms=terms if terms and terms.issuer == purchase.voucher.issuer else None,
            state=held_here,
            held_until=self.books.held_until(held_here),
            voucher_suspended_at=since(SuspensionKind.VOUCHER, voucher_subject(purchase.key)),
            merchant=MerchantFacts(admitted=True, blocked_at=merchant) if merchant is not None else None,
            campaign_suspended=standing.paused,
            standing=standing,
        )

    def apportion(
        self, received: Received, purchase: Purchase, found: Discounted, voucher: VoucherState
    ) -> Apportioned:
        """By the agreement in force now; the redeeming region's part from its visitors' fund.

        Where no agreement is in force nobody has agreed to pay.
        """
        issuer, redeemer = voucher.key.issuer, received.redeeming_region
        agreement = ceiling_left_fen = visitors = None
        self.books.want(accounts=[leg.account for leg in voucher.reservation.legs()])
        if issuer != redeemer:
            agreement = self.agreement(voucher.campaign, issuer, redeemer)
            if agreement is None:
                return Apportioned(None, "", {"agreements": 0})
            visitors = self.visitors(redeemer)
            self.books.want(accounts=visitors.accounts if visitors else ())
            used = self.books.balance(ceiling_account(redeemer, self.year, agreement.number))
            ceiling_left_fen = ceiling_left(agreement, redeemer, used)
        asked: dict[str, int] = {}

        def left(account: str) -> int:
            asked[account] = self.books.free_fen(account)
            return asked[account]

        paid = split(
            found.discount_fen,
            purchase.sale.order.order_fen,
            voucher.reservation,
            agreement,
            redeemer,
            issuer,
            visitors,
            left,
            ceiling_left_fen,
        )
        limited_by = visitors_to_json(visitors if asked else None, asked, ceiling_left_fen)
        self.prove(received.redemption_id, purchase, found.discount_fen, limited_by)
        return Apportioned(paid, agreement.name if agreement else "")

    def prove(self, redemption_id: bytes, purchase: Purchase, discount_fen: int, visitors: str | None) -> None:
        """Keep, if there is to be a redemption, what it is decided on."""
        order_fen = purchase.sale.order.order_fen
        self._proofs[redemption_id] = (redemption_id, purchase.shown, order_fen, discount_fen, visitors)

    def keep_proof(self, proof: tuple[Any, ...]) -> None:
        """A row of schema.proof, without its seal."""
        self._new_proofs.append(proof)

    def over_cap(self, draft: Redemption) -> Refusal | None:
        owed = owed_between_regions(draft, draft.legs)
        position = self.position(draft.voucher.issuer)
        if position.allows(owed):
            return None
        figures = {"exposure_fen": position.exposure_fen, "owed_fen": owed, "limit_fen": position.limit_fen}
        return Refusal(RefusalReason.DEBIT_CAP_EXCEEDED, figures)

    def credit(self, redemption: Redemption) -> str:
        return reimbursement_account(redemption.redeeming_region)

    def applied(self, before: Redemption | None, outcome: Outcome, request_id: bytes = b"") -> None:
        """Keep what regions owe each other, and tell the issuer what was posted."""
        redemption = outcome.redemption
        issuer = redemption.voucher.issuer
        held, posted = owed_change(before, redemption)
        self.books.move(ceiling_movements(before, redemption))
        self.move_position(issuer, held_fen=held, posted_fen=posted)
        self.move_position(redemption.redeeming_region, due_fen=posted)
        self.watch(issuer)
        if before is None and redemption.id in self._proofs:
            self.keep_proof(self._proofs[redemption.id])
        if outcome.posting:
            self.tell(issuer, posting=posting_message(outcome.posting, redemption, request_id))
        if redemption.redeeming_region != issuer:
            self.watch(redemption.redeeming_region)

    # Documents

    def terms(self, terms_hash: bytes) -> Terms | None:
        known = self.shelf.terms.get(terms_hash)
        if known is None:
            table = schema.terms
            rows = self.transaction.select_keys(table, [table.c.terms_hash], [(terms_hash,)])
            if rows:
                known = self.shelf.terms[terms_hash] = parse_terms(rows[0].document, "terms")
        return known

    def versions(self, issuer: str, campaign: str) -> list[Terms]:
        """All terms that a campaign ever had here."""
        table = schema.terms
        rows = self.transaction.select_keys(table, [table.c.issuer, table.c.campaign], [(issuer, campaign)])
        return [terms for row in rows if (terms := self.terms(row.terms_hash)) is not None]

    def _campaign_known(self, purchase: Purchase) -> bool:
        table = schema.terms
        key = (purchase.voucher.issuer, purchase.voucher.campaign)
        return bool(self.transaction.select_keys(table, [table.c.issuer, table.c.campaign], [key]))

    def agreements(self) -> Sequence[Agreement]:
        if self._agreements is None:
            found = self._asked_agreements or ask_agreements(self.transaction)
            self._agreements = [
                self.shelf.agreement(each.signed, each.number).counting_from(each.signed_at)
                for each in documents_in_force(found)
            ]
        return self._agreements

    def _begun(self) -> Sequence[Agreement]:
        if self._standing is None:
            self._standing = begun(self.agreements(), self.at)
        return self._standing

    def agreement(self, campaign: str, issuer: str, redeemer: str) -> Agreement | None:
        """The one in force now."""
        key = (campaign, issuer, redeemer)
        if key not in self._in_force:
            self._in_force[key] = in_force(self._begun(), campaign, issuer, redeemer, self.at)
        return self._in_force[key]

    def visitors(self, region: str) -> FundingPlan | None:
        """The region's standing fund for visitors in the year of now, Asia/Shanghai."""
        if region not in self._visitors:
            self._ask_visitors([region])()
        return self._visitors[region]

    def _ask_visitors(self, regions: Iterable[str]) -> Take:
        table, missing = schema.visitors_funder, sorted(region for region in regions if region not in self._visitors)
        self._visitors.update(dict.fromkeys(missing))
        keys = [(region, self.year) for region in missing]
        found = self.transaction.ask_keys(table, [table.c.region, table.c.fiscal_year], keys)

        def take() -> None:
            rows = sorted(found(), key=lambda row: (row.region, row.position))
            for region, funders in groupby(rows, lambda row: str(row.region)):
                self._visitors[region] = _visitors_fund(list(funders))

        return take

    # Positions

    def position(self, region: str) -> Position:
        """What a region owes and is due, with what secures it now. Raises InvalidInput for one that is not enrolled."""
        if region not in self._participants:
            raise InvalidInput(f"{region} is not enrolled", place="region", remedy="enrol it")
        known = self._positions.get(region) or _position(self._participants[region])
        secured_fen = self.prefund_fen(region) - self.books.posted_fen(settlement_account(region))
        arrears_fen = self.books.posted_fen(arrears_account(region))
        if known.secured_fen != secured_fen or known.arrears_fen != arrears_fen:
            known = known._replace(secured_fen=secured_fen, arrears_fen=arrears_fen)
        self._positions[region] = known
        return known

    def move_position(self, region: str, held_fen: int = 0, posted_fen: int = 0, due_fen: int = 0) -> None:
        if held_fen or posted_fen or due_fen:
            self._positions[region] = self.position(region).moved(held_fen, posted_fen, due_fen)
            self._changed_positions.add(region)

    def watch(self, region: str) -> None:
        """Warn a region of each threshold of its limits that it has reached; once it falls below, it is armed again."""
        position = self.position(region)
        reached = position.reached
        if reached == position.warned:
            return
        for use, percent in crossed(position):
            self._warn(region, use, percent)
        self._positions[region] = position._replace(warned=reached)
        self._changed_positions.add(region)

    def _warn(self, region: str, use: LimitUse, percent: int) -> None:
        warning = limit_pb2.LimitWarning(
            region=region,
            number=self.books.next_number(f"limit-warning/{region}"),
            measure=use.measure.value,  # type: ignore[arg-type]
            percent=percent,
            used_fen=use.used_fen,
            limit_fen=use.limit_fen,
            at=self.at,
        )
        self._warnings.append(warning_row(warning))
        self.tell(region, limit_warning=warning)

    def withheld_fen(self, region: str) -> int:
        """What of the region's balance is not there while others are in arrears."""
        return self._withheld.get(region, int(self._participants[region].withheld_fen))

    def withhold(self, region: str, fen: int) -> None:
        """Negative: it is free again, or its creditors'."""
        self._withheld[region] = self.withheld_fen(region) + fen
        self._changed_positions.add(region)

    def credit_days(self, region: str) -> int:
        """Calendar days within which the region pays what a settlement leaves it owing; 0: at once."""
        return int(self._participants[region].credit_days)

    def funding_mode(self, region: str) -> FundingMode:
        return FundingMode(self._participants[region].funding_mode)

    def prefund_fen(self, region: str) -> int:
        """What the region's funders have paid ahead here, neither used nor returned: all its `prefund` accounts."""
        return self._prefund.get(region, int(self._participants[region].prefund_fen))

    def move_prefund(self, region: str, fen: int) -> None:
        """Keep the running total in step with what was booked on one of these accounts."""
        self._prefund[region] = self.prefund_fen(region) + fen
        self._changed_positions.add(region)

    # Feed

    def tell(self, region: str, **event: Any) -> None:
        """Append to a region's feed; the node gets it after the commit, in this order, once."""
        sequence = self.next_news(region)
        self.keep_news(region, sequence, custody_pb2.FeedEvent(sequence=sequence, **event).SerializeToString())

    def next_news(self, region: str) -> int:
        """The number of the event that is kept for the region next."""
        return self.books.next_number(f"feed/{region}")

    def keep_news(self, region: str, sequence: int, event: bytes) -> None:
        """A serialised FeedEvent with its number from `next_news`."""
        self._news.append((region, sequence, event))
        self.told.add(region)

    def pass_over_news(self, region: str, last: int) -> None:
        """One event stands for all up to `last` that the region was told and this copy has not."""
        passed = self.books.pass_numbers(f"feed/{region}", last)
        if passed:
            self.keep_news(region, last, custody_pb2.FeedEvent(sequence=last, forgotten=passed).SerializeToString())

    def tell_all(self, **event: Any) -> None:
        for region in self.regions:
            self.tell(region, **event)

    def send_captures(self) -> None:
        """Send what was captured so far and what goes with it, for the database to store while the rest is decided."""
        self.books.send_captures()
        self._send_evidence()

    def _send_evidence(self) -> None:
        news, self._news = self._news, []
        proofs, self._new_proofs = self._new_proofs, []
        self.transaction.append(schema.feed, news)
        self.transaction.append(schema.proof, proofs)

    def save(self, kind: str = "batch", reference: str = "", window: int | None = None) -> None:
        for region in sorted(self._changed_positions):
            self.watch(region)
        self.books.save(kind, self.at, self.window if window is None else window, reference, self.signer)
        self._send_evidence()
        self.transaction.insert(custodian_schema.limit_warning, self._warnings)
        self.transaction.upsert(schema.participant, [*map(self._participant_row, sorted(self._changed_positions))])

    def _participant_row(self, region: str) -> dict[str, Any]:
        position = self.position(region)
        return {
            **self._participants[region]._mapping,
            "owed_held_fen": position.owed_held_fen,
            "owed_posted_fen": position.owed_posted_fen,
            "due_posted_fen": position.due_posted_fen,
            "limit_percent": position.warned[0],
            "credit_percent": position.warned[1],
            "withheld_fen": self.withheld_fen(region),
            "prefund_fen": self.prefund_fen(region),
        }


def china_year(at: int) -> int:
    """The calendar year in Asia/Shanghai."""
    return datetime.fromtimestamp(at + CHINA_OFFSET_SECONDS, UTC).year


def visitors_to_json(plan: FundingPlan | None, left: Mapping[str, int], ceiling_left_fen: int | None) -> str | None:
    """What limited the redeeming region's part as a split found it: the rule of its standing fund, the funders with
    their weights and what they had left, where they were asked; what the agreement's ceiling left, where one is agreed.
    """
    parts = []
    if plan is not None:
        funders = zip(plan.accounts, plan.weights, strict=True)
        listed = ",".join([f"[{_quoted(account)},{weight},{left[account]}]" for account, weight in funders])
        parts.append(f'"rule":{_quoted(plan.rule)},"funders":[{listed}]')
    if ceiling_left_fen is not None:
        parts.append(f'"ceiling_left_fen":{ceiling_left_fen}')
    return "{" + ",".join(parts) + "}" if parts else None


_quoted = lru_cache(maxsize=4096)(json.dumps)


def _the_open(windows: Sequence[Any]) -> Any:
    if len(windows) != 1:
        raise BooksDoNotBalance(f"{len(windows)} settlement windows are open")
    return windows[0]


def _visitors_fund(funders: Sequence[Any]) -> FundingPlan:
    accounts = tuple(visitors_account(row.region, row.fiscal_year, row.name) for row in funders)
    return FundingPlan(accounts, tuple(row.weight for row in funders), funders[0].rule)


def _position(row: Any) -> Position:
    return Position(
        row.region,
        row.net_debit_cap_fen,
        row.credit_line_fen,
        row.credit_offset_bp,
        row.owed_held_fen,
        row.owed_posted_fen,
        row.due_posted_fen,
        warned=(row.limit_percent, row.credit_percent),
    )
