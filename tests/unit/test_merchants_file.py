"""A department's CSV file of merchants: what Excel writes is read, what is wrong is told line by line."""

from __future__ import annotations

import pytest

from node.merchants_file import MAX_PROBLEMS, Merchant, read_merchants
from quanlian.errors import InvalidInput
from quanlian.merchants import check_character

HEADING = "code,name,categories\n"


def code(number: int) -> str:
    first = f"91330100MA2{number:06d}"
    return first + check_character(first)


def problems(text: str | bytes) -> list[str]:
    content = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(InvalidInput) as refusal:
        read_merchants(content, "m.csv")
    return str(refusal.value).splitlines()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_is_read_with_or_without_excel_s_mark_and_line_ends(encoding: str, newline: str) -> None:
    text = f'{HEADING}{code(1)},知味观,retail; catering\n\n{code(2)},"楼外楼, 孤山路", \n'
    merchants = read_merchants(text.replace("\n", newline).encode(encoding), "m.csv")
    assert merchants == [
        Merchant(code(1), "知味观", ("retail", "catering")),
        Merchant(code(2), "楼外楼, 孤山路", ()),
    ]


@pytest.mark.parametrize("separator", [";", "；", "、", "|", " ", "; "])
def test_categories_are_separated_as_people_do_it(separator: str) -> None:
    (merchant,) = read_merchants(f"{HEADING}{code(1)},店,retail{separator}fuel{separator}retail".encode(), "m.csv")
    assert merchant.categories == ("retail", "fuel")


def test_every_bad_line_is_told_with_its_number() -> None:
    slip = code(1)[:-1] + ("0" if code(1)[-1] != "0" else "1")
    told = problems(
        f"{HEADING}{slip},店,retail\n{code(2)},,retail\n\n{code(3)},店,Retail;餐饮\n{code(4)},店\n{code(5)},店,\n{code(5)},店,\n"
    )
    assert [line.split(" — ")[0] for line in told] == [
        f"m.csv:2: code: '{slip}' 不是统一社会信用代码 · '{slip}' is not a unified social credit code",
        "m.csv:3: name: ''",
        "m.csv:5: categories: Retail, 餐饮",
        "m.csv:6: 有2栏，应为3栏 · 2 fields instead of 3",
        f"m.csv:8: {code(5)} 与第7行重复 · {code(5)} stands on line 7 too",
    ]
    assert all(" — " in line for line in told)


def test_a_code_that_excel_made_a_number_is_told_on_its_line() -> None:
    (told,) = problems(f"{HEADING}9.1330100E+17,店,\n")
    assert told.startswith("m.csv:2: code: '9.1330100E+17'")


def test_a_file_of_another_program_is_told_what_it_should_be() -> None:
    (gbk,) = problems(f"{HEADING}{code(1)},知味观,".encode("gbk"))
    assert gbk.startswith("m.csv:2: 不是UTF-8编码 · is not UTF-8 — 在Excel中另存为“CSV UTF-8”")
    (heading,) = problems("名称,代码\n")
    assert heading.startswith("m.csv:1: 表头为 '名称,代码' · the heading is '名称,代码' — ")
    assert heading.endswith("begin the file with code,name,categories")
    (quotes,) = problems(f'{HEADING}{code(1)},"店,retail\n')
    assert quotes.startswith("m.csv:2: 不是CSV · is not CSV")
    for empty in ("", HEADING):
        assert problems(empty)[0].startswith("m.csv: 没有商户 · names no merchant")


def test_a_file_that_is_wrong_throughout_is_told_in_part() -> None:
    told = problems(HEADING + "x,y,z\n" * (MAX_PROBLEMS + 7))
    assert len(told) == MAX_PROBLEMS + 1
    assert told[-1] == "……另有7处 · … and 7 more"
