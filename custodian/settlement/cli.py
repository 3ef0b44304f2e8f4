"""清分 · Settlement: the story of one redemption's money."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from chassis import console
from chassis.operating import Json
from custodian.ledger.location import Schema, Settings, Url, books
from custodian.settlement.facts import facts_of
from quanlian.account_names import account_name
from quanlian.mirrored_story import Mirrored, mirrored_story
from quanlian.redemption_story import Facts, follows, story
from quanlian.story_steps import StoryStep, time_of

app = typer.Typer(no_args_is_help=True, help=__doc__, add_completion=False)


@app.callback()
def group() -> None:
    """清分 · Settlement: the story of one redemption's money."""


@app.command()
def explain(
    redemption: Annotated[str, typer.Argument(metavar="REDEMPTION_ID", help="核销编号（十六进制） · Its id in hex.")],
    config: Settings = None,
    database: Url = "",
    schema: Schema = "",
    as_json: Json = False,
) -> None:
    """一笔核销的资金始末：每一步的数字与规则；只读 · One redemption's money: every step with figures and rule.

    异地核销由清分平台裁定；发券地和核销地节点据所收通知说明，并指明另需何处查询。
    A use away is decided by the clearinghouse; the nodes of both regions tell it by what they were told, and where
    the rest is.
    """
    with books(config, database, schema) as transaction:
        facts = facts_of(transaction, _id(redemption))
    told = _mirrored_data(facts) if isinstance(facts, Mirrored) else _decided_data(facts)
    steps = mirrored_story(facts) if isinstance(facts, Mirrored) else story(facts)
    if as_json:
        console.print_json({"redemption_id": redemption, **told, "steps": [step.as_data() for step in steps]})
        return
    console.console.print(Text(f"核销 Redemption {redemption}", style="bold"))
    for number, step in enumerate(steps, 1):
        _show(number, step)
    if told["follows"] is False:
        console.say("退货分摊与规则不符 · a refund's legs do not follow from the rules: quanlian ledger check")


def _decided_data(facts: Facts) -> dict[str, Any]:
    redemption = facts.redemption
    return {
        "state": redemption.state.name,
        "order_fen": redemption.order_fen,
        "discount_fen": redemption.discount_fen,
        "standing_fen": redemption.standing_fen,
        "agreement": redemption.agreement,
        "follows": follows(facts),
    }


def _mirrored_data(told: Mirrored) -> dict[str, Any]:
    """`follows` is for the decider's books to say."""
    captured = [posting for posting in told.postings if posting.kind == "capture"]
    return {
        "decided_by": told.decider,
        "state": told.state,
        "order_fen": sum(posting.order_fen for posting in captured),
        "discount_fen": sum(posting.discount_fen for posting in captured),
        "standing_fen": sum(leg.amount_fen for leg in told.standing),
        "agreement": told.agreement,
        "follows": None,
    }


def _show(number: int, step: StoryStep) -> None:
    when = f"（{time_of(step.at)}）" if step.at is not None else ""
    console.console.print(Text(f"{number}. {step.zh}{when}"))
    console.console.print(Text(f"   {step.en} [{step.rule}]", style="dim"))
    if not step.legs:
        return
    names = ["，".join(account_name(leg.account, step.funds)) for leg in step.legs]
    rows = [(name, leg.account, console.yuan(leg.amount_fen)) for name, leg in zip(names, step.legs, strict=True)]
    headings: list[console.Heading] = [("出资方", "Funder"), ("账户", "Account"), ("金额（元）", "Yuan")]
    console.console.print(console.table("", headings, rows))


def _id(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not an id in hex", param_hint="REDEMPTION_ID") from error
