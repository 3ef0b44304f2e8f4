"""A terms file that breaks rules is read to its end, and each problem names line, field, rule and remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from local_parties import campaign

from quanlian.errors import InvalidInput
from quanlian.terms_file import MAX_FILE_BYTES, InvalidTerms, shift_dates
from quanlian.terms_parsing import parse_terms

CAMPAIGNS = sorted((Path(__file__).parents[2] / "examples" / "campaigns").glob("*.toml"))

GOOD = """\
[campaign]
id = "autumn"
title_zh = "秋季消费券"
title_en = "Autumn vouchers"
issuer = "330100"
fiscal_year = 2026
budget_document = "document 1"
starts_at = 2026-09-01T00:00:00+08:00
ends_at = 2026-12-01T00:00:00+08:00
roaming = "never"
regions = ["330100", "yrd"]
channels = ["shop"]

[funding]
shortfall_rule = "cascade"

[[funder]]
name = "city"
title_zh = "市"
level = "city"
weight = 1
budget = 1000.00

[[cofunder]]
kind = "platform"
name = "wallet"
share_percent = 20
budget = 100.00

[[voucher_type]]
id = "off"
title_zh = "满减"
title_en = "off"
kind = "threshold"
categories = ["retail"]
face = 10.00
minimum_spend = 50.00

[[voucher_type]]
id = "car"
title_zh = "汽车"
title_en = "car"
kind = "tiered"
categories = ["car"]

[[voucher_type.tier]]
class = "used"
from = 30000.00
amount = 600.00

[[voucher_type.tier]]
class = "used"
from = 60000.00
amount = 1000.00

[[pack]]
id = "pack"
title_zh = "包"
title_en = "pack"
vouchers = ["off", "car"]
valid_until = 2026-11-01T00:00:00+08:00

[[round]]
id = "one"
pack = "pack"
mode = "lottery"
opens_at = 2026-09-01T10:00:00+08:00
closes_at = 2026-09-02T10:00:00+08:00
quota = 10
per_person = 1
"""


def problems_of(text: str) -> str:
    with pytest.raises(InvalidTerms) as caught:
        parse_terms(text.encode(), "a.toml")
    return str(caught.value)


def with_line(old: str, new: str) -> str:
    assert GOOD.count(old) >= 1, f"{old!r} is not in the good file"
    return GOOD.replace(old, new, 1)


def test_the_good_file_is_good() -> None:
    assert parse_terms(GOOD.encode(), "a.toml").campaign == "autumn"


CAMPAIGN_END = "2026-12-01T00:00:00+08:00"
PACK_END = "valid_until = 2026-11-01T00:00:00+08:00"
A_BANK = '[[cofunder]]\nkind = "bank"\nname = "bank"\nshare_percent = 80.5\nbudget = 1.00\n'

BROKEN = [
    ('id = "autumn"', 'id = "Au"', "2: campaign.id: 'Au' is not an identifier"),
    ('id = "autumn"', 'id = "visitors"', "2: campaign.id: 'visitors' is the name of the funds for visitors"),
    ('id = "autumn"\n', "", "1: campaign.id: is missing"),
    ('"330100"\nfiscal', '"999999"\nfiscal', "5: campaign.issuer: '999999' is not a region code"),
    ("fiscal_year = 2026", 'fiscal_year = "2026"', "6: campaign.fiscal_year: '2026' is of the wrong type"),
    ("fiscal_year = 2026", "fiscal_year = true", "campaign.fiscal_year: true is of the wrong type"),
    ('"秋季消费券"', '"秋季\\u001b[31m"', "3: campaign.title_zh: '秋季\\x1b[31m' is not a title"),
    (
        CAMPAIGN_END,
        "2026-08-01T00:00:00+08:00",
        "9: campaign.ends_at: 2026-08-01T00:00:00+08:00 is not after starts_at",
    ),
    (CAMPAIGN_END, "2026-12-01T00:00:00", "9: campaign.ends_at: 2026-12-01T00:00:00 has no zone"),
    (CAMPAIGN_END, "2026-12-01", "9: campaign.ends_at: 2026-12-01 is of the wrong type"),
    ('roaming = "never"', 'roaming = "always"', "10: campaign.roaming: 'always' is not known"),
    (
        '["330100", "yrd"]',
        '["330100",\n "mars"]',
        "12: campaign.regions[2]: 'mars' is not a scope of regions",
    ),
    ('channels = ["shop"]', "channels = []", "12: campaign.channels: [] has 0 entries"),
    ('channels = ["shop"]', 'channels = ["shop", "moon"]', "12: campaign.channels[2]: 'moon' is not known"),
    ("[funding]", "minimum_leverage = 0.5\n[funding]", "campaign.minimum_leverage: 0.5 is not a ratio"),
    ("[funding]", "minimum_leverage = inf\n[funding]", "campaign.minimum_leverage: Infinity is not a ratio"),
    ("[funding]", "hold_seconds = 0\n[funding]", "campaign.hold_seconds: 0 is out of range"),
    ('[funding]\nshortfall_rule = "cascade"\n', "", "1: funding: is missing"),
    ("weight = 1\n", "weight = 0\n", "21: funder[1].weight: 0 and every other weight is 0"),
    ("weight = 1\n", "weight = -1\n", "21: funder[1].weight: -1 is out of range"),
    ("budget = 1000.00", "budget = 1000.0", "22: funder[1].budget: 1000.0 is not an amount in yuan"),
    ("budget = 1000.00", "budget = 1000", "22: funder[1].budget: 1000 is of the wrong type"),
    ("budget = 1000.00", "budget = 1e400000000", "funder[1].budget: 1E+400000000 is not an amount"),
    ("budget = 1000.00", "budget = 0.00", "funder[1].budget: 0.00 is out of range"),
    ("budget = 1000.00", "budget = 1000000000000.01", "funder[1].budget: 1000000000000.01 is out of range"),
    (
        'name = "wallet"',
        'name = "merchant"',
        "26: cofunder[1].name: 'merchant' is the name of the merchants' own account",
    ),
    ('name = "city"', 'name = "merchant"', "18: funder[1].name: 'merchant' is the name of the merchants' own account"),
    ('name = "wallet"', 'name = "city"', "26: cofunder[1].name: 'city' is used above"),
    (
        "share_percent = 20",
        "share_percent = 0.12345",
        "27: cofunder[1].share_percent: 0.12345 is not a share",
    ),
    (
        "[[voucher_type]]",
        A_BANK + "[[voucher_type]]",
        "33: cofunder[2].share_percent: 80.5 takes the shares over 100 percent",
    ),
    ('kind = "platform"', 'kind = "merchant"', "28: cofunder[1].budget: 100.00 is not a field here"),
    ('kind = "threshold"', 'kind = "gift"', "34: voucher_type[1].kind: 'gift' is not known"),
    (
        "minimum_spend = 50.00",
        "minimum_spend = 9.99",
        "37: voucher_type[1].minimum_spend: 9.99 is less than the face",
    ),
    ('kind = "threshold"', 'kind = "fixed"', "37: voucher_type[1].minimum_spend: 50.00 is not a field here"),
    (
        "from = 60000.00",
        "from = 30000.00",
        "53: voucher_type[2].tier[2].from: 30000.00 is not above the tier before it",
    ),
    (
        "from = 60000.00",
        "from = 20000.00",
        "53: voucher_type[2].tier[2].from: 20000.00 is not above the tier before it",
    ),
    ('["off", "car"]', '["off", "bus"]', "60: pack[1].vouchers[2]: 'bus' is no voucher type of this file"),
    (
        '["off", "car"]',
        str(["off"] * 65).replace("'", '"'),
        "60: pack[1].vouchers: […] holds 65 vouchers, over 64 a pack",
    ),
    (PACK_END, "", "56: pack[1].valid_days: and valid_until: exactly one is needed"),
    (PACK_END, "valid_days = 3651", "61: pack[1].valid_days: 3651 is out of range"),
    (
        "[funding]",
        "minimum_leverage = 5.5\n[funding]",
        "voucher_type[1].minimum_spend: 50.00 is under 5.5 times the face",
    ),
    ("[funding]", 'visitors_leverage = "maybe"\n[funding]', "14: campaign.visitors_leverage: 'maybe' is not known"),
    ("[funding]", "vouchers_per_order = 2\n[funding]", "14: campaign.vouchers_per_order: 2 is out of range"),
    ("[funding]", 'other_discounts = "after"\n[funding]', "14: campaign.other_discounts: 'after' is not known"),
    ("[funding]", '[merchants]\nvetoes = ["rude"]\n[funding]', "15: merchants.vetoes[1]: 'rude' is not known"),
    ('mode = "lottery"', 'mode = "lottery"\ngroups = ["all"]', "67: round[1].groups[1]: 'all' is no group"),
    (
        'mode = "lottery"',
        'mode = "lottery"\nevidence = ["invoice"]',
        "67: round[1].evidence: […] does not go with mode lottery",
    ),
    (
        PACK_END,
        "valid_until = 2026-12-02T00:00:00+08:00",
        "61: pack[1].valid_until: 2026-12-02T00:00:00+08:00 is after the campaign's end",
    ),
    (
        PACK_END,
        "valid_until = 2026-09-01T10:00:00+08:00",
        "pack[1].valid_until: 2026-09-01T10:00:00+08:00 is over before",
    ),
    ('pack = "pack"', 'pack = "sack"', "65: round[1].pack: 'sack' is no pack of this file"),
    (
        "opens_at = 2026-09-01T10",
        "opens_at = 2026-08-31T10",
        "67: round[1].opens_at: 2026-08-31T10:00:00+08:00 is before the campaign starts",
    ),
    (
        "closes_at = 2026-09-02",
        "closes_at = 2026-12-02",
        "68: round[1].closes_at: 2026-12-02T10:00:00+08:00 is after the campaign ends",
    ),
    ("quota = 10\n", "quota = 0\n", "69: round[1].quota: 0 is out of range"),
    ("per_person = 1\n", "per_person = 1\nper_week = 2\n", "71: round[1].per_week: 2 is not a field here"),
    ("[campaign]", "[[extra]]\nx = 1\n[campaign]", "1: extra: […] is not a field here"),
    ("[[round]]", "[round]", "63: round: {…} is of the wrong type"),
]


@pytest.mark.parametrize(("old", "new", "message"), BROKEN, ids=[message for _, _, message in BROKEN])
def test_a_broken_rule_is_reported_where_it_stands(old: str, new: str, message: str) -> None:
    told = problems_of(with_line(old, new))
    assert message in told
    assert told.startswith("a.toml:")
    assert told.count("\n") == 0, f"one mistake, but several problems:\n{told}"
    assert " — " in told, "a problem without its remedy"


def test_every_problem_of_a_file_is_told_at_once_in_the_order_of_its_lines() -> None:
    text = GOOD
    for old, new in [
        ('"autumn"', '"Au"'),
        ("year = 2026", "year = 26"),
        ("1000.00", "1000.0"),
        ("50.00", "5"),
        ('"off", "car"', '"bus"'),
    ]:
        text = text.replace(old, new, 1)
    told = problems_of(text).split("\n")
    assert [int(line.split(":")[1]) for line in told] == [2, 6, 22, 37, 60]


def test_a_missing_section_is_one_problem_and_not_one_for_each_of_its_fields() -> None:
    told = problems_of(GOOD[GOOD.index("[funding]") :])
    assert told == "a.toml:1: campaign: is missing — give a table [campaign] · 缺少 — 应写明一张表 [campaign]"


def test_a_problem_can_be_read_as_data() -> None:
    with pytest.raises(InvalidTerms) as caught:
        parse_terms(with_line("face = 10.00", "face = 10.5").encode(), "a.toml")
    (problem,) = caught.value.problems
    assert (problem.line, problem.field, problem.value) == (36, "voucher_type[1].face", "10.5")


def test_fields_of_inline_tables_have_their_lines_too() -> None:
    tiers = GOOD[GOOD.index("[[voucher_type.tier]]") : GOOD.index("[[pack]]")]
    rows = [f'{{ class = "used", from = {start}, amount = 600.00 }}' for start in ("30000.00", "1")]
    told = problems_of(GOOD.replace(tiers, f"tier = [\n{rows[0]}, # first\n{rows[1]}]\n"))
    assert told.startswith("a.toml:48: voucher_type[2].tier[2].from: 1 is of the wrong type")


def test_a_misspelt_field_is_met_with_the_right_name() -> None:
    told = problems_of(with_line('channels = ["shop"]', 'channel = ["shop"]'))
    assert "a.toml:12: campaign.channel: […] is not a field here — did you mean channels?" in told


def test_an_id_given_twice_is_reported_at_its_second_place() -> None:
    told = problems_of(with_line('id = "car"', 'id = "off"'))
    assert "a.toml:40: voucher_type[2].id: 'off' is used above" in told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD.encode() + b"#" * MAX_FILE_BYTES, "a.toml:1: file: [0-9]+ bytes are over the 262144"),
        (GOOD.encode("gbk"), "a.toml:3: file: byte 37 is not UTF-8 — save the file as UTF-8, not GBK"),
        (b"\xef\xbb\xbf" + GOOD.encode(), "a.toml:1: file: begins with a byte-order mark"),
        (GOOD.replace("weight = 1", "weight = ").encode(), "a.toml:21: file: is not TOML: Invalid value"),
        (
            GOOD.replace("weight = 1", "weight = 1\nweight = 2").encode(),
            "a.toml:22: file: weight stands on line 21 already",
        ),
        (GOOD.encode() + b"[", "a.toml:71: file: is not TOML"),
        (b"a = " + b"[" * 100_000, "a.toml:1: file: nests too deeply"),
        (b"a = " + b"9" * 5000, "a.toml:1: file: is not TOML"),
        (b"a." * 50_000 + b"b = 1", "a.toml:1: file: has over 100 dots on a line"),
    ],
    ids=["too long", "GBK", "BOM", "no value", "key twice", "cut off", "nested", "huge number", "long key"],
)
def test_a_file_that_cannot_be_read_says_why(content: bytes, message: str) -> None:
    with pytest.raises(InvalidTerms, match=message):
        parse_terms(content, "a.toml")


def test_a_list_too_long_to_check_is_refused_whole() -> None:
    told = problems_of(GOOD + "[[round]]\n" * 300)
    assert told == "a.toml:1: round: […] has 301 entries — give 1 to 256 · 有 301 项 — 列 1 至 256 项"


def test_a_file_with_windows_line_ends_reads_the_same() -> None:
    windows = GOOD.replace("\n", "\r\n").encode()
    assert parse_terms(windows, "a.toml").packs == parse_terms(GOOD.encode(), "a.toml").packs


@pytest.mark.parametrize("path", CAMPAIGNS, ids=lambda path: path.stem)
def test_shifting_dates_there_and_back_leaves_every_byte(path: Path) -> None:
    content = path.read_bytes()
    shifted = shift_dates(content, 2421)
    assert shift_dates(shifted, -2421) == content
    before, after = parse_terms(content, path.name), parse_terms(shifted, path.name)
    assert after.starts_at - before.starts_at == 2421 * 86_400
    assert after.rounds[0].closes_at - before.rounds[0].closes_at == 2421 * 86_400


def test_only_dates_move_not_texts_comments_or_numbers() -> None:
    text = (
        b'a = 2020-02-28T23:00:00+08:00 # 2020-02-28T23:00:00+08:00\nb = "2020-02-28T23:00:00Z"\n'
        b"c = [2020-02-28 01:02:03Z, 2020-12-31]\nd = 2020\ne = '''\n2020-02-28T23:00:00Z'''\n"
    )
    assert shift_dates(text, 2) == (
        b'a = 2020-03-01T23:00:00+08:00 # 2020-02-28T23:00:00+08:00\nb = "2020-02-28T23:00:00Z"\n'
        b"c = [2020-03-01 01:02:03Z, 2021-01-02]\nd = 2020\ne = '''\n2020-02-28T23:00:00Z'''\n"
    )


def test_dates_are_not_shifted_out_of_the_calendar() -> None:
    with pytest.raises(InvalidInput, match=re.escape("line 2: 2020-02-28 moved by 10000000 days is no date")):
        shift_dates(b"\na = 2020-02-28T23:00:00+08:00\n", 10_000_000)


def test_a_field_written_twice_is_named_with_its_first_line() -> None:
    content = b'[campaign]\nid = "abc"\n# more\nid = "def"\n'
    with pytest.raises(InvalidTerms) as caught:
        parse_terms(content, "a.toml")
    problem = next(each for each in caught.value.problems if each.field == "file")
    assert (problem.line, problem.rule, problem.rule_zh) == (4, "id stands on line 2 already", "id 在第 2 行已写过")


def test_what_a_campaign_lacks_is_told_in_both_languages() -> None:
    terms = parse_terms(campaign(), "a.toml")
    with pytest.raises(InvalidInput, match="没有券种'retail' no voucher type 'retail'"):
        terms.voucher_type("retail")
