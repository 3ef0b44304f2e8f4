"""What the first sheet of the workbook says, (Chinese, English)."""

from __future__ import annotations

from typing import Final

GUIDE: Final[tuple[tuple[str, str], ...]] = (
    (
        "本工作簿就是活动细则：每张表对应细则的一个部分，在白色或浅黄色格中填写。",
        "This workbook is the terms of a campaign: one sheet for each part of them. Fill in the white or pale cells.",
    ),
    (
        "带*的字段必填；选中单元格可看到含义、单位和缺省值，留空即用缺省值。",
        "Fields with * are required. Select a cell to see its meaning, unit and default; empty means the default.",
    ),
    (
        "有下拉箭头的从列表中选。地区也可直接写六位代码；适用行业、发放对象可写多个，用顿号分开。",
        "Where there is an arrow, choose from the list. A region may be its six digits; several categories or groups "
        "are written with commas.",
    ),
    (
        "金额以元为单位，至多两位小数。比例写成20%。时间为北京时间，如2026-01-20 10:00:00；结束时间须写明时刻，"
        "如2026-12-31 24:00：只写日期看不出当天是否包括在内。",
        "Amounts are yuan with two decimals at most. Shares are written as 20%. Times are Beijing time, like "
        "2026-01-20 10:00:00; an end needs its hour, like 2026-12-31 24:00: a bare date does not tell whether that day "
        "counts.",
    ),
    (
        "一行一条，可增删、可换序，空行不计；券种、券包、轮次等靠代号互相引用，改代号须处处改。",
        "One entry a row; add, delete and reorder rows as you like, empty ones do not count. Vouchers, packs and "
        "rounds refer to each other by id: change an id everywhere.",
    ),
    (
        "灰色斜体的字段名用于读回，请勿改动；可另加备注列，字段名一格留空即可。不用的表留空，不要删除。",
        "The grey field names are for reading back: leave them. A column of your own for notes needs none. Leave a "
        "sheet without entries empty, do not delete it.",
    ),
    (
        "填好后保存为.xlsx，运行 quanlian campaign import-excel 文件.xlsx：一次报告全部错误，并写出标红的副本；"
        "改好副本即可再次导入。无错误时写出细则文件（TOML）。",
        "Save as .xlsx and run quanlian campaign import-excel FILE.xlsx: every fault is told at once, and a copy is "
        "written with the faulty cells in red, which you may mend and import again. Without faults the campaign file "
        "(TOML) is written.",
    ),
    (
        "细则文件中的注释保存在隐藏的“原文”表里，读回时保留在未删除的字段旁。",
        "Comments of the campaign file are kept in a hidden sheet and stay beside the fields that stay.",
    ),
)

SHEETS: Final[dict[str, tuple[str, str]]] = {
    "campaign": ("名称、发券地、活动期、消费渠道、各项规则", "title, issuing region, period, channels, rules"),
    "campaign.regions": ("可用券的地区，一行一个", "where vouchers may be used, one a row"),
    "funding": ("某一出资方用尽时怎么办", "what happens when a funder runs dry"),
    "funder[]": ("财政各级的权重与预算", "public funders with weight and budget"),
    "cofunder[]": ("平台、银行、商户的比例与预算", "platforms, banks and merchants with share and budget"),
    "merchants": ("商户条件与一票否决", "what merchants must show, and what bars them"),
    "group[]": ("定向发放的人群", "population groups"),
    "voucher_type[]": ("券种：类别、面值、最低消费等", "kinds of voucher: kind, face, minimum spend"),
    "voucher_type[].tier[]": ("按档补贴的类型与发票金额", "classes and invoice amounts of tiered vouchers"),
    "voucher_type[].attraction[]": ("联票各景点的分成", "attractions of a joint ticket with their shares"),
    "pack[]": ("券包：一次领取所得，及其有效期", "packs: what one claim gives, and its validity"),
    "pack[].vouchers": ("每个券包里有哪些券，各几张", "which vouchers are in a pack, and how many"),
    "round[]": ("发放轮次：时间、份数、限领", "rounds: when, how many, limits"),
}
"""What each sheet is for, by its table."""
