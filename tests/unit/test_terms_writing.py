"""Campaign terms written back to a file: only what differs changes, and comments stay."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from quanlian.terms_parsing import parse_terms
from quanlian.terms_writing import rewrite_terms, write_terms

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "campaigns").glob("*.toml"))
SMALL = b"""\
# who pays
[campaign]
id = "abc"                    # the name
hold_seconds = 900            # 15 minutes
channels = ["shop", "online"] # both

# the province comes first
[[funder]]
name = "province"
budget = 10_000.00  # enough
# and no more

# then the city
[[funder]]
name = "city"
budget = 1.00
# the end
"""


def values_of(content: bytes) -> dict[str, Any]:
    return tomllib.loads(content.decode(), parse_float=Decimal)


def changed(content: bytes, values: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The lines that went and the lines that came."""
    before, after = content.decode().splitlines(), rewrite_terms(content, values).decode().splitlines()
    return [line for line in before if line not in after], [line for line in after if line not in before]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_file_written_anew_has_the_same_terms(path: Path) -> None:
    content = path.read_bytes()
    old, new = parse_terms(content, path.name), parse_terms(write_terms(values_of(content)), path.name)
    assert replace(new, terms_hash=old.terms_hash) == old


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_what_nobody_changed_is_the_same_to_the_byte(path: Path) -> None:
    content = path.read_bytes()
    assert rewrite_terms(content, values_of(content)) == content


def test_a_changed_value_leaves_its_comment_in_its_column() -> None:
    values = values_of(SMALL)
    values["campaign"]["hold_seconds"] = 86_400
    gone, came = changed(SMALL, values)
    assert gone == ["hold_seconds = 900            # 15 minutes"]
    assert came == ["hold_seconds = 86_400         # 15 minutes"]


def test_a_comment_moves_only_where_the_value_needs_its_place() -> None:
    values = values_of(SMALL)
    values["campaign"]["channels"] = ["shop", "online", "delivery"]
    assert changed(SMALL, values)[1] == ['channels = ["shop", "online", "delivery"] # both']


def test_the_order_of_a_set_is_no_change_and_that_of_regions_is() -> None:
    content = SMALL.replace(b"channels =", b'regions = ["310000", "320000"]\nchannels =')
    values = values_of(content)
    values["campaign"]["channels"].reverse()
    assert rewrite_terms(content, values) == content
    values["campaign"]["regions"].reverse()
    assert 'regions = ["320000", "310000"]' in changed(content, values)[1]


def test_an_entry_that_goes_takes_its_comments_along() -> None:
    values = values_of(SMALL)
    del values["funder"][0]
    text = rewrite_terms(SMALL, values).decode()
    assert "province" not in text
    assert "and no more" not in text
    assert '# then the city\n[[funder]]\nname = "city"' in text
    assert text.endswith("# the end\n")


def test_entries_in_another_order_take_their_comments_along() -> None:
    values = values_of(SMALL)
    values["funder"].reverse()
    text = rewrite_terms(SMALL, values).decode()
    assert text.index("# then the city") < text.index("# the province comes first")
    assert values_of(text.encode()) == values


def test_a_new_field_an_absent_field_and_a_new_table_find_their_place() -> None:
    values = values_of(SMALL)
    values["campaign"]["roaming"] = "never"
    del values["campaign"]["hold_seconds"]
    values["funding"] = {"shortfall_rule": "refuse"}
    text = rewrite_terms(SMALL, values).decode()
    assert values_of(text.encode()) == values
    assert "15 minutes" not in text
    assert text.index("roaming") < text.index("[funding]") < text.index("[[funder]]")


def test_numbers_that_are_equal_are_no_change_and_true_is_not_one() -> None:
    content = b"[campaign]\na = 20.0\nb = 1\n"
    assert rewrite_terms(content, {"campaign": {"a": 20, "b": 1}}) == content
    assert rewrite_terms(content, {"campaign": {"a": 20, "b": True}}) == b"[campaign]\na = 20.0\nb = true\n"


@pytest.mark.parametrize(
    "content",
    [
        b'campaign.id = "abc"\n',
        b'campaign = { id = "abc" }\n',
        b'[[pack]]\nid = "a"\n[[round]]\nid = "b"\n[[pack]]\nid = "c"\n',
        b'["campaign"]\n"id" = "abc"\n',
    ],
    ids=["dotted field", "table on a line", "tables in turns", "quoted names"],
)
def test_a_layout_that_cannot_be_followed_is_written_anew(content: bytes) -> None:
    values = values_of(content)
    values["funding"] = {"cascade": "borne"}
    assert values_of(rewrite_terms(content, values)) == values


def test_text_with_quotes_and_controls_reads_the_same() -> None:
    values = {"campaign": {"title_zh": 'a "b" \\ 券 \x7f \t'}}
    assert values_of(write_terms(values)) == values


def test_line_ends_of_windows_stay() -> None:
    content = SMALL.replace(b"\n", b"\r\n")
    values = values_of(content)
    values["campaign"]["hold_seconds"] = 60
    assert rewrite_terms(content, values) == content.replace(b"900            #", b"60             #")


TIERS = b"""\
[[voucher_type]]
id = "car"

# the first
[[voucher_type.tier]]
class = "used"
from = 30_000.00
amount = 1_000.00             # a thousand

# the second
[[voucher_type.tier]]
class = "used"
from = 60_000.00
amount = 2_000.00             # two thousand

# the third
[[voucher_type.tier]]
class = "used"
from = 90_000.00
amount = 3_000.00             # three thousand
"""


def test_a_tier_put_between_others_leaves_each_its_comments() -> None:
    values = values_of(TIERS)
    tier = {"class": "used", "from": Decimal("45000.00"), "amount": Decimal("1500.00")}
    values["voucher_type"][0]["tier"].insert(1, tier)
    gone, came = changed(TIERS, values)
    assert gone == []
    assert came == ["from = 45_000.00", "amount = 1_500.00"]
    text = rewrite_terms(TIERS, values).decode()
    assert text.index("a thousand") < text.index("45_000.00") < text.index("# the second") < text.index("60_000.00")


def test_a_tier_that_goes_takes_its_own_comments_along() -> None:
    values = values_of(TIERS)
    del values["voucher_type"][0]["tier"][0]
    gone, came = changed(TIERS, values)
    assert gone == ["# the first", "from = 30_000.00", "amount = 1_000.00             # a thousand"]
    assert came == []


def test_a_tier_whose_bound_and_amount_change_keeps_its_comments_and_its_grouping() -> None:
    values = values_of(TIERS)
    values["voucher_type"][0]["tier"][1] |= {"from": Decimal("50000.00"), "amount": Decimal("2500.00")}
    assert changed(TIERS, values)[1] == ["from = 50_000.00", "amount = 2_500.00             # two thousand"]
