"""What the clearinghouse's operator does: admit regions, set limits and funds, suspend, look."""

from __future__ import annotations

from collections.abc import Container

from chassis.database import Transaction
from clearinghouse import schema
from clearinghouse.arrears import unpaid_shortfalls
from clearinghouse.balances import arrears_fen, settlement_fen
from clearinghouse.desk import Desk
from clearinghouse.domain.arrears import past_due_fen
from clearinghouse.domain.funding_modes import FundingMode, Limits, check_limits, mode_named
from clearinghouse.domain.visitors import VisitorsFunder, check_visitors_fund, require_budget
from clearinghouse.engine import Engine
from clearinghouse.suspending import Suspend, tell_newcomer
from custodian.deny_lists import newest_deny_list
from custodian.limit_warnings import latest_warnings
from custodian.stats import read_stats
from custodian.suspensions import records
from custodian.undecided import Undecided
from custodian.withdrawals import CLOSING, CloseWithdrawal, withdrawn_postings
from pki.identity import CLEARINGHOUSE, Identity
from pki.trust import Keyring
from quanlian import regions, wire
from quanlian.accounts import visitors_account
from quanlian.errors import InvalidInput, UnknownKey
from quanlian.ledger import Movement
from quanlian.suspensions import SuspensionKind
from quanlian.v1 import clearing_operator_pb2, recovery_pb2, stats_pb2, suspension_pb2


class ClearingOperations:
    """The operator's use cases besides settlement; `connected` holds the regions whose custody stream is open."""

    def __init__(self, engine: Engine, keyring: Keyring, connected: Container[str], undecided: Undecided) -> None:
        self._engine = engine
        self._undecided = undecided
        self._keyring = keyring
        self._connected = connected

    # Regions

    async def enrol(self, request: clearing_operator_pb2.EnrolParticipantRequest) -> None:
        """Admit a region with its signing keys. Raises TrustError for a chain that does not lead to the root."""
        regions.region(request.region)
        rows = []
        for chain in request.signing_chains:
            key = self._keyring.examine(chain)
            if key.owner != request.region:
                raise InvalidInput(
                    f"是 {key.owner} 的密钥 · is {key.owner}'s key",
                    place="signing_chains",
                    remedy="送该地区自己的 · send the region's own",
                )
            rows.append({"owner": key.owner, "key_id": key.key_id, "chain": chain})
        for chain in request.signing_chains:
            self._keyring.add(chain)
        participant = {
            "region": request.region,
            "name_zh": request.name_zh,
            "name_en": request.name_en,
            "net_debit_cap_fen": 0,
            "credit_line_fen": 0,
            "credit_offset_bp": 0,
            "funding_mode": str(FundingMode.PREFUNDED),
            "credit_days": 0,
            "owed_held_fen": 0,
            "owed_posted_fen": 0,
            "due_posted_fen": 0,
            "limit_percent": 0,
            "credit_percent": 0,
            "withheld_fen": 0,
            "prefund_fen": 0,
        }

        def store(transaction: Transaction) -> None:
            table = schema.participant
            transaction.upsert(schema.signing_chain, rows)
            if not transaction.select_keys(table, [table.c.region], [(request.region,)]):
                transaction.insert(table, [participant])
                desk = self._engine.desk(transaction)
                tell_newcomer(desk, request.region)
                desk.save("enrolment", window=0)

        await self._engine.write(store)

    async def set_limits(self, request: clearing_operator_pb2.SetLimitsRequest) -> Limits:
        """Set how a region is funded and what it may owe. Raises InvalidInput for what does not go together."""
        mode = mode_named(request.funding_mode, request.credit_line_fen)
        cap_fen, line_fen = request.net_debit_cap_fen, request.credit_line_fen
        limits = Limits(cap_fen, line_fen, request.credit_offset_bp, str(mode), request.credit_days)

        def store(transaction: Transaction) -> None:
            table = schema.participant
            rows = transaction.select_keys(table, [table.c.region], [(request.region,)])
            if not rows:
                raise _not_enrolled(request.region)
            check_limits(limits, rows[0].prefund_fen)
            transaction.update(table, {"region": request.region}, limits._asdict())
            self._watch(transaction, request.region)

        await self._engine.write(store)
        return limits

    def _watch(self, transaction: Transaction, region: str) -> None:
        """Warn a region whose limits changed under what it uses."""
        desk = self._engine.desk(transaction)
        desk.watch(region)
        desk.save("limits", window=0)

    async def set_visitors_fund(self, request: clearing_operator_pb2.SetVisitorsFundRequest) -> None:
        """Set a region's standing fund for a year, in place of what it was; no budget falls under what is used."""
        table, year, rule = schema.visitors_funder, request.fiscal_year, request.rule
        funders = [VisitorsFunder(each.name, each.weight, each.budget_fen) for each in request.funders]
        check_visitors_fund(year, rule, funders)
        common = {"region": request.region, "fiscal_year": year, "rule": rule}
        rows = [{**common, "position": position, **each._asdict()} for position, each in enumerate(funders)]

        def store(transaction: Transaction) -> None:
            _require_enrolled(transaction, request.region)
            desk = self._engine.desk(transaction)
            present = (table.c.region == request.region) & (table.c.fiscal_year == year)
            named = [row.name for row in transaction.connection.execute(table.select().where(present))]
            budgets = dict.fromkeys(named, 0) | {each.name: each.budget_fen for each in funders}
            for name, budget_fen in budgets.items():
                account = visitors_account(request.region, year, name)
                balance = desk.books.balance(account)
                require_budget(balance, name, budget_fen)
                desk.books.move([Movement(account, "", limit_fen=budget_fen - balance.limit_fen)])
            transaction.connection.execute(table.delete().where(present))
            transaction.insert(table, rows)
            desk.save("visitors-fund", request.region, window=0)

        await self._engine.write(store)

    # Suspensions

    async def suspend(
        self, by: Identity, request: clearing_operator_pb2.SuspendInNetworkRequest
    ) -> suspension_pb2.Suspension:
        """Suspend or reactivate, as the operator decided. Raises InvalidInput."""
        if not request.why.strip():
            raise InvalidInput("须写明原因 · needs why it is made", place="suspension")
        kind = wire.suspension_kind(request.kind)
        if kind is SuspensionKind.KEY:
            self._require_foreign_key(request.subject)
        work = Suspend(kind, request.subject, request.suspended, by.uri, request.why, request.bad_from)
        suspension = await self._engine.step(work, "suspension", 0)
        await self._engine.database.read(self.deny_newest)
        return wire.suspension_message(suspension)

    def _require_foreign_key(self, subject: str) -> None:
        """The clearinghouse signs the very list that would name its own key. Raises InvalidInput."""
        remedy = "写接入方密钥的16位十六进制编号 · name a participant's key by its id of 16 hexadecimal digits"
        try:
            key = self._keyring.key(bytes.fromhex(subject))
        except (ValueError, UnknownKey) as error:
            raise InvalidInput(
                f"没有密钥 {subject} · no key {subject} is known here", place="suspension", remedy=remedy
            ) from error
        if key.owner == CLEARINGHOUSE:
            raise InvalidInput(
                f"{subject} 是清分平台自己的密钥 · is the clearinghouse's own key", place="suspension", remedy=remedy
            )

    async def suspensions(self, history: bool) -> list[suspension_pb2.SuspensionRecord]:
        def load() -> list[suspension_pb2.SuspensionRecord]:
            with self._engine.database.snapshot() as transaction:
                return records(transaction, history)

        return await self._engine.database.read(load)

    def deny_newest(self) -> None:
        """Deny what the database's newest list denies."""
        with self._engine.database.snapshot() as transaction:
            newest = newest_deny_list(transaction)
        if newest is not None and newest.denylist.number > self._keyring.denylist.number:
            self._keyring.deny(newest.denylist)

    # Postings that a recovery took back

    async def withdrawals(self, everything: bool) -> list[recovery_pb2.WithdrawnPosting]:
        """Those that nobody has dealt with, or all."""

        def load() -> list[recovery_pb2.WithdrawnPosting]:
            with self._engine.database.snapshot() as transaction:
                return withdrawn_postings(transaction, schema.withdrawn_posting, everything)

        return await self._engine.database.read(load)

    async def close_withdrawal(
        self, by: Identity, request: clearing_operator_pb2.CloseNetworkWithdrawalRequest
    ) -> list[recovery_pb2.WithdrawnPosting]:
        """Keep how the operator says that a redemption's were dealt with. Raises InvalidInput."""
        table, signer = schema.withdrawn_posting, self._engine.signer
        work = CloseWithdrawal(table, signer, request.redemption_id, request.reference, request.note, by.uri)
        closed: list[recovery_pb2.WithdrawnPosting] = await self._engine.step(work, CLOSING, 0)
        return closed

    # Looking

    async def status(self) -> clearing_operator_pb2.GetClearingStatusResponse:
        def load() -> clearing_operator_pb2.GetClearingStatusResponse:
            with self._engine.database.snapshot() as transaction:
                desk = self._engine.desk(transaction)
                return clearing_operator_pb2.GetClearingStatusResponse(
                    regions=[self._region_status(desk, region) for region in desk.regions],
                    warnings=latest_warnings(transaction.connection),
                    withdrawn=withdrawn_postings(transaction, schema.withdrawn_posting, False),
                    undecided=self._undecided.requests,
                )

        return await self._engine.database.read(load)

    def _region_status(self, desk: Desk, region: str) -> clearing_operator_pb2.RegionStatus:
        position, owed = desk.position(region), unpaid_shortfalls(desk, region)
        return clearing_operator_pb2.RegionStatus(
            region=region,
            custody_stream_open=region in self._connected,
            exposure_fen=position.exposure_fen,
            limit_fen=position.limit_fen,
            settlement_fen=settlement_fen(desk, region),
            prefund_fen=desk.prefund_fen(region),
            arrears_fen=arrears_fen(desk, region),
            withheld_fen=desk.withheld_fen(region),
            funding_mode=str(desk.funding_mode(region)),
            credit_days=desk.credit_days(region),
            past_due_fen=past_due_fen(owed, desk.at),
            due_at=min((each.due_at for each in owed), default=0),
            limit_percent=position.warned[0],
            credit_line_fen=position.credit_line_fen,
            credit_used_fen=position.credit_used_fen,
            credit_percent=position.warned[1],
            suspended=desk.suspensions.find(SuspensionKind.REGION, region) is not None,
        )

    async def stats(self, query: stats_pb2.StatsQuery) -> list[stats_pb2.StatsRow]:
        def load() -> list[stats_pb2.StatsRow]:
            with self._engine.database.snapshot() as transaction:
                return read_stats(transaction, query)

        return await self._engine.database.read(load)


def _require_enrolled(transaction: Transaction, region: str) -> None:
    table = schema.participant
    if not transaction.select_keys(table, [table.c.region], [(region,)]):
        raise _not_enrolled(region)


def _not_enrolled(region: str) -> InvalidInput:
    return InvalidInput(
        f"{region} 尚未接入 · {region} is not enrolled", place="region", remedy="先接入该地区 · enrol it first"
    )
