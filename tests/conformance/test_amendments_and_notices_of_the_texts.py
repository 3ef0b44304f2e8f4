"""Jincheng adds the kinds that its plan leaves open by an amendment; Shanxi postpones its end by a notice."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import pytest

from node.domain.publishing import check_publishable
from quanlian.campaign_changes import Change, ChangeKind, Standing, check_next, standing
from quanlian.campaign_check import check_campaign, check_notice_file
from quanlian.discounts import Order
from quanlian.errors import InvalidInput
from quanlian.explanation import explain
from quanlian.notices import NOTHING_GIVEN, check_notice, parse_notice
from quanlian.redemptions import Sale
from quanlian.refusals import Refusal, RefusalReason
from quanlian.signing import SigningKey
from quanlian.terms import Terms
from quanlian.terms_difference import difference, notice_difference
from quanlian.terms_parsing import parse_terms
from quanlian.validation import Discounted, Facts, check
from quanlian.vouchers import SUITE_ED25519, Voucher

CAMPAIGNS = Path(__file__).parents[2] / "examples" / "campaigns"
AMENDMENTS = sorted((CAMPAIGNS / "amendments").glob("*.toml"))
NOTICES = sorted((CAMPAIGNS / "notices").glob("*.toml"))
BASE = (CAMPAIGNS / "jincheng-2026.toml").read_bytes()
AMENDED = (CAMPAIGNS / "amendments" / "jincheng-2026.toml").read_bytes()
SHANXI = (CAMPAIGNS / "shanxi-2020.toml").read_bytes()
POSTPONED = (CAMPAIGNS / "notices" / "shanxi-2020.toml").read_bytes()
YUAN = 100


def beijing(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+08:00").timestamp())


def change(terms: Terms, number: int, kind: ChangeKind, notice: bytes = b"") -> Change:
    at = beijing("2020-06-20T09:00:00")
    return Change(terms.issuer, terms.campaign, number, kind, at, "operator", "为何 why", terms.terms_hash, notice)


def made(*changes: Change) -> Standing:
    """The campaign after changes that each may follow the one before."""
    for number, each in enumerate(changes):
        check_next(standing(changes[:number]), each)
    return standing(changes)


def redeemed(terms: Terms, type_id: str, order: Order, now: Standing, at: int, pack_id: str) -> Discounted | Refusal:
    """A voucher of these terms, claimed when its round opened, as any party checks it now."""
    pack, voucher_type = terms.pack(pack_id), terms.voucher_type(type_id)
    issued_at = min(entry.opens_at for entry in terms.rounds if entry.pack == pack_id)
    not_before, not_after = pack.validity(issued_at)
    voucher = Voucher(
        version=1,
        suite=SUITE_ED25519,
        key_id=b"",
        issuer=terms.issuer,
        campaign=terms.campaign,
        terms_hash=terms.terms_hash,
        pack_id=b"",
        voucher_types=(voucher_type.number,),
        holder_tag=b"",
        issued_at=issued_at,
        not_before=not_before,
        not_after=not_after,
        roaming=pack.roaming,
    )
    facts = Facts(
        voucher=voucher,
        key=SigningKey(b"", terms.issuer, "voucher", b"", issued_at, not_after),
        index=0,
        sale=Sale("merchant", "", order),
        expected_fen=0,
        payer_tag=b"",
        redeeming_region=terms.issuer,
        suspended_regions=frozenset(),
        campaign_known=True,
        terms=terms,
        standing=now,
    )
    return check(facts, at)


@pytest.fixture(scope="module")
def base() -> Terms:
    return parse_terms(BASE, "jincheng-2026.toml")


@pytest.fixture(scope="module")
def amended() -> Terms:
    return parse_terms(AMENDED, "amendments/jincheng-2026.toml")


@pytest.fixture(scope="module")
def shanxi() -> Terms:
    return parse_terms(SHANXI, "shanxi-2020.toml")


class TestJinchengsAmendment:
    @pytest.mark.parametrize("path", AMENDMENTS, ids=lambda path: path.stem)
    def test_each_amendment_checks_clean(self, path: Path) -> None:
        report = check_campaign(path.read_bytes(), path.name)
        assert (report.errors, report.warnings) == ((), ())

    def test_it_may_follow_the_publication_and_its_node_would_publish_it(self, base: Terms, amended: Terms) -> None:
        check_publishable(amended, "amendment", "140502", Fraction(5))
        now = made(change(base, 1, ChangeKind.PUBLISH), change(amended, 2, ChangeKind.AMEND))
        assert now.terms_hash == amended.terms_hash != base.terms_hash
        assert (amended.campaign, amended.fiscal_year) == (base.campaign, base.fiscal_year)

    def test_it_may_not_come_before_the_publication_or_after_the_withdrawal(self, base: Terms, amended: Terms) -> None:
        with pytest.raises(InvalidInput, match="is not published"):
            made(change(amended, 1, ChangeKind.AMEND))
        published, withdrawn = change(base, 1, ChangeKind.PUBLISH), change(base, 2, ChangeKind.WITHDRAW)
        with pytest.raises(InvalidInput, match="is withdrawn"):
            made(published, withdrawn, change(amended, 3, ChangeKind.AMEND))

    def test_vouchers_that_are_out_give_what_they_gave(self, base: Terms, amended: Terms) -> None:
        now = made(change(base, 1, ChangeKind.PUBLISH), change(amended, 2, ChangeKind.AMEND))
        order = Order(200 * YUAN, "retail", "shop")
        found = redeemed(base, "retail-200-30", order, now, beijing("2026-04-01T12:00:00"), "retail")
        assert isinstance(found, Discounted)
        assert found.discount_fen == 30 * YUAN

    def test_nothing_that_was_there_is_changed_but_the_budget(self, base: Terms, amended: Terms) -> None:
        changed = difference(BASE, AMENDED)
        assert [each.field for each in changed if each.kind != "added"] == ["funder[district].budget"]
        assert {each.holders for each in changed if each.kind == "added"} == {"better"}
        assert amended.voucher_types[: len(base.voucher_types)] == base.voucher_types
        assert amended.rounds[: len(base.rounds)] == base.rounds

    def test_the_budget_stays_within_the_plans_50_to_60_million(self, amended: Terms) -> None:
        assert sum(amended.budgets().values()) == 60_000_000 * YUAN

    @pytest.mark.parametrize(
        ("voucher", "category", "price", "off"),
        [
            ("digital", "digital", 3_000, 450),
            ("digital", "digital", 6_000, 500),
            ("appliance", "appliance", 2_000, 300),
            ("appliance", "appliance", 12_000, 1_500),
            ("home-1000-150", "home-improvement", 1_000, 150),
            ("home-3000-500", "home-improvement", 3_000, 500),
        ],
    )
    def test_the_new_kinds_give_the_amounts_that_the_file_marks(
        self, amended: Terms, voucher: str, category: str, price: int, off: int
    ) -> None:
        found = explain(amended, amended.voucher_type(voucher), Order(price * YUAN, category, "shop"), "140502")
        assert (found.refusal, found.discount_fen) == (None, off * YUAN)
        assert found.legs == (("140502", "district", off * YUAN),)

    @pytest.mark.parametrize(
        ("voucher", "category", "fen", "reason"),
        [
            ("digital", "digital", 6_000_01, RefusalReason.NO_MATCHING_TIER),
            ("home-1000-150", "home-improvement", 999_99, RefusalReason.BELOW_MINIMUM_SPEND),
            ("appliance", "digital", 2_000_00, RefusalReason.CATEGORY_NOT_COVERED),
        ],
    )
    def test_the_new_kinds_refuse_what_they_do_not_cover(
        self, amended: Terms, voucher: str, category: str, fen: int, reason: RefusalReason
    ) -> None:
        found = explain(amended, amended.voucher_type(voucher), Order(fen, category, "shop"), "140502")
        assert found.refusal is not None
        assert found.refusal.reason is reason


class TestShanxisNotice:
    @pytest.mark.parametrize("path", NOTICES, ids=lambda path: path.stem)
    def test_each_notice_checks_clean(self, path: Path) -> None:
        report = check_notice_file(path.read_bytes(), path.name)
        assert (report.errors, report.warnings) == ((), ())

    def test_the_vouchers_end_at_24_00_of_10_july_2020_as_the_text_says(self, shanxi: Terms) -> None:
        notice = parse_notice(POSTPONED, "shanxi-2020.toml")
        check_notice(notice, shanxi, NOTHING_GIVEN, beijing("2020-06-20T09:00:00"))
        assert notice.valid_until == beijing("2020-07-11T00:00:00")

    def test_a_voucher_that_is_out_is_good_until_then_and_no_longer(self, shanxi: Terms) -> None:
        published = change(shanxi, 1, ChangeKind.PUBLISH)
        now = made(published, change(shanxi, 2, ChangeKind.NOTICE, POSTPONED))
        order, last = Order(120 * YUAN, "staples", "shop"), beijing("2020-07-10T23:59:59")
        assert redeemed(shanxi, "special-300", order, made(published), last, "voucher") == Refusal(
            RefusalReason.EXPIRED, {"not_after_at": beijing("2020-07-01T00:00:00")}
        )
        assert isinstance(redeemed(shanxi, "special-300", order, now, last, "voucher"), Discounted)
        assert isinstance(redeemed(shanxi, "special-300", order, now, last + 1, "voucher"), Refusal)

    def test_travel_cards_that_end_later_keep_their_end(self, shanxi: Terms) -> None:
        now = made(change(shanxi, 1, ChangeKind.PUBLISH), change(shanxi, 2, ChangeKind.NOTICE, POSTPONED))
        visit, autumn = Order(60 * YUAN, "tourism", "shop"), beijing("2020-10-03T10:00:00")
        assert isinstance(redeemed(shanxi, "travel-card", visit, now, autumn, "card"), Discounted)
        assert [each.field for each in notice_difference(SHANXI, POSTPONED)] == ["pack[voucher].valid_until"]

    @pytest.mark.parametrize("end", ["2020-06-25T00:00:00", "2020-07-01T00:00:00"])
    def test_a_notice_that_would_bring_the_end_forward_is_refused(self, shanxi: Terms, end: str) -> None:
        notice = replace(parse_notice(POSTPONED, "x"), valid_until=beijing(end))
        with pytest.raises(InvalidInput, match="may only extend"):
            check_notice(notice, shanxi, NOTHING_GIVEN, beijing("2020-06-20T09:00:00"))

    def test_a_notice_that_would_lower_the_face_is_no_notice(self) -> None:
        (error,) = check_notice_file(POSTPONED + b"face = 200.00\n", "x").errors
        assert (error.field, error.rule) == ("notice.face", "is not a field here")
