"""A statement as a workbook: a summary to sign, its lines, and its funders, a sheet each."""

from __future__ import annotations

from quanlian.statements import HOME, REDEEMER, FunderFigures, FunderKey, LineFigures, LineKey, Statement, net_fen
from reporting import names
from reporting.workbook import FIRST_ROW, Cell, Column, Formula, Sheet, Workbook

_LINES = (
    Column("角色", "Role"),
    Column("对方地区", "Counterpart"),
    Column("名称", "Name"),
    Column("活动", "Campaign"),
    Column("核销笔数", "Captures", "count", summed=True),
    Column("订单金额（元）", "Orders, yuan", "yuan", summed=True),
    Column("优惠金额（元）", "Discounts, yuan", "yuan", summed=True),
    Column("退款笔数", "Refunds", "count", summed=True),
    Column("退款订单（元）", "Refunded orders, yuan", "yuan", summed=True),
    Column("退回优惠（元）", "Refunded, yuan", "yuan", summed=True),
    Column("净优惠（元）", "Net discounts, yuan", "yuan", summed=True),
    Column("本地承担（元）", "Own share, yuan", "yuan", summed=True),
    Column("净额（元，正为应收）", "Net, yuan (+ receives)", "yuan", summed=True),
)
_LINES_SHEET = "明细 Lines"
_FUNDERS = (
    Column("出资方", "Funder"),
    Column("预算年度", "Fiscal year"),
    Column("活动", "Campaign"),
    Column("对方地区", "Counterpart"),
    Column("名称", "Name"),
    Column("使用（元）", "Used, yuan", "yuan", summed=True),
    Column("退回（元）", "Refunded, yuan", "yuan", summed=True),
    Column("净使用（元）", "Net, yuan", "yuan", summed=True),
)


def statement_workbook(statement: Statement, reference: str) -> bytes:
    """The file's bytes; `reference` names the signed document that it shows. Raises InvalidInput for too many lines."""
    book = Workbook(f"{statement.region} {statement.period}")
    title = f"清分对账单 Statement: {names.region_zh(statement.region)} {names.region_en(statement.region)}"
    summary = book.sheet("汇总 Summary", title)
    _facts(summary, statement, reference)
    _balances(summary, statement)
    summary.signatures()
    summary.fit()
    lines = book.sheet(_LINES_SHEET, f"{title} · 明细 Lines")
    lines.table(_LINES, (_line(key, statement.lines[key]) for key in sorted(statement.lines)))
    lines.fit()
    funders = book.sheet("出资方 Funders", f"{title} · 出资方 Funders")
    funders.table(_FUNDERS, (_funder(*each) for each in sorted(statement.funders.items())))
    funders.fit()
    return book.content()


def _facts(sheet: Sheet, statement: Statement, reference: str) -> None:
    period = statement.month or f"第 {statement.window} 场 window {statement.window}"
    sheet.fact("期间", "Period", period)
    sheet.fact("起", "From", names.moment(statement.opened_at))
    sheet.fact("止", "Until", names.moment(statement.closed_at))
    if statement.month:
        sheet.fact("场次", "Windows", ", ".join(map(str, statement.windows)))
    sheet.fact("签名文件", "Signed document", reference)
    sheet.space()


def _balances(sheet: Sheet, statement: Statement) -> None:
    """Opening to closing; what is received and paid is summed from the sheet of lines."""
    last = FIRST_ROW + len(statement.lines) - 1
    lines, refunds = (f"'{_LINES_SHEET}'!{column}{FIRST_ROW}:{column}{last}" for column in ("M", "J"))
    empty = not statement.lines
    cells: dict[str, str] = {}
    amounts: dict[str, int | str] = {
        "opening": statement.opening_fen,
        "lodged": statement.lodged_fen,
        "prefunded": statement.prefunded_fen,
        "paid_out": statement.paid_out_fen,
        "received": 0 if empty else f'=SUMIF({lines},">0")',
        "paid": 0 if empty else f'=-SUMIF({lines},"<0")',
        "refunded": 0 if empty else f"=SUM({refunds})",
        "net": "={received}-{paid}",
        "closing": "={opening}+{lodged}+{prefunded}-{paid_out}+{net}",
    }
    for name, (zh, en) in names.STATEMENT_BALANCES.items():
        amount = amounts[name]
        fen = getattr(statement, f"{name}_fen")
        value = Formula(amount.format(**cells), fen) if isinstance(amount, str) else amount
        cells[name] = sheet.amount(f"{zh}（元）", f"{en}, yuan", value, bold=name == "closing")
    sheet.space()


def _line(key: LineKey, figures: LineFigures) -> list[Cell]:
    net = {REDEEMER: "=K{row}-L{row}", HOME: "=0"}.get(key.role, "=-L{row}")
    return [
        names.role(key.role),
        key.counterpart,
        names.region_zh(key.counterpart),
        key.campaign,
        figures.captures,
        figures.order_fen,
        figures.discount_fen,
        figures.refunds,
        figures.refunded_order_fen,
        figures.refunded_fen,
        Formula("=G{row}-J{row}", figures.net_discount_fen),
        figures.own_share_fen,
        Formula(net, net_fen(key, figures)),
    ]


def _funder(key: FunderKey, figures: FunderFigures) -> list[Cell]:
    account, counterpart = key
    _, _, year, campaign, _ = account.split("/")
    return [
        names.funder(account),
        year,
        campaign,
        counterpart,
        names.region_zh(counterpart),
        *figures,
        Formula("=F{row}-G{row}", figures.net_fen),
    ]
