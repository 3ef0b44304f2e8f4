"""Node and clearinghouse in this process: real databases, real works and services, no network, a clock that stands.

A test moves the clock, decides works in batches as the group commit would, and carries messages between the parties
by hand, so that every order of events can be played.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from nacl.signing import SigningKey as LibsodiumKey

from chassis.database import Database
from chassis.postgresql import PostgresqlDatabase
from chassis.sqlite import SqliteDatabase
from clearinghouse import schema as clearinghouse_schema
from clearinghouse.custody import TakeHandOver, read_hand_over
from clearinghouse.feed_heads import head_of
from clearinghouse.redeeming import Redeem
from clearinghouse.service import ClearinghouseService
from clearinghouse.windows import new_window
from custodian import schema as custodian_schema
from custodian.batching import raised
from custodian.books import last_numbers
from custodian.decisions import Answered, Received
from custodian.feed_heads import sign_head
from custodian.ledger.check import check_books
from custodian.overdue import decide_after_passed_holds
from custodian.receiving import receive
from node import schema as node_schema
from node.claiming import Claim, read_claim
from node.custody import Release
from node.desk import Region, TermsShelf
from node.engine import decide_batch
from node.operations import NodeOperations
from node.redeeming import Intake
from node.service import NodeService, Signers
from pki import suites
from pki.denylist import DenyList
from pki.identity import Identity
from quanlian import wire
from quanlian.accounts import is_memo
from quanlian.campaign_changes import ChangeKind
from quanlian.errors import Unavailable, UnknownKey
from quanlian.merchants import check_character
from quanlian.refusals import RefusalReason
from quanlian.signing import SigningKey, signing_bytes
from quanlian.suspensions import SuspensionKind
from quanlian.terms import Terms
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import (
    claim_pb2,
    clearing_operator_pb2,
    custody_pb2,
    directory_pb2,
    node_operator_pb2,
    redemption_pb2,
    signed_pb2,
)
from quanlian.v1.campaign_pb2 import CampaignChange
from quanlian.v1.suspension_pb2 import Suspension
from quanlian.vouchers import VoucherKey

AT = 1_780_000_000
"""2026-05-29 in China; where every clock stands at first."""

HANGZHOU, SHANGHAI, CLEARINGHOUSE = "330100", "310000", "clearinghouse"
PLATFORM = "alipay"
OPERATOR = Identity(HANGZHOU, "operator", "test")
CLEARING_OPERATOR = Identity(CLEARINGHOUSE, "operator", "test")
LOCK_WAIT_SECONDS = 30.0
JOURNAL, TOTALS = {"entry", "line", "counter", "signed_batch"}, {"account", "turnover"}
BY_BATCH = {"entry", "answer_batch", "seal"}
"""What tells in which batch something was decided."""
FACE_FEN, MINIMUM_FEN = 1000, 4000
Result = TypeVar("Result")

TERMS = """
[campaign]
id = "{campaign}"
title_zh = "春"
title_en = "Spring"
issuer = "{issuer}"
fiscal_year = 2026
budget_document = "test"
starts_at = 2026-01-01T00:00:00+08:00
ends_at = 2027-01-01T00:00:00+08:00
roaming = "{roaming}"
regions = ["*"]
channels = ["shop"]
hold_seconds = {hold_seconds}
refund_policy = "{refund_policy}"

[funding]
shortfall_rule = "cascade"
cascade = "{cascade}"

[[funder]]
name = "city"
title_zh = "市"
level = "city"
weight = 2
budget = {city}.00

[[funder]]
name = "county"
title_zh = "县"
level = "county"
weight = 1
budget = {county}.00

[[voucher_type]]
id = "ten"
title_zh = "满40元减10元"
title_en = "10 off 40"
kind = "threshold"
categories = ["retail"]
face = 10.00
minimum_spend = 40.00

[[pack]]
id = "two"
title_zh = "两张"
title_en = "Two"
vouchers = ["ten", "ten"]
valid_days = 7

[[round]]
id = "r1"
pack = "two"
mode = "first-come"
opens_at = 2026-01-01T00:00:00+08:00
closes_at = 2026-12-01T00:00:00+08:00
quota = {quota}
per_person = {per_person}
"""

AGREEMENT = b"""
number = "TEST"
version = 1
title = { zh = "test", en = "test" }
effective_from = 2020-01-01T00:00:00+08:00
method = "fixed"
when_visitors_run_out = "issuer-pays"

[parameters]
issuer = 70
redeemer = 30
"""


def campaign(**changes: object) -> bytes:
    """Hangzhou's spring campaign, 10 off 40 in packs of two; money for plenty unless `changes` say otherwise."""
    usual = {
        "campaign": "spring",
        "issuer": HANGZHOU,
        "roaming": "on-demand",
        "hold_seconds": 900,
        "city": 4000,
        "county": 2000,
        "quota": 200,
        "per_person": 100,
        "cascade": "borne",
        "refund_policy": "pro-rata",
    }
    return TERMS.format(**(usual | changes)).encode()


# Time


class _StandingClock(Database):
    """A database whose clock stands where the test put it."""

    at = AT

    def _advance(self, clock: int) -> int:
        return self.at


class StandingSqlite(_StandingClock, SqliteDatabase):
    pass


class StandingPostgresql(_StandingClock, PostgresqlDatabase):
    pass


def open_standing(url: str, schema: str) -> StandingSqlite | StandingPostgresql:
    """A party's database, new if it was not there, with a clock that stands at `AT`."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return StandingSqlite.connect(parsed, schema, LOCK_WAIT_SECONDS)  # type: ignore[return-value]
    return StandingPostgresql.connect(parsed, schema, LOCK_WAIT_SECONDS)  # type: ignore[return-value]


StandingFactory = Callable[[str], StandingSqlite | StandingPostgresql]
"""Opens the database of a party by its name."""


# Keys


class TestSigner:
    """A key that is the same in every run; `certified` is what its region's authority would vouch for."""

    __test__ = False

    def __init__(self, owner: str, purpose: str) -> None:
        self._key = LibsodiumKey(hashlib.sha256(f"{owner} {purpose}".encode()).digest())
        public = bytes(self._key.verify_key)
        self.certified = SigningKey(suites.key_id(public), owner, purpose, public, AT - 86_400, AT + 365 * 86_400)

    @property
    def key_id(self) -> bytes:
        return self.certified.key_id

    def sign(self, kind: str, payload: bytes) -> bytes:
        return bytes(self._key.sign(signing_bytes(kind, payload)).signature)


class TestKeyring(dict[bytes, SigningKey]):
    """A `Verifier` over the test's keys."""

    __test__ = False

    def key(self, key_id: bytes) -> SigningKey:
        try:
            return self[key_id]._replace(revoked_from=self.denylist.keys.get(key_id))
        except KeyError:
            raise UnknownKey(key_id.hex()) from None

    denylist = DenyList()

    def deny(self, denylist: DenyList) -> None:
        denylist.check_may_replace(self.denylist)
        self.denylist = denylist

    def verify(self, key_id: bytes, kind: str, payload: bytes, signature: bytes) -> SigningKey:
        suites.verify_payload(self.key(key_id).public_key, kind, payload, signature)
        return self.key(key_id)


def _certified(*signers: TestSigner) -> TestKeyring:
    return TestKeyring({signer.key_id: signer.certified for signer in signers})


_VOUCHER, _TERMS, _MESSAGE = (TestSigner(HANGZHOU, purpose) for purpose in ("voucher", "terms", "message"))
_CLEARING = TestSigner(CLEARINGHOUSE, "message")
_STATEMENTS = TestSigner(CLEARINGHOUSE, "statement")
KEYRING = _certified(_VOUCHER, _TERMS, _MESSAGE, _CLEARING, _STATEMENTS)


def node_signers() -> Signers:
    """Hangzhou's private keys."""
    return Signers(_VOUCHER, _TERMS, _MESSAGE)


def message_signer() -> TestSigner:
    return _MESSAGE


# Requests


@dataclass
class Ids:
    """Ids in the order in which they are asked for, so that two runs of one story use the same."""

    counter: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def fresh(self, size: int = 16) -> bytes:
        return next(self.counter).to_bytes(size, "big")


def merchant_code(number: int = 0) -> str:
    first = f"91330100{number:09d}"
    return first + check_character(first)


def purchase(token: bytes, index: int, order_id: str, order_fen: int = 5800) -> redemption_pb2.Purchase:
    order = redemption_pb2.Order(
        merchant=merchant_code(), order_id=order_id, order_fen=order_fen, category="retail", channel="shop"
    )
    return redemption_pb2.Purchase(token=token, index=index, order=order)


def item(request_id: bytes, **operation: Any) -> bytes:
    """A request's bytes: `item(id, redeem=purchase(…))`, `item(id, refund=Refund(…))`."""
    return redemption_pb2.RedemptionItem(request_id=request_id, **operation).SerializeToString()


def answer_of(content: bytes) -> redemption_pb2.RedemptionAnswer:
    return redemption_pb2.RedemptionAnswer.FromString(content)


def outcome(content: bytes) -> str:
    """The refusal's name, or the state that an accepted request left; `done` where there was nothing to do."""
    answer = answer_of(content)
    if answer.HasField("refusal"):
        return RefusalReason(answer.refusal.reason).name
    if not answer.redemption_id:
        return "quoted" if answer.discount_fen else "done"
    return redemption_pb2.RedemptionState.Name(answer.state).removeprefix("REDEMPTION_STATE_")


def received(
    content: bytes, participant: str, region: str, redemption_id: bytes, limit: int = wire.MAX_ITEM_BYTES
) -> Received:
    """A request as the edge hands it to a batch, its voucher's signature checked."""
    return receive(
        content,
        participant=participant,
        acquirer=participant,
        redeeming_region=region,
        redemption_id=redemption_id,
        verifier=KEYRING,
        limit=limit,
    )


# Parties


class Party:
    """What both parties' tests ask of a party: its tables, and that its books hold."""

    def __init__(self, database: StandingSqlite | StandingPostgresql, tables: Sequence[sa.MetaData]) -> None:
        self.database = database
        self.tables = {table.name: table for each in tables for table in each.sorted_tables}

    def rows(self, table: str) -> list[Mapping[str, Any]]:
        """Every row of a table, in the order of its key."""
        described = self.tables[table]
        with self.database.snapshot() as transaction:
            query = described.select().order_by(*described.primary_key)
            return [dict(row._mapping) for row in transaction.connection.execute(query)]

    def outcome(self) -> dict[str, list[Mapping[str, Any]]]:
        """What a batch and its requests one by one must leave alike, table by table.

        That is all but the journal, of which a batch writes one entry, the signature over its answers, the numbers
        given out for it, and totals that came back to zero, which a batch need not have written.
        """
        return {
            table: [
                {name: value for name, value in row.items() if name not in BY_BATCH}
                for row in self.rows(table)
                if table not in TOTALS or any(value for name, value in row.items() if name.endswith("_fen"))
            ]
            for table in self.tables.keys() - JOURNAL
        }

    def balance(self, account_end: str) -> tuple[int, int, int, int]:
        """Posted, reserved, held and limit of the one account whose code ends so."""
        (row,) = [row for row in self.rows("account") if row["account"].endswith(account_end)]
        return (row["posted_fen"], row["reserved_fen"], row["held_fen"], row["limit_fen"])

    def pass_seconds(self, seconds: int) -> None:
        self.database.at += seconds

    def check_books(self) -> None:
        """The ledger sums to zero, running totals equal their lines, each captured voucher is spent once, and the
        check of the books finds nothing.
        """
        with self.database.snapshot() as transaction:
            found = check_books(transaction)
        assert not found, found
        lines, accounts = self.rows("line"), self.rows("account")
        assert sum(line["posted_fen"] for line in lines if not is_memo(line["account"])) == 0
        for account in accounts:
            own = [line for line in lines if line["account"] == account["account"]]
            for name in ("posted_fen", "reserved_fen", "held_fen", "limit_fen"):
                assert account[name] == sum(line[name] for line in own), (account["account"], name)
        captures = [row["redemption_id"] for row in self.rows("posting") if row["kind"] == "capture"]
        assert sorted(captures) == sorted(row["redemption_id"] for row in self.rows("spend"))


@contextmanager
def undone(*parties: Party) -> Iterator[None]:
    """What happens to parties in the block is undone after it, the passing of time too."""
    before = [({name: party.rows(name) for name in party.tables}, party.database.at) for party in parties]
    try:
        yield
    finally:
        for party, (tables, at) in zip(parties, before, strict=True):
            party.database.at = at
            changed = [name for name, rows in tables.items() if party.rows(name) != rows]
            with party.database.transaction() as transaction:
                for name in changed:
                    transaction.connection.execute(party.tables[name].delete())
                    transaction.insert(party.tables[name], [dict(row) for row in tables[name]])


class NoClearinghouse:
    """The clearinghouse as a node sees it that publishes its campaigns and hears nothing back."""

    def __init__(self) -> None:
        self.published: list[signed_pb2.SignedMessage] = []
        self.changes: list[signed_pb2.SignedMessage] = []
        self.suspensions: list[signed_pb2.SignedMessage] = []
        self._cut_off = False

    def send(self, items: Sequence[bytes]) -> None: ...

    def hand_overs_waiting(self) -> None: ...

    async def directory(self) -> directory_pb2.GetDirectoryResponse:
        return directory_pb2.GetDirectoryResponse()

    async def publish_terms(self, terms: signed_pb2.SignedMessage) -> None:
        self.published.append(terms)

    async def publish_change(self, change: signed_pb2.SignedMessage) -> None:
        self.changes.append(change)

    async def publish_suspension(self, suspension: signed_pb2.SignedMessage) -> None:
        if self._cut_off:
            raise Unavailable("the clearinghouse: cut off")
        self.suspensions.append(suspension)

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """Suspensions do not reach it within the block."""
        self._cut_off = True
        yield
        self._cut_off = False


class LocalNode(Party):
    """Hangzhou's node."""

    def __init__(self, database: StandingSqlite | StandingPostgresql) -> None:
        super().__init__(database, [custodian_schema.METADATA, node_schema.METADATA])
        database.migrate("custodian:migrations", "custodian_version")
        database.migrate("node:migrations", "node_version")
        self.ids = Ids()
        self.region = Region(HANGZHOU, None, _MESSAGE, _VOUCHER, bytes(32), KEYRING)
        self.clearinghouse = NoClearinghouse()
        self._shelf = TermsShelf()
        self.service = self.another_service()
        merchant = node_operator_pb2.Merchant(code=merchant_code(), name="商户", categories=["retail"])
        asyncio.run(self.operations_of(self.service).admit_merchants([merchant]))

    def another_service(self, keyring: Any = None) -> NodeService:
        """A node's service over this database, as a process of its own would run it."""
        known = TestKeyring(KEYRING) if keyring is None else keyring
        return NodeService(self.database, self.region, node_signers(), known, self.clearinghouse)  # type: ignore[arg-type]

    def publish(self, **changes: object) -> Terms:
        """Publish the spring campaign and open its budgets."""
        document = campaign(**changes)
        request = node_operator_pb2.PublishCampaignRequest(terms=document, file_name="spring.toml")
        service = self.another_service()
        service.start()
        asyncio.run(self.operations_of(service).publish_campaign(OPERATOR, request))
        service.close()
        return parse_terms(document, "spring.toml")

    def change(self, kind: ChangeKind, document: bytes = b"", why: str = "as decided", **seen: Any) -> CampaignChange:
        """Change the spring campaign as it stands, or as the caller has `seen` it."""
        service = self.another_service()
        operations = self.operations_of(service)
        service.start()
        try:
            last = asyncio.run(operations.list_changes("spring")).changes[-1]
            expected = {"expected_terms_hash": last.terms_hash, "expected_number": last.number} | seen
            request = node_operator_pb2.ChangeCampaignRequest(
                campaign="spring", kind=kind.value, document=document, why=why, **expected
            )
            return asyncio.run(operations.change_campaign(OPERATOR, request)).change
        finally:
            service.close()

    def changes(self) -> list[CampaignChange]:
        return list(asyncio.run(self.operations_of(self.service).list_changes("spring")).changes)

    def ask(self, call: Callable[[NodeOperations], Awaitable[Result]]) -> Result:
        """One of its operator's calls, while the node runs."""
        service = self.another_service()
        service.start()

        async def asked() -> Result:
            return await call(self.operations_of(service))

        try:
            return asyncio.run(asked())
        finally:
            service.close()

    def suspend(
        self, kind: SuspensionKind, subject: str, *, suspended: bool = True, why: str = "as decided"
    ) -> node_operator_pb2.SuspendResponse:
        request = node_operator_pb2.SuspendRequest(
            kind=kind.value,  # type: ignore[arg-type]
            subject=subject,
            suspended=suspended,
            why=why,
        )
        return self.ask(lambda operations: operations.suspend(OPERATOR, request))

    def follow(self, clearinghouse: LocalClearinghouse) -> NodeService:
        """Take all news of the clearinghouse; returns the service that took them."""
        service = self.another_service()
        service.start()
        asyncio.run(service.take_news(clearinghouse.feed(HANGZHOU), clearinghouse.feed_head(HANGZHOU)))
        service.close()
        return service

    def operations_of(self, service: NodeService) -> NodeOperations:
        return NodeOperations(service, _TERMS)

    def decide(self, *works: Any) -> list[Any]:
        """One batch as the group commit runs it, but that the first fault of a work is raised."""

        def run(some: Sequence[Any]) -> list[Any]:
            return decide_batch(self.database, self.region, self._shelf, some)

        return [raised(result) for result in decide_after_passed_holds(run, works)]

    # Claims

    def claim_content(self, holder: str, request_id: bytes = b"", round_id: str = "r1") -> bytes:
        return claim_pb2.ClaimItem(
            request_id=request_id or self.ids.fresh(), campaign="spring", round=round_id, holder_id=holder
        ).SerializeToString()

    def claim_work(self, holder: str, request_id: bytes = b"", round_id: str = "r1") -> Claim:
        content = self.claim_content(holder, request_id, round_id)
        return read_claim(content, PLATFORM, self.region.tag_key, self.ids.fresh(15))

    def claim(self, packs: int = 1) -> list[bytes]:
        """Tokens of packs that were claimed in one batch, each by another holder."""
        answers = self.decide(*(self.claim_work(f"holder-{n}") for n in range(packs)))
        return [claim_pb2.ClaimAnswer.FromString(answer).token for answer in answers]

    # Redemptions

    def intake(self, content: bytes, participant: str = PLATFORM) -> Intake:
        return Intake(received(content, participant, HANGZHOU, self.ids.fresh()), self.ids.fresh())

    def redeem(self, *contents: bytes) -> list[bytes]:
        """The answers to requests that arrive in one batch; every one is decided here."""
        replies = self.decide(*map(self.intake, contents))
        assert all(isinstance(reply, Answered) for reply in replies), replies
        return [reply.content for reply in replies]

    def release(self, *keys: VoucherKey) -> list[custody_pb2.CustodyStreamRequest]:
        (messages,) = self.decide(Release([(key.pack_id, key.voucher_index) for key in keys]))
        return list(messages)


class LocalClearinghouse(Party):
    """The clearinghouse, with Hangzhou and Shanghai enrolled, funded and bound by one agreement of 70:30."""

    def __init__(self, database: StandingSqlite | StandingPostgresql, visitors_fen: int = 100_000) -> None:
        database.migrate("custodian:migrations", "custodian_version")
        database.migrate("clearinghouse:migrations", "clearinghouse_version")
        self._serve(database)
        with database.transaction() as transaction:
            transaction.insert(clearinghouse_schema.settlement_window, [new_window(1, AT)])
        asyncio.run(self._admit(visitors_fen))

    @classmethod
    def another(cls, database: StandingSqlite | StandingPostgresql) -> LocalClearinghouse:
        """One more process of a clearinghouse that exists already."""
        party = cls.__new__(cls)
        party._serve(database)
        return party

    def _serve(self, database: StandingSqlite | StandingPostgresql) -> None:
        Party.__init__(self, database, [custodian_schema.METADATA, clearinghouse_schema.METADATA])
        self.ids = Ids()
        keyring = TestKeyring(KEYRING)
        self.service = ClearinghouseService(database, keyring, _CLEARING, _STATEMENTS, 1.0)  # type: ignore[arg-type]
        self.statement_signer = _STATEMENTS

    async def _admit(self, visitors_fen: int) -> None:
        pb, service = clearing_operator_pb2, self.service
        await service.agreements.sign_agreement(AGREEMENT, "test.toml", proposes=True)
        for region in (HANGZHOU, SHANGHAI):
            await service.operations.enrol(pb.EnrolParticipantRequest(region=region, name_zh=region, name_en=region))
            await service.operations.set_limits(pb.SetLimitsRequest(region=region, net_debit_cap_fen=10**7))
            await service.settlement.record_deposit(
                pb.RecordDepositRequest(region=region, amount_fen=1_000_000, bank_reference=f"deposit-{region}")
            )
            funder = pb.VisitorsFunder(name="city", weight=1, budget_fen=visitors_fen)
            fund = pb.SetVisitorsFundRequest(region=region, fiscal_year=2026, rule="refuse", funders=[funder])
            await service.operations.set_visitors_fund(fund)

    def learn(self, node: LocalNode) -> None:
        """Take the campaigns that the node published."""
        for message in node.clearinghouse.published:
            asyncio.run(self.service.publish_terms(HANGZHOU, message))
        for message in node.clearinghouse.changes:
            asyncio.run(self.service.publish_change(HANGZHOU, message))
        for message in node.clearinghouse.suspensions:
            asyncio.run(self.service.publish_suspension(HANGZHOU, message))

    def suspend(self, kind: SuspensionKind, subject: str, *, suspended: bool = True, bad_from: int = 0) -> Suspension:
        request = clearing_operator_pb2.SuspendInNetworkRequest(
            kind=kind.value,  # type: ignore[arg-type]
            subject=subject,
            suspended=suspended,
            why="as decided",
            bad_from=bad_from,
        )
        return self.do(self.service.operations.suspend(CLEARING_OPERATOR, request))

    def decide(self, *works: Any) -> list[Any]:
        """One batch as the group commit runs it: a fault concerns the work that caused it."""
        return self.service.engine.decide(list(works))

    def do(self, call: Awaitable[Result]) -> Result:
        """One of the service's calls, to its end."""

        async def done() -> Result:
            return await call

        return asyncio.run(done())

    def request(self, content: bytes, region: str = SHANGHAI) -> Redeem:
        return Redeem(received(content, region, region, self.ids.fresh(), wire.MAX_FORWARDED_BYTES))

    def redeem(self, *contents: bytes, region: str = SHANGHAI) -> list[bytes]:
        """The answers to a node's requests that arrive in one batch; every voucher is here."""
        replies = self.decide(*(self.request(content, region) for content in contents))
        assert all(isinstance(reply, Answered) for reply in replies), replies
        return [reply.content for reply in replies]

    def hand_overs(self, messages: Iterable[custody_pb2.CustodyStreamRequest]) -> list[TakeHandOver]:
        return [read_hand_over(HANGZHOU, each.hand_over) for each in messages if each.HasField("hand_over")]

    def feed(self, region: str) -> list[custody_pb2.FeedEvent]:
        return [custody_pb2.FeedEvent.FromString(row["event"]) for row in self.rows("feed") if row["region"] == region]

    def feed_head(self, region: str) -> signed_pb2.SignedMessage:
        """With all that `feed` gives."""
        with self.database.snapshot() as transaction:
            (last,) = last_numbers(transaction, f"feed/{region}")
            return sign_head(head_of(transaction, region, last), TestSigner(CLEARINGHOUSE, "message"))


def feed_head(
    sequence: int = 0, incarnation: int = 1, last_window: int = 0, region: str = HANGZHOU, signer: Any = None
) -> signed_pb2.SignedMessage:
    """How far a clearinghouse says that it has come, if it is the one that signs."""
    head = custody_pb2.FeedHead(region=region, incarnation=incarnation, sequence=sequence, last_window=last_window)
    return sign_head(head, signer or TestSigner(CLEARINGHOUSE, "message"))


def keys_of(token: bytes) -> list[VoucherKey]:
    """The vouchers of a pack."""
    body = wire.body_to_voucher(wire.bytes_to_token(token).body)
    return [VoucherKey(body.issuer, body.pack_id, index) for index in range(len(body.voucher_types))]


def refusal_of(answer: bytes) -> str:
    """Why a claim was refused; empty for one that was not."""
    message = claim_pb2.ClaimAnswer.FromString(answer)
    return RefusalReason(message.refusal.reason).name if message.HasField("refusal") else ""
