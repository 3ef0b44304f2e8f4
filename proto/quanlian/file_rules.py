"""Rules of a TOML file that a department writes, whatever it is about, told in Chinese and English with the remedy."""

from __future__ import annotations

from typing import Final, NamedTuple


class Words(NamedTuple):
    """The same in Chinese and English."""

    zh: str
    en: str


class Rule(NamedTuple):
    """What is wrong when the rule is broken, and the remedy; `{name}` stands for a figure that `of` fills in."""

    wrong: Words
    remedy: Words

    def of(self, **figures: object) -> Rule:
        """With these figures; one that is `Words` is put into each language in its own."""
        zh = {name: value.zh if isinstance(value, Words) else value for name, value in figures.items()}
        en = {name: value.en if isinstance(value, Words) else value for name, value in figures.items()}
        filled = [Words(each.zh.format(**zh), each.en.format(**en)) for each in self]
        return Rule(filled[0], filled[1])


def rule(zh: str, en: str, remedy_zh: str, remedy_en: str) -> Rule:
    """A rule from what is wrong and the remedy, each in Chinese and English."""
    return Rule(Words(zh, en), Words(remedy_zh, remedy_en))


# What a field must hold, for `MISSING` and `WRONG_TYPE`

TABLE: Final = Words("一张表 [{key}]", "a table [{key}]")
TABLES: Final = Words("一张或多张表 [[{key}]]", "one or more tables [[{key}]]")
TEXT: Final = Words("引号内的文字", "text in quotes")
TEXTS: Final = Words("由带引号的文字组成的列表", "a list of texts in quotes")
IDENTIFIER: Final = Words("引号内的代号", "an identifier in quotes")
CHOICE: Final = Words("{choices} 之一", "one of {choices}")
FLAG: Final = Words("true 或 false", "true or false")
COUNT: Final = Words("{lowest} 至 {highest} 的整数", "a whole number from {lowest} to {highest}")
YUAN: Final = Words("以元为单位、恰好两位小数的金额，如 10.00", "yuan with exactly two decimals, like 10.00")
PERCENT: Final = Words("百分数，如 20 或 12.5", "percent, like 20 or 12.5")
RATIO: Final = Words("倍数，如 5 或 3.5", "a ratio, like 5 or 3.5")
INSTANT: Final = Words(
    "带时区的日期和时间，如 2026-01-20T10:00:00+08:00", "a date and time with its zone, like 2026-01-20T10:00:00+08:00"
)

# The file

TOO_LONG: Final = rule(
    "字节，超过 {most} 字节",
    "bytes are over the {most} that a file may have",
    "缩短，或拆成几份文件",
    "shorten it, or make several files of it",
)
BYTE_ORDER_MARK: Final = rule(
    "以字节顺序标记（BOM）开头",
    "begins with a byte-order mark",
    "另存为不带 BOM 的 UTF-8",
    "save it as UTF-8 without BOM",
)
NOT_UTF8: Final = rule("不是 UTF-8", "is not UTF-8", "另存为 UTF-8，不要用 GBK", "save the file as UTF-8, not GBK")
TOO_MANY_DOTS: Final = rule(
    "一行内超过 {most} 个点", "has over {most} dots on a line", "把这一行断开", "break the line"
)
TOO_DEEP: Final = rule(
    "嵌套过深", "nests too deeply", "此类文件不需要列表套列表", "no field here needs a list inside a list"
)
NOT_TOML: Final = rule(
    "不合 TOML 格式：{fault}",
    "is not TOML: {fault}",
    "改正这一行或前一行",
    "mend the line, or the one before it",
)
WRITTEN_TWICE: Final = rule(
    "{key} 在第 {first} 行已写过",
    "{key} stands on line {first} already",
    "只保留一处",
    "keep one of them",
)

# Fields and tables

MISSING: Final = rule("缺少", "is missing", "应写明{expected}", "give {expected}")
WRONG_TYPE: Final = rule("类型不对", "is of the wrong type", "应写成{expected}", "give {expected}")
MISSPELT: Final = rule("不是此处的字段", "is not a field here", "是否为 {near}？", "did you mean {near}?")
NOT_A_FIELD: Final = rule("不是此处的字段", "is not a field here", "可用字段：{known}", "known are {known}")
NOT_TABLES: Final = rule(
    "不是表的列表", "is not a list of tables", "每一项前写 [[{key}]]", "write [[{key}]] before each"
)
ENTRIES: Final = rule("有 {count} 项", "has {count} entries", "列 1 至 {most} 项", "give 1 to {most}")
NOT_A_TITLE: Final = rule(
    "不是名称",
    "is not a title",
    "在一行内写 1 至 {most} 个可打印字符",
    "write 1 to {most} printable characters on one line",
)
NOT_AN_IDENTIFIER: Final = rule(
    "不是代号",
    "is not an identifier",
    "只用小写字母、数字和连字符：{pattern}",
    "use lower-case letters, digits and hyphens: {pattern}",
)
NOT_A_DOCUMENT_NUMBER: Final = rule(
    "不是文号",
    "is not a number of a document",
    "只用字母、数字和连字符：{pattern}",
    "use letters, digits and hyphens: {pattern}",
)
NOT_KNOWN: Final = rule("不在可选之列", "is not known", "从 {choices} 中选用", "use one of {choices}")
NOT_TEXT: Final = rule("不是文字", "is not text", "加上引号", "put it in quotes")
LISTED_TWICE: Final = rule("在此出现两次", "stands here twice", "各写一次", "name each once")
NAME_TAKEN: Final = rule("上文已用", "is used above", "各取一个，不要重复", "give each its own")
OUT_OF_RANGE: Final = rule(
    "超出范围",
    "is out of range",
    "写 {lowest} 至 {highest} 的整数",
    "write a whole number from {lowest} to {highest}",
)
NOTHING_ELSE: Final = rule("超出范围", "is out of range", "只能写 {only}", "write {only}, nothing else")
NOT_AN_AMOUNT: Final = rule(
    "不是以元为单位的金额",
    "is not an amount in yuan",
    "恰好写两位小数，如 10.00",
    "write exactly two decimals, like 10.00",
)
AMOUNT_OUT_OF_RANGE: Final = rule(
    "超出范围", "is out of range", "须大于 0.00 元，至多一万亿元", "write more than 0.00 yuan and at most a trillion"
)
NOT_A_SHARE: Final = rule(
    "不是比例",
    "is not a share",
    "写大于 0、至多 100 的百分数，小数至多四位",
    "write more than 0 and at most 100 percent, up to four decimals",
)
NOT_A_RATIO: Final = rule(
    "不是倍数",
    "is not a ratio",
    "写 1 至 1000 的数，小数至多四位",
    "write a number from 1 to 1000, up to four decimals",
)
NO_ZONE: Final = rule(
    "缺少时区，或带有不足一秒的小数", "has no zone or parts of a second", "应写成{expected}", "write {expected}"
)
YEAR_OUT_OF_RANGE: Final = rule(
    "超出范围", "is out of range", "年份写 {first} 至 {last}", "write a year from {first} to {last}"
)
NOT_A_REGION: Final = rule(
    "不是地区代码",
    "is not a region code",
    "用 GB/T 2260 的六位代码，如杭州 330100、上海 310000",
    "use the six digits of GB/T 2260, like 330100 for Hangzhou or 310000 for Shanghai",
)
NOT_A_SCOPE: Final = rule(
    "不是地区范围",
    "is not a scope of regions",
    "用地区代码、{groups} 或 {everywhere}",
    "use a region code, one of {groups}, or {everywhere}",
)
