"""A third party judges each use by the campaign's terms, also where the clearinghouse seals what breaks them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from evidence_files import Authorities, Exported
from local_parties import (
    AT,
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    answer_of,
    item,
    keys_of,
    node_signers,
    open_standing,
    purchase,
    undone,
)

from custodian import schema as books
from quanlian import merkle, vouchers, wire
from quanlian.campaign_changes import ChangeKind
from quanlian.signing import signing_bytes
from quanlian.v1 import redemption_pb2
from verifier import eligibility
from verifier.findings import Finding
from verifier.verification import verify

DAY = 86_400
ENDS = AT - (AT + 8 * 3600) % DAY + 7 * DAY
"""Vouchers of seven days that are claimed at the story's beginning are over then."""
HOLD_SECONDS = 900
Alteration = Callable[[sa.Connection], object]
_redemption, _posting = books.redemption, books.posting


class Story:
    """Three packs claimed, a use of each in Shanghai: at once, held and captured a minute later, and refunded."""

    def __init__(self, folder: Path) -> None:
        self.node = LocalNode(open_standing(f"sqlite:///{folder / 'node'}.db", ""))
        self.clearinghouse = LocalClearinghouse(open_standing(f"sqlite:///{folder / 'clearinghouse'}.db", ""))
        self.authorities = Authorities(folder / "pki")
        self.authorities.introduce(self.clearinghouse)
        self.node.publish()
        self.clearinghouse.learn(self.node)
        self._numbers = iter(range(1, 100))
        self.tokens = self.node.claim(3)
        keys = [key for token in self.tokens for key in keys_of(token)]
        self.clearinghouse.decide(*self.clearinghouse.hand_overs(self.node.release(*keys)))

    def play(self) -> None:
        self.ask(redeem=purchase(self.tokens[0], 0, "order-1"))
        held = self.ask(authorize=purchase(self.tokens[1], 0, "order-2"))
        self.clearinghouse.pass_seconds(60)
        self.ask(capture=redemption_pb2.Capture(redemption_id=held, order_fen=5000))
        used = self.ask(redeem=purchase(self.tokens[2], 0, "order-3"))
        self.ask(refund=redemption_pb2.Refund(redemption_id=used, order_fen=1000))

    def ask(self, **operation: object) -> bytes:
        (answer,) = self.clearinghouse.redeem(item(next(self._numbers).to_bytes(16, "big"), **operation))
        assert not answer_of(answer).HasField("refusal"), answer_of(answer)
        return answer_of(answer).redemption_id

    def close(self) -> None:
        self.clearinghouse.pass_seconds(30 * DAY)
        self.clearinghouse.do(self.clearinghouse.service.settlement.close_window())

    def findings(self, out: Path, alter: Alteration | None = None) -> list[Finding]:
        """Of Shanghai's evidence, as the clearinghouse seals it after the alteration."""
        with undone(self.clearinghouse):
            if alter is not None:
                with self.clearinghouse.database.transaction() as transaction:
                    alter(transaction.connection)
            return findings_of(self.authorities.export(self.clearinghouse, out, SHANGHAI, [1]))


def findings_of(files: Exported) -> list[Finding]:
    return verify(files.statement, files.redemptions, files.terms, files.agreements, files.fingerprint).findings


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    played = Story(tmp_path_factory.mktemp("eligibility"))
    played.play()
    played.close()
    yield played
    for party in (played.node, played.clearinghouse):
        party.database.close()


def of_order(order: str) -> sa.ColumnElement[bool]:
    return _posting.c.redemption_id.in_(sa.select(_redemption.c.id).where(_redemption.c.order_id == order))


def changed(order: str, **values: object) -> Alteration:
    return lambda run: run.execute(_redemption.update().where(_redemption.c.order_id == order).values(values))


def posted(order: str, number: int, at: int) -> Alteration:
    wanted = sa.and_(of_order(order), _posting.c.number == number)
    return lambda run: run.execute(_posting.update().where(wanted).values(at=at))


def both(*alterations: Alteration) -> Alteration:
    return lambda run: [each(run) for each in alterations]


WITHIN = f"{AT} or later, before {ENDS}"
BROKEN: list[tuple[str, Alteration, tuple[str, str, str]]] = [
    (
        "used in the second in which it ends",
        both(changed("order-1", authorized_at=ENDS), posted("order-1", 1, ENDS)),
        ("authorized_at", str(ENDS), WITHIN),
    ),
    (
        "used before it was claimed",
        both(changed("order-1", authorized_at=AT - 1)),
        ("authorized_at", str(AT - 1), WITHIN),
    ),
    (
        "captured before it was authorized",
        changed("order-2", authorized_at=AT + 61),
        ("capture 1 at", str(AT + 60), f"{AT + 61} or later, before {AT + 61 + HOLD_SECONDS}"),
    ),
    (
        "captured when its hold was over",
        posted("order-2", 1, AT + HOLD_SECONDS),
        ("capture 1 at", str(AT + HOLD_SECONDS), f"{AT} or later, before {AT + HOLD_SECONDS}"),
    ),
    (
        "refunded before it was captured",
        posted("order-3", 2, AT + 59),
        ("refund 2 at", str(AT + 59), f"{AT + 60} or later"),
    ),
    (
        "another category",
        changed("order-1", category="tobacco"),
        ("not covered", f"{SHANGHAI}, shop, tobacco", "CATEGORY_NOT_COVERED"),
    ),
    (
        "another channel",
        changed("order-1", channel="casino"),
        ("not covered", f"{SHANGHAI}, casino, retail", "CHANNEL_NOT_COVERED"),
    ),
]


def test_what_keeps_the_terms_has_no_findings(story: Story, tmp_path: Path) -> None:
    assert story.findings(tmp_path) == []


@pytest.mark.parametrize(("what", "alter", "named"), BROKEN, ids=[each[0] for each in BROKEN])
def test_a_use_that_breaks_the_terms_is_named(
    story: Story, tmp_path: Path, what: str, alter: Alteration, named: tuple[str, str, str]
) -> None:
    found = story.findings(tmp_path, alter)
    assert named in {(each.what, each.found, each.expected) for each in found}, what
    assert len({each.place for each in found}) == 1, "no other use is named"


def test_the_last_second_of_validity_and_of_a_hold_still_count(story: Story, tmp_path: Path) -> None:
    used_last = both(changed("order-1", authorized_at=ENDS - 1), posted("order-1", 1, ENDS - 1))
    captured_last = posted("order-2", 1, AT + HOLD_SECONDS - 1)
    assert story.findings(tmp_path, both(used_last, captured_last)) == []


def test_each_voucher_on_one_order_is_named(story: Story, tmp_path: Path) -> None:
    found = story.findings(tmp_path, changed("order-2", order_id="order-1"))
    assert {(each.what, each.expected) for each in found} == {("order_id", "one public voucher an order")}
    used = {row["id"].hex() for row in story.clearinghouse.rows("redemption") if row["order_id"] != "order-3"}
    assert {each.place.removeprefix("redemption ") for each in found} == used


def test_the_same_order_number_of_another_merchant_is_another_order(story: Story, tmp_path: Path) -> None:
    assert story.findings(tmp_path, changed("order-2", order_id="order-1", merchant="another")) == []


def test_a_change_that_is_left_out_is_named_with_every_use_of_its_terms(story: Story, tmp_path: Path) -> None:
    found = story.findings(tmp_path, lambda run: run.execute(books.campaign_change.delete()))
    assert {(each.what, each.found) for each in found} == {("terms", "no signed change publishes them")}
    assert len(found) == 3


# Notices


def test_a_notice_lets_vouchers_be_used_longer_and_in_further_channels(tmp_path: Path) -> None:
    story = Story(tmp_path)
    notice = b'[notice]\ncampaign = "spring"\nvalid_until = 2026-06-30T00:00:00+08:00\nchannels = ["online"]\n'
    story.node.change(ChangeKind.NOTICE, notice)
    story.clearinghouse.learn(story.node)
    story.clearinghouse.pass_seconds(ENDS - AT)
    asked = purchase(story.tokens[0], 0, "order-1")
    asked.order.channel = "online"
    story.ask(redeem=asked)
    story.close()
    assert story.findings(tmp_path / "sound") == []
    only_published = books.campaign_change.delete().where(books.campaign_change.c.number == 2)
    found = story.findings(tmp_path / "without", lambda run: run.execute(only_published))
    assert {each.what for each in found} == {"authorized_at", "not covered"}
    first = books.campaign_change.delete().where(books.campaign_change.c.number == 1)
    found = story.findings(tmp_path / "gap", lambda run: run.execute(first))
    assert (found[0].place, found[0].what, found[0].expected) == (f"campaign-change {HANGZHOU}/spring", "number", "1")


# What an issuer signs against its own terms


def signed_token(token: bytes, **changes: object) -> tuple[bytes, bytes]:
    """The token as its issuer would sign it with other contents, and the fault that its terms find in it."""
    known = wire.bytes_to_token(token)
    body = wire.voucher_to_body(wire.body_to_voucher(known.body)._replace(**changes))
    root, paths = merkle.tree([signing_bytes("voucher", body)])
    signature = node_signers().voucher.sign("voucher-root", vouchers.root_payload(1, root))
    return wire.token_to_bytes(vouchers.Token(body, signature, 1, 0, tuple(paths[0]))), body


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"not_after": ENDS + 1}, f"is good until {ENDS + 1}, by its terms until {ENDS}"),
        ({"not_before": AT - DAY}, f"is good from {AT - DAY}, not from its issue at {AT}"),
        ({"voucher_types": (1, 1, 1)}, "is no pack of its terms"),
        ({"roaming": "never"}, "is no pack of its terms"),
        (
            {"issued_at": ENDS - DAY, "not_before": ENDS - DAY},
            f"is good until {ENDS}, by its terms until {ENDS + 6 * DAY}",
        ),
    ],
)
def test_a_pack_that_its_terms_do_not_give_is_named(
    story: Story, tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    token, _ = signed_token(story.tokens[0], **changes)
    proof = story.clearinghouse.tables["proof"]
    alter = proof.update().where(proof.c.token == story.tokens[0]).values(token=token)
    found = story.findings(tmp_path, lambda run: run.execute(alter))
    assert ("token", told) in {(each.what, each.found) for each in found}


def test_packs_are_worked_out_once_an_hour_and_forgotten_in_time(monkeypatch: pytest.MonkeyPatch, story: Story) -> None:
    monkeypatch.setattr(eligibility, "REMEMBERED", 1)
    packs, terms = eligibility.Packs(), story.node.publish()
    voucher = wire.body_to_voucher(wire.bytes_to_token(story.tokens[0]).body)
    ends = [packs.ends(voucher._replace(issued_at=AT + hours * 3600), terms) for hours in range(0, 48, 6)]
    assert ends == [(ENDS,)] * 4 + [(ENDS + DAY,)] * 4
