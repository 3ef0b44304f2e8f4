"""The auditor accepts sound books and names what was tampered with: database, row and amounts."""

from __future__ import annotations

import ast
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import sqlalchemy as sa
from sound_network import CLEARINGHOUSE, HANGZHOU, NODES, SUZHOU, SoundNetwork, parties

from chassis.database import Database
from quanlian.v1 import custody_pb2, signed_pb2
from simulations.auditor import Check, Party, audit

ONCE = "voucher_captured_at_most_once"
LEDGERS = "ledgers_sum_to_zero"
DISCOUNTS = "discounts_equal_legs"
HELD = "captured_as_held"
REFUNDED = "refunded_in_proportion"
ORDERS = "one_voucher_an_order"
FUNDERS = "funders_conserved"
POSITIONS = "net_positions_sum_to_zero"
CAPS = "caps_kept"
MIRRORS = "node_books_equal_clearinghouse"
TOTALS = "running_totals_equal_redemptions"
DEDICATED = "dedicated_accounts_hold"
CHECKS = [ONCE, LEDGERS, DISCOUNTS, HELD, REFUNDED, ORDERS, FUNDERS, POSITIONS, CAPS, MIRRORS, TOTALS, DEDICATED]

FIRST_HOME = "(SELECT MIN(id) FROM redemption WHERE state = 'CAPTURED')"
FIRST_AWAY = "(SELECT MIN(redemption_id) FROM posting)"
CITY = "funding/330100/2026/hangzhou/city"


class Tampering(NamedTuple):
    """What somebody does to a database, the check that must notice, and what its findings must say."""

    story: str
    party: str
    statement: str
    check: str
    says: tuple[str, ...]


TAMPERINGS = [
    Tampering(
        "the spend row of a captured voucher is deleted",
        HANGZHOU,
        f"DELETE FROM spend WHERE redemption_id = {FIRST_HOME}",
        ONCE,
        ("330100: redemption", "1000 fen", "spend has no row for it"),
    ),
    Tampering(
        "a captured voucher is made a cancelled one",
        CLEARINGHOUSE,
        "UPDATE voucher SET status = 'cancelled' WHERE issuer = '330100' AND (pack_id, voucher_index) IN "
        "(SELECT pack_id, voucher_index FROM spend WHERE issuer = '330100')",
        ONCE,
        ("clearinghouse: voucher 330100/", "is cancelled", "is CAPTURED"),
    ),
    Tampering(
        "the issuer takes back a voucher that the clearinghouse has",
        HANGZHOU,
        "UPDATE voucher SET epoch = 2 WHERE epoch = 1",
        ONCE,
        ("two custodians", "epoch 1 at the clearinghouse, 2 at 330100"),
    ),
    Tampering(
        "a hold is lost while its voucher stays held",
        HANGZHOU,
        "UPDATE redemption SET state = 'VOIDED', standing = '[]' WHERE state = 'AUTHORIZED'",
        ONCE,
        ("330100: voucher 330100/", "held by a redemption that is not live"),
    ),
    Tampering(
        "a pack is deleted whose vouchers were redeemed",
        SUZHOU,
        "DELETE FROM pack",
        ONCE,
        ("voucher 320500/", "never issued", "of 1000 fen"),
    ),
    Tampering(
        "one line of the journal is raised by 7 fen",
        HANGZHOU,
        "UPDATE line SET posted_fen = posted_fen + 7 WHERE account = 'payable/alipay' AND posted_fen = -900 "
        "AND entry = (SELECT MIN(entry) FROM posting)",
        LEDGERS,
        ("330100: lines of entry", "sum to 7 fen"),
    ),
    Tampering(
        "an account is lowered without a line",
        SUZHOU,
        "UPDATE account SET posted_fen = posted_fen - 250 WHERE account = 'payable/alipay'",
        LEDGERS,
        ("320500: posted_fen of account payable/alipay", "all accounts together are posted -250 fen"),
    ),
    Tampering(
        "a running total is changed",
        CLEARINGHOUSE,
        "UPDATE turnover SET posted_fen = posted_fen + 11 "
        "WHERE account = 'reimbursement/320500' AND settlement_window = 1 AND counterpart = '330100'",
        LEDGERS,
        ("clearinghouse: turnover of window 1 reimbursement/320500 330100", "says -889 fen, recomputed -900 fen"),
    ),
    Tampering(
        "an entry is deleted with its lines",
        HANGZHOU,
        "DELETE FROM line WHERE entry = (SELECT MIN(entry) FROM posting)",
        LEDGERS,
        (f"330100: posted_fen of account {CITY}",),
    ),
    Tampering(
        "an entry's head is deleted",
        HANGZHOU,
        "DELETE FROM entry WHERE number = 3",
        LEDGERS,
        ("330100: the journal numbers", "does not fit at 3", "there is no such entry"),
    ),
    Tampering(
        "a redemption's discount is raised",
        CLEARINGHOUSE,
        f"UPDATE redemption SET discount_fen = 1200 WHERE id = {FIRST_AWAY}",
        DISCOUNTS,
        ("clearinghouse: redemption", "discount by its legs: says 1200 fen, recomputed 1000 fen"),
    ),
    Tampering(
        "a leg moves from one funder to another",
        HANGZHOU,
        "UPDATE posting SET legs = REPLACE(legs, 'hangzhou/city', 'hangzhou/county') "
        f"WHERE redemption_id = {FIRST_HOME}",
        DISCOUNTS,
        (f"captured leg {CITY}: says 0 fen, recomputed 467 fen", f"{CITY}: says 467 fen, recomputed 0 fen"),
    ),
    Tampering(
        "a capture comes at the moment at which its hold ends",
        HANGZHOU,
        f"UPDATE redemption SET expires_at = captured_at WHERE id = {FIRST_HOME}",
        HELD,
        ("330100: redemption", "is captured at", "and its hold ended at"),
    ),
    Tampering(
        "a region owes more than its cap",
        CLEARINGHOUSE,
        "UPDATE participant SET owed_posted_fen = net_debit_cap_fen + 1 WHERE region = '330100'",
        CAPS,
        ("clearinghouse: 330100 owes 100000691 fen, more than its cap of 100000000 fen",),
    ),
    Tampering(
        "a refund is taken from one funder instead of all",
        HANGZHOU,
        f"UPDATE posting SET legs = '[[\"{CITY}\", -375]]' WHERE kind = 'refund'",
        REFUNDED,
        ("posting 2, given back by leg: says", f"('{CITY}', 375)", f"('{CITY}', 175)"),
    ),
    Tampering(
        "a refund gives the funders a fen more than their part of the order",
        HANGZHOU,
        "UPDATE posting SET discount_fen = discount_fen - 1 WHERE kind = 'refund'",
        REFUNDED,
        ("posting 2, given back: says 376 fen, recomputed 375 fen",),
    ),
    Tampering(
        "two vouchers are used on one order",
        CLEARINGHOUSE,
        "UPDATE redemption SET merchant = 'm', order_id = 'twice', redeeming_region = '330100'",
        ORDERS,
        ("order twice of merchant m at 330100 took", "vouchers: clearinghouse: redemption"),
    ),
    Tampering(
        "a refund is deleted from history",
        HANGZHOU,
        "DELETE FROM posting WHERE kind = 'refund'",
        DISCOUNTS,
        ("PARTLY_REFUNDED, postings: says 1, recomputed 2", "discount by its postings: says 1000 fen"),
    ),
    Tampering(
        "a refund returns more to the standing legs than it booked",
        CLEARINGHOUSE,
        "UPDATE redemption SET returned_fen = 499 WHERE state = 'PARTLY_REFUNDED'",
        DISCOUNTS,
        ("standing legs: says 500 fen, recomputed 501 fen",),
    ),
    Tampering(
        "the shopper is said to have got all of what was returned",
        CLEARINGHOUSE,
        "UPDATE redemption SET shopper_fen = refunded_order_fen WHERE state = 'PARTLY_REFUNDED'",
        DISCOUNTS,
        ("withheld from the shopper: says 0 fen, recomputed 500 fen",),
    ),
    Tampering(
        "a counted flow is changed",
        CLEARINGHOUSE,
        "UPDATE flow SET discount_fen = discount_fen + 1000 WHERE settlement_window = 1 AND issuer = '330100'",
        DISCOUNTS,
        (
            "clearinghouse: flow of window 1 330100 320500 hangzhou discount_fen",
            "says 2000 fen, recomputed 1000 fen",
        ),
    ),
    Tampering(
        "a posting is moved to another window",
        CLEARINGHOUSE,
        f"UPDATE posting SET settlement_window = 2 WHERE redemption_id = {FIRST_AWAY}",
        DISCOUNTS,
        ("window of its entry: says 2, recomputed 1",),
    ),
    Tampering(
        "a funder's limit is raised beyond its budget",
        HANGZHOU,
        f"UPDATE account SET limit_fen = limit_fen + 5000 WHERE account = '{CITY}'",
        FUNDERS,
        (f"{CITY}: free", "= 85000 fen, its budget is 80000 fen"),
    ),
    Tampering(
        "reserved money is released in the account alone",
        HANGZHOU,
        f"UPDATE account SET reserved_fen = reserved_fen - 300 WHERE account = '{CITY}'",
        FUNDERS,
        (f"330100: reserved_fen of account {CITY}: says",),
    ),
    Tampering(
        "a pack forgets what it reserved",
        HANGZHOU,
        "UPDATE pack SET reservations = '[[[],[]],[[],[]]]' WHERE pack_id = (SELECT MAX(pack_id) FROM pack)",
        FUNDERS,
        (f"330100: reserved_fen of account {CITY}", "says 2000 fen, recomputed 0 fen"),
    ),
    Tampering(
        "a live hold's legs are lowered",
        CLEARINGHOUSE,
        "UPDATE redemption SET legs = '[]' WHERE state = 'AUTHORIZED'",
        FUNDERS,
        (f"clearinghouse: held_fen of account {CITY}: says 327 fen, recomputed 0 fen",),
    ),
    Tampering(
        "a hand-over under way is deleted",
        HANGZHOU,
        "DELETE FROM hand_over WHERE number = (SELECT MAX(number) FROM hand_over)",
        FUNDERS,
        (f"{CITY}: free", "in transit", "= 79533 fen, its budget is 80000 fen"),
    ),
    Tampering(
        "a hand-over that was taken is deleted at the clearinghouse",
        CLEARINGHOUSE,
        "DELETE FROM hand_over WHERE issuer = '330100' AND number = 1",
        FUNDERS,
        ("hand-over of 330100 1 is marked as taken and the clearinghouse does not have it",),
    ),
    Tampering(
        "a fund return is accepted that was never given",
        CLEARINGHOUSE,
        "DELETE FROM fund_return WHERE number = 1",
        FUNDERS,
        ("fund return to 330100 1 was received and never sent",),
    ),
    Tampering(
        "a visitors' fund gets more than its budget",
        CLEARINGHOUSE,
        "UPDATE account SET limit_fen = limit_fen + 1 WHERE account = 'funding/320500/2026/visitors/city'",
        FUNDERS,
        ("funding/320500/2026/visitors/city: free", "= 50001 fen, its budget is 50000 fen"),
    ),
    Tampering(
        "published terms are exchanged for others",
        HANGZHOU,
        "UPDATE terms SET document = (SELECT body FROM hand_over WHERE number = 1)",
        FUNDERS,
        ("330100: terms of hangzhou are not those that their hash names",),
    ),
    Tampering(
        "a net position is raised by one fen",
        CLEARINGHOUSE,
        "UPDATE net_position SET net_fen = net_fen + 1 WHERE region = '320500'",
        POSITIONS,
        ("window 1: net positions sum to 1 fen", "net position by postings of 320500: says 346 fen, recomputed 345"),
    ),
    Tampering(
        "a bilateral sum is changed",
        CLEARINGHOUSE,
        "UPDATE bilateral SET amount_fen = amount_fen + 100 WHERE debtor = '330100'",
        POSITIONS,
        ("net position by bilateral sums of 330100: says -345 fen, recomputed -445 fen", "gross amount"),
    ),
    Tampering(
        "a region's debt to others is forgotten",
        CLEARINGHOUSE,
        "UPDATE participant SET owed_held_fen = 0 WHERE region = '330100'",
        POSITIONS,
        ("participant 330100, owed_held_fen: says 0 fen, recomputed 690 fen",),
    ),
    Tampering(
        "a node loses what the clearinghouse posted",
        HANGZHOU,
        "DELETE FROM clearing_item WHERE side = 'funder' AND settlement_window = 1",
        MIRRORS,
        ("330100: funder side of posting", "1000 fen at the clearinghouse, is missing"),
    ),
    Tampering(
        "a node adds a posting of its own",
        SUZHOU,
        "UPDATE clearing_item SET number = 9 WHERE side = 'merchant' AND settlement_window = 1",
        MIRRORS,
        ("320500: merchant side of posting", "/9, 1000 fen, is not at the clearinghouse"),
    ),
    Tampering(
        "a node changes the amount of a posting",
        SUZHOU,
        "UPDATE clearing_item SET discount_fen = 900 WHERE side = 'merchant' AND settlement_window = 1",
        MIRRORS,
        ("320500: merchant side of posting", "discount_fen: says 900, recomputed 1000"),
    ),
    Tampering(
        "a node's claim on the clearinghouse grows",
        SUZHOU,
        "UPDATE account SET posted_fen = posted_fen + 40 WHERE account = 'clearing/320500'",
        MIRRORS,
        ("320500: account clearing/320500: says 40 fen, recomputed 0 fen",),
    ),
    Tampering(
        "a mirror of a visitors' fund is changed",
        SUZHOU,
        "UPDATE account SET posted_fen = 1 WHERE account = 'used_away/320500/2026/visitors/city'",
        MIRRORS,
        ("320500: account used_away/320500/2026/visitors/city: says 1 fen, recomputed 210 fen",),
    ),
    Tampering(
        "a statement is exchanged at the node",
        SUZHOU,
        "UPDATE settlement_window SET net_fen = 1345",
        MIRRORS,
        ("320500: window 1, net: says 1345 fen, recomputed 345 fen",),
    ),
    Tampering(
        "a refund is hidden in the node's view of a redemption",
        HANGZHOU,
        "UPDATE away SET discount_fen = 1000",
        MIRRORS,
        ("330100: redemption", "away: says ('PARTLY_REFUNDED', 4100, 1000, 2050)"),
    ),
    Tampering(
        "an acquirer is said to be paid by nobody",
        HANGZHOU,
        "UPDATE account SET posted_fen = posted_fen + 1 WHERE account = 'payable/alipay'",
        DEDICATED,
        ("330100: account payable/alipay: says",),
    ),
    Tampering(
        "a region is paid what is not there",
        CLEARINGHOUSE,
        "UPDATE account SET posted_fen = posted_fen + CASE account WHEN 'settlement/330100' THEN 900000 "
        "ELSE -900000 END WHERE account IN ('settlement/330100', 'bank/clearinghouse')",
        DEDICATED,
        ("clearinghouse: account bank/clearinghouse is overdrawn by", "0 fen are withheld of 330100's balance of -"),
    ),
    Tampering(
        "what the bank holds is made more",
        CLEARINGHOUSE,
        "UPDATE account SET posted_fen = posted_fen + 1 WHERE account = 'bank/clearinghouse'",
        DEDICATED,
        ("clearinghouse: account bank/clearinghouse: says",),
    ),
    Tampering(
        "what is withheld from a region has no arrears",
        CLEARINGHOUSE,
        "UPDATE participant SET withheld_fen = 5 WHERE region = '330100'",
        DEDICATED,
        ("clearinghouse: withheld from all regions: says 5 fen, recomputed 0 fen",),
    ),
    Tampering(
        "a receipt is made up",
        SUZHOU,
        "INSERT INTO bank_receipt VALUES ('x', 'prefund/320500/2026/suzhou/city', 500, 1, '', false, '')",
        DEDICATED,
        ("320500: account bank/320500: says 0 fen, recomputed 500 fen",),
    ),
    Tampering(
        "a close-out is made up",
        HANGZHOU,
        f"INSERT INTO close_out VALUES ('hangzhou', 1, 5, 'x', '2026-06-01', '[[\"{CITY}\",500]]', '')",
        FUNDERS,
        (f"limit_fen of account {CITY}: says", "returned 500"),
    ),
    Tampering(
        "the clearinghouse's statistics count a capture that was not",
        CLEARINGHOUSE,
        "UPDATE hourly_flow SET captures = captures + 1 WHERE issuer = '330100'",
        TOTALS,
        ("clearinghouse: hourly flow", "captures: says", "330100 320500"),
    ),
    Tampering(
        "a node's statistics forget what its vouchers did away",
        HANGZHOU,
        "DELETE FROM hourly_flow WHERE redeeming_region <> '330100'",
        TOTALS,
        ("330100: hourly flow", "order_fen: says 0 fen, recomputed"),
    ),
    Tampering(
        "a refund moves to another hour",
        SUZHOU,
        "UPDATE hourly_flow SET hour = hour + 3600",
        TOTALS,
        ("320500: hourly flow", "says 0 fen, recomputed"),
    ),
]


@pytest.fixture(scope="session")
def sqlite_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network's files, built once a run; every test gets a copy."""
    folder = tmp_path_factory.mktemp("sound-network")
    network = SoundNetwork(lambda name: Database.open(f"sqlite:///{folder / name}.db"))
    network.live()
    network.close()
    return folder


@pytest.fixture(scope="session")
def postgres_network(postgres_url: str) -> Iterator[str]:
    """The network's schemas, built once a run, by what their names begin with; every test gets a copy."""
    prefix = f"s{uuid.uuid4().hex[:12]}_"
    network = SoundNetwork(lambda name: postgres_schema(postgres_url, prefix + name))
    network.live()
    yield prefix
    for database in network.databases.values():
        with database.engine.begin() as connection:
            connection.exec_driver_sql(f"DROP SCHEMA {database.schema} CASCADE")
    network.close()


@pytest.fixture
def network(
    backend: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    database_url: Callable[[str], str],
    schema: Callable[[str], str],
) -> list[Party]:
    """A sound network of this test's own."""
    if backend == "sqlite":
        shutil.copytree(request.getfixturevalue("sqlite_network"), tmp_path, dirs_exist_ok=True)
        return [Party(name, database_url(name)) for name in (CLEARINGHOUSE, *NODES)]
    prefix: str = request.getfixturevalue("postgres_network")
    copies = parties(database_url, schema)
    for party in copies:
        copy_schema(party, prefix + party.name)
    return copies


def postgres_schema(url: str, schema: str) -> Database:
    database = Database.open(url, schema)
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    return database


def copy_schema(party: Party, original: str) -> None:
    """Rows alone, without keys: nothing here depends on them."""
    database = postgres_schema(party.url, party.schema)
    with database.engine.begin() as connection:
        for table in sa.inspect(connection).get_table_names(original):
            connection.exec_driver_sql(f"CREATE TABLE {table} AS TABLE {original}.{table}")
    database.close()


def tamper(network: list[Party], name: str, statement: str, **parameters: object) -> None:
    """Change a party's rows behind its back, as a database's administrator can."""
    party = next(party for party in network if party.name == name)
    database = Database.open(party.url, party.schema)
    with database.engine.begin() as connection:
        changed = connection.execute(sa.text(statement), parameters)
    database.close()
    assert changed.rowcount, f"the tampering changes nothing: {statement}"


def verdicts(network: list[Party], *, quiescent: bool = True) -> dict[str, Check]:
    return {check.name: check for check in audit(network, quiescent=quiescent)}


def broken(network: list[Party]) -> list[str]:
    return [name for name, check in verdicts(network).items() if not check.holds]


def findings(network: list[Party], name: str) -> str:
    return "\n".join(verdicts(network)[name].findings)


def test_sound_books_pass_every_check_and_each_looked_at_something(network: list[Party]) -> None:
    checks = audit(network)
    assert [check.name for check in checks] == CHECKS
    assert [finding for check in checks for finding in check.findings] == []
    assert all(check.holds and check.examined > 0 and check.title_zh and check.title_en for check in checks)


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda each: each.story.replace(" ", "-"))
def test_tampering_is_found_by_its_check_with_the_amounts(tampering: Tampering, network: list[Party]) -> None:
    tamper(network, tampering.party, tampering.statement)
    check = verdicts(network)[tampering.check]
    assert not check.holds, f"{tampering.check} did not notice that {tampering.story}"
    said = "\n".join(check.findings)
    assert [part for part in tampering.says if part not in said] == [], said


def test_a_voucher_captured_at_home_and_away_is_found_with_both_places(network: list[Party]) -> None:
    """What one voucher's two captures would look like: both rows name it."""
    tamper(
        network,
        HANGZHOU,
        "UPDATE redemption SET pack_id = (SELECT pack_id FROM voucher WHERE epoch = 1 ORDER BY pack_id LIMIT 1), "
        f"voucher_index = 1 WHERE id = {FIRST_HOME}",
    )
    said = findings(network, ONCE)
    assert "is captured 2 times: clearinghouse: redemption" in said
    assert "; 330100: redemption" in said


def test_a_changed_hand_over_is_found_though_both_sums_fit(network: list[Party]) -> None:
    body = custody_pb2.HandOver(head=b"another").SerializeToString()
    statement = "UPDATE hand_over SET body = :body WHERE number = 1"
    tamper(network, CLEARINGHOUSE, f"{statement} AND issuer = '330100'", body=body)
    assert "hand-over of 330100 1 was received and is not what was sent" in findings(network, FUNDERS)


def test_a_fund_return_of_a_larger_sum_is_found(network: list[Party]) -> None:
    legs = [signed_pb2.Leg(account=CITY, amount_fen=99_999)]
    body = custody_pb2.FundReturn(region=HANGZHOU, number=1, legs=legs).SerializeToString()
    tamper(network, HANGZHOU, "UPDATE fund_return SET body = :body", body=body)
    said = findings(network, FUNDERS)
    assert "fund return to 330100 1 was received and is not what was sent" in said
    assert f"330100: limit_fen of account {CITY}" in said


def test_a_request_without_an_answer_is_a_finding_only_when_nothing_may_be_under_way(network: list[Party]) -> None:
    tamper(
        network,
        SUZHOU,
        "INSERT INTO outbox (caller, request_id, own_id, operation, body_hash, content, merchant, order_id, sent_at, "
        "answered, seal) VALUES ('p', :id, :id, 'redeem', :id, :id, 'm', 'o', 1, :answered, :id)",
        id=b"\x07" * 16,
        answered=False,
    )
    assert "320500: 1 requests wait for an answer: 0707" in findings(network, MIRRORS)
    assert verdicts(network, quiescent=False)[MIRRORS].holds


def test_news_that_has_not_arrived_is_a_finding_only_when_nothing_may_be_under_way(network: list[Party]) -> None:
    tamper(network, HANGZHOU, "UPDATE counter SET value = value - 1 WHERE name = 'feed'")
    assert "330100: last event of the feed: says 5, recomputed 6" in findings(network, MIRRORS)
    assert verdicts(network, quiescent=False)[MIRRORS].holds


def test_totals_are_compared_with_what_a_node_has_heard_while_postings_may_be_under_way(network: list[Party]) -> None:
    assert verdicts(network, quiescent=False)[TOTALS].holds
    tamper(
        network, HANGZHOU, "UPDATE hourly_flow SET discount_fen = discount_fen + 1 WHERE redeeming_region = '330100'"
    )
    check = verdicts(network, quiescent=False)[TOTALS]
    assert not check.holds
    assert "330100: hourly flow over all hours" in check.findings[0]


def test_tampering_of_one_kind_does_not_raise_every_alarm(network: list[Party]) -> None:
    tamper(network, CLEARINGHOUSE, "UPDATE net_position SET net_fen = net_fen + 1 WHERE region = '320500'")
    assert broken(network) == [POSITIONS, MIRRORS]


def test_a_row_that_cannot_be_read_fails_its_checks_without_a_traceback(network: list[Party]) -> None:
    tamper(network, HANGZHOU, "UPDATE posting SET legs = '[[\"funding/x\", 1.5]]'")
    assert "1.5 fen of funding/x is not a whole number" in findings(network, DISCOUNTS)


def test_a_network_in_which_nothing_happened_proves_nothing(
    database_factory: Callable[[str], Database], database_url: Callable[[str], str], schema: Callable[[str], str]
) -> None:
    SoundNetwork(database_factory)
    checks = {check.name: check for check in audit(parties(database_url, schema))}
    assert not checks[ONCE].holds
    assert checks[ONCE].examined == 0
    assert checks[ONCE].findings == ("nothing was found to examine, so nothing is proved",)


def test_a_database_that_is_not_there_fails_every_check_and_is_not_created(tmp_path: Path) -> None:
    missing = [Party(name, f"sqlite:///{tmp_path / name}.db") for name in (CLEARINGHOUSE, HANGZHOU)]
    assert [check.holds for check in audit(missing)] == [False] * len(CHECKS)
    assert all("cannot be read" in check.findings[0] for check in audit(missing))
    assert list(tmp_path.iterdir()) == []


def test_a_network_has_exactly_one_clearinghouse() -> None:
    with pytest.raises(ValueError, match="one clearinghouse"):
        audit([Party(HANGZHOU, "sqlite:///x.db")])


def test_the_auditor_shares_no_code_with_the_ledger_the_books_or_custody() -> None:
    import simulations.auditor

    allowed = {"quanlian.v1", "sqlalchemy", "google", "simulations.auditor"}
    for file in Path(simulations.auditor.__file__).parent.glob("*.py"):
        for module in imported_modules(file):
            known = any(module == name or module.startswith(f"{name}.") for name in allowed)
            assert known or not is_ours_or_third_party(module), f"{file.name} imports {module}"


def imported_modules(file: Path) -> list[str]:
    modules = []
    for statement in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            modules += [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            modules.append(statement.module or "")
    return modules


def is_ours_or_third_party(module: str) -> bool:
    return module.partition(".")[0] not in sys.stdlib_module_names
