"""账本 · A party's books: balances, the journal as text, and whether everything holds."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import typer

from chassis import console
from chassis.operating import Json
from custodian.ledger.check import check_books, party_of
from custodian.ledger.journal import Wanted, balances, entries, text
from custodian.ledger.location import Schema, Settings, Url, books, keyring_of
from custodian.ledger.signatures import check_signatures, signed_rows
from quanlian.account_names import account_name
from quanlian.refusals import CHINA

app = typer.Typer(no_args_is_help=True, help=__doc__, add_completion=False)

Account = Annotated[str, typer.Option("--account", help="账户开头，如 funding/330100 · Accounts that begin so.")]
Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="日期（北京时间） · A day in China.")]


@app.callback()
def group() -> None:
    """账本：余额、流水、核对；只读，服务运行时也可用 · Balances, journal, check; read-only, also while it runs.

    用 --config 指明该方服务的设置文件，或用 --database 指明数据库。
    Name the party's settings file with --config, or its database with --database.
    """


@app.command(name="balances")
def show_balances(
    config: Settings = None, database: Url = "", schema: Schema = "", account: Account = "", as_json: Json = False
) -> None:
    """各账户余额 · Every account with what is posted, reserved, held and allowed."""
    with books(config, database, schema) as transaction:
        rows = balances(transaction, account)
    if as_json:
        console.print_json(
            {
                "accounts": [
                    {
                        "account": row.account,
                        "name_zh": account_name(row.account)[0],
                        "name_en": account_name(row.account)[1],
                        "posted_fen": row.posted_fen,
                        "reserved_fen": row.reserved_fen,
                        "held_fen": row.held_fen,
                        "limit_fen": row.limit_fen,
                    }
                    for row in rows
                ]
            }
        )
        return
    headings: list[console.Heading] = [
        ("账户", "Account"),
        ("名称", "Name"),
        ("余额（元，借为正）", "Posted, debits positive"),
        ("预留", "Reserved"),
        ("占用", "Held"),
        ("额度", "Limit"),
    ]
    shown = [
        (
            row.account,
            "\n".join(account_name(row.account)),
            *(console.yuan(fen) for fen in (row.posted_fen, row.reserved_fen, row.held_fen, row.limit_fen)),
        )
        for row in rows
    ]
    console.console.print(console.table("", headings, shown))


@app.command()
def journal(
    config: Settings = None,
    database: Url = "",
    schema: Schema = "",
    account: Account = "",
    since: Day = None,
    until: Day = None,
    redemption: Annotated[str, typer.Option(metavar="ID", help="一笔核销（十六进制） · One redemption, in hex.")] = "",
    as_json: Json = False,
) -> None:
    """流水，格式如纯文本账本 · The journal, like a plain-text accounting file.

    until 含当日。借为正；预留、占用、额度、垫付、年度上限为备查，列在方括号中；其余每笔合计为零。
    `until` is inclusive. Debits are positive; reserved, held, limit, advance and ceiling are memo amounts, in brackets:
    the others of an entry sum to zero.
    """
    wanted = Wanted(
        account,
        int(since.replace(tzinfo=CHINA).timestamp()) if since else None,
        int((until + timedelta(days=1)).replace(tzinfo=CHINA).timestamp()) if until else None,
        _id(redemption) if redemption else None,
    )
    with books(config, database, schema) as transaction:
        found = entries(transaction, wanted)
        if as_json:
            console.print_json({"entries": [each.as_data() for each in found]})
            return
        for each in found:
            print(text(each))


@app.command()
def check(config: Settings = None, database: Url = "", schema: Schema = "", as_json: Json = False) -> None:
    """重放全部账目，列出被改、删、重复、添加或移动之处 · Replay everything and name what was tampered with.

    用 --config 时另核对所存文件的每个签名，信任该方的根证书；有不符时退出码为1。
    With --config it also verifies every signature on what is kept, trusting the party's root certificate. Exit code 1
    when something does not hold.
    """
    keyring = keyring_of(config) if config else None
    with books(config, database, schema) as transaction, console.progress() as progress:
        progress.add_task("核对 checking", total=None)
        findings = check_books(transaction)
        if keyring is not None:
            party = party_of(transaction).signatures
            task = progress.add_task("验签 verifying signatures", total=signed_rows(transaction, party))
            findings += check_signatures(transaction, party, keyring, lambda rows: progress.advance(task, rows))
    if as_json:
        data = [each._asdict() for each in findings]
        console.print_json({"holds": not findings, "signatures_verified": keyring is not None, "findings": data})
    elif findings:
        headings: list[console.Heading] = [
            ("表", "Table"),
            ("行", "Row"),
            ("分录", "Entry"),
            ("金额（元）", "Yuan"),
            ("不符", "What does not hold"),
        ]
        rows = [
            (each.table, each.row, each.entry, console.yuan(each.amount_fen), f"{each.zh}\n{each.en}")
            for each in findings
        ]
        console.console.print(console.table("", headings, rows))
        console.say(f"{len(findings)} 处不符 · {len(findings)} findings")
    else:
        console.say("账目全部相符 · The books hold")
    if keyring is None and not as_json:
        console.say("未核对签名：请用 --config 指明根证书所在 · Signatures were not verified: that takes --config")
    if findings:
        raise typer.Exit(1)


def _id(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not an id in hex", param_hint="--redemption") from error
