"""What may be wrong with a workbook before the terms in it are judged, told as the checker tells its own rules."""

from __future__ import annotations

from typing import Final

from quanlian.file_rules import rule

# Sheets and headings

NO_SHEET: Final = rule(
    "工作表缺失", "is a sheet that is missing", "恢复该表，没有内容则留空", "bring it back, empty if it has no entries"
)
TWO_SHEETS: Final = rule(
    "工作表有 {count} 个", "is a sheet that is there {count} times", "只保留一个", "keep one and delete the others"
)
NO_FIELD_NAMES: Final = rule(
    "没有字段名", "has no field names", "重新导出，把内容贴过去", "export again and paste your entries"
)
NO_VALUES: Final = rule(
    "没有“填写 Value”一栏", "has no column of values", "重新导出，把内容贴过去", "export again and paste your entries"
)
FIELD_MISSING: Final = rule(
    "字段缺失", "is a field that is missing", "恢复字段名 {name}", "bring back the field name {name}"
)
FIELD_TWICE: Final = rule("字段出现两次", "is a field that is there twice", "删除一个", "delete one of them")
MISSPELT: Final = rule("不是本表的字段", "is not a field here", "是否为 {near}？", "did you mean {near}?")
NOT_A_FIELD: Final = rule(
    "不是本表的字段", "is not a field here", "备注栏无需字段名", "a column of notes needs no field name"
)

# Entries

EMPTY: Final = rule("缺少", "is missing", "填写此格", "fill in the cell")
NO_ENTRY: Final = rule("不在“{sheet}”中", "is in no row of {sheet}", "写该表中的代号", "name an id of that sheet")
UNNAMED: Final = rule("缺少", "is missing", "写“{sheet}”中的代号", "name an id of {sheet}")
TOO_MANY_VOUCHERS: Final = rule("超出范围", "is out of range", "写 1 至 {most}", "write 1 to {most}")

# Cells

ERROR_VALUE: Final = rule(
    "是错误值", "is an error of Excel's", "改正公式或直接填写", "mend the formula, or write the value"
)
UNSOLVED: Final = rule(
    "公式没有保存的结果",
    "is a formula without a stored result",
    "在 Excel 或 WPS 中打开并保存，或直接填写",
    "save it in Excel or WPS, or write the value",
)
TIME_FOR_TEXT: Final = rule(
    "是日期时间，不是文字", "is a time where text belongs", "把单元格设为文本", "format the cell as text"
)
NOT_A_CHOICE: Final = rule(
    "不在可选之列", "is not known", "从下拉列表中选择：{choices}", "choose from the list: {choices}"
)
NEITHER_YES_NOR_NO: Final = rule("不是“是”或“否”", "is neither yes nor no", "从下拉列表中选择", "choose from the list")
OTHER_REGION: Final = rule(
    "代码与名称不符：{code} 是{name}", "is not the name of {code}, {name}", "改正代码或名称", "let code and name agree"
)
NOT_AN_AMOUNT: Final = rule(
    "不是以元为单位的金额", "is not an amount in yuan", "写成 10.00 这样", "write it like 10.00"
)
PARTS_OF_A_FEN: Final = rule("小数超过两位", "has more than two decimals", "精确到分", "write yuan with two decimals")
NOT_A_PERCENTAGE: Final = rule("不是百分比", "is not a percentage", "写成 20% 这样", "write it like 20%")
WHICH_PERCENTAGE: Final = rule(
    "可能是 {less}%，也可能是 {more}%",
    "may mean either {less}% or {more}%",
    "写明百分号",
    "write it with the percent sign",
)
NOT_A_RATIO: Final = rule("不是倍数", "is not a ratio", "写成 5 或 3.5 这样", "write it like 5 or 3.5")
NOT_WHOLE: Final = rule("不是整数", "is not a whole number", "写成 100 这样", "write it like 100")
NOT_A_TIME: Final = rule(
    "不是日期和时间",
    "is not a date and time",
    "写北京时间，如 2026-01-20 10:00:00",
    "write Beijing time, like 2026-01-20 10:00:00",
)
NO_HOUR: Final = rule(
    "没有写明时刻，看不出当天是否包括在内",
    "has no hour, so it does not tell whether that day counts",
    "写 {day} 24:00（含当天）或 {day} 0:00（不含当天）",
    "write {day} 24:00 if it does, {day} 0:00 if not",
)
ENDS_AT_MIDNIGHT: Final = rule(
    "止于 0:00，最后一天是{last}",
    "ends at 0:00: the last day is {last}",
    "如{day}也算，写 {end}；否则写 {known}",
    "write {end} if {day} counts, {known} if not",
)
