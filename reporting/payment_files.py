"""Payments for a bank to make, as a workbook to sign and as a CSV file to upload."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pki import files
from reporting import names
from reporting.statement_files import make_folder
from reporting.workbook import Cell, Column, Workbook

KINDS = {
    "acquirer": ("垫付款兑付", "to an acquirer"),
    "return": ("结余退回", "back to a funder"),
    "lodging": ("缴存清分平台", "lodged with the clearinghouse"),
}
_COLUMNS = (
    Column("付款编号", "No.", "count"),
    Column("用途", "Purpose"),
    Column("收款人", "Payee"),
    Column("活动", "Campaign"),
    Column("原到账流水号", "Deposit that it gives back"),
    Column("制单时间", "Made out"),
    Column("制单人", "By"),
    Column("银行流水号", "Bank reference"),
    Column("金额（元）", "Amount, yuan", "yuan", summed=True),
)
_CSV = ("number", "purpose", "payee", "campaign", "deposit", "amount_yuan", "bank_reference")


class Payment(NamedTuple):
    """A payment as a bank needs it; amounts in fen, `bank_reference` empty until it is made."""

    number: int
    kind: str
    payee: str
    campaign: str
    deposit: str
    made_at: int
    made_by: str
    bank_reference: str
    amount_fen: int


def purpose(kind: str) -> str:
    zh, en = KINDS[kind]
    return f"{zh} {en}"


def write_payments(out: Path, region: str, payments: Sequence[Payment]) -> list[Path]:
    """Both files into a folder, which is made. Raises ConfigurationError where they cannot be written."""
    make_folder(out)
    written = [out / f"payments-{region}.xlsx", out / f"payments-{region}.csv"]
    files.write_atomically(written[0], payments_workbook(region, payments))
    files.write_atomically(written[1], payments_csv(payments))
    return written


def payments_workbook(region: str, payments: Sequence[Payment]) -> bytes:
    title = f"付款清单 Payments: {names.region_zh(region)} {names.region_en(region)}"
    book = Workbook(title)
    sheet = book.sheet("付款 Payments", title)
    sheet.table(_COLUMNS, [_row(each) for each in payments])
    sheet.signatures()
    sheet.fit()
    return book.content()


def payments_csv(payments: Sequence[Payment]) -> bytes:
    """UTF-8 with the byte-order mark that Excel looks for; yuan with two decimals."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_CSV)
    for each in payments:
        yuan = f"{each.amount_fen // 100}.{each.amount_fen % 100:02d}"
        writer.writerow(
            [each.number, purpose(each.kind), each.payee, each.campaign, each.deposit, yuan, each.bank_reference]
        )
    return text.getvalue().encode("utf-8-sig")


def _row(each: Payment) -> list[Cell]:
    return [
        each.number,
        purpose(each.kind),
        each.payee,
        each.campaign,
        each.deposit,
        names.moment(each.made_at),
        each.made_by,
        each.bank_reference,
        each.amount_fen,
    ]
