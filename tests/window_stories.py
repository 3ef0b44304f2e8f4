"""What stories of settlement windows do at the clearinghouse: redeem away, close, confirm, instruct, pay, look."""

from __future__ import annotations

import json
from typing import Any

from local_parties import LocalClearinghouse, LocalNode, answer_of, item, keys_of, purchase

from clearinghouse.windows import Confirm
from quanlian.signing import digest
from quanlian.v1 import clearing_operator_pb2 as pb
from quanlian.v1 import settlement_pb2, signed_pb2

BANK = "bank/clearinghouse"


def away(node: LocalNode, clearinghouse: LocalClearinghouse, packs: int = 1) -> list[bytes]:
    """Packs of Hangzhou's vouchers in the clearinghouse's custody."""
    node.publish()
    clearinghouse.learn(node)
    tokens = node.claim(packs)
    keys = [key for token in tokens for key in keys_of(token)]
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys)))
    return tokens


def redeem(clearinghouse: LocalClearinghouse, number: int, token: bytes, index: int = 0) -> None:
    """10.00 at Shanghai's merchant: Hangzhou owes 7.00 of it, Shanghai's visitors' fund bears 3.00."""
    (answer,) = clearinghouse.redeem(item(number.to_bytes(16, "big"), redeem=purchase(token, index, f"order-{number}")))
    assert not answer_of(answer).HasField("refusal")


def close(clearinghouse: LocalClearinghouse) -> int:
    return clearinghouse.do(clearinghouse.service.settlement.close_window())


def statement(clearinghouse: LocalClearinghouse, region: str, window: int) -> dict[str, Any]:
    (row,) = [r for r in clearinghouse.rows("statement") if (r["settlement_window"], r["region"]) == (window, region)]
    return dict(json.loads(row["document"]))


def confirm_all(clearinghouse: LocalClearinghouse, window: int) -> None:
    for row in clearinghouse.rows("statement"):
        if row["settlement_window"] == window:
            confirmation = settlement_pb2.Confirmation(
                region=row["region"], window=window, statement_digest=digest("statement", row["document"])
            )
            message = signed_pb2.SignedMessage(body=confirmation.SerializeToString())
            (result,) = clearinghouse.decide(Confirm(row["region"], message, confirmation))
            assert not isinstance(result, Exception), result


def instruct(clearinghouse: LocalClearinghouse, window: int) -> None:
    confirm_all(clearinghouse, window)
    clearinghouse.do(clearinghouse.service.settlement.instruct(window))


def mark(clearinghouse: LocalClearinghouse, window: int, region: str, reference: str) -> None:
    request = pb.MarkPaidRequest(window=window, region=region, bank_reference=reference)
    clearinghouse.do(clearinghouse.service.settlement.mark_paid(request))


def deposit(clearinghouse: LocalClearinghouse, region: str, fen: int, reference: str) -> int:
    request = pb.RecordDepositRequest(region=region, amount_fen=fen, bank_reference=reference)
    return clearinghouse.do(clearinghouse.service.settlement.record_deposit(request))


def pay_ahead(clearinghouse: LocalClearinghouse, region: str, funder: str, fen: int, reference: str) -> int:
    """As a funder does, `CAMPAIGN/NAME`. Returns what stands there of its money."""
    campaign, _, name = funder.partition("/")
    request = pb.RecordDepositRequest(region=region, amount_fen=fen, bank_reference=reference)
    request.funder.CopyFrom(pb.Funder(campaign=campaign, funder=name))
    return clearinghouse.do(clearinghouse.service.settlement.record_deposit(request))


def pay_out(clearinghouse: LocalClearinghouse, region: str, fen: int, reference: str) -> int:
    request = pb.PayOutRequest(region=region, amount_fen=fen, bank_reference=reference)
    return clearinghouse.do(clearinghouse.service.settlement.pay_out(request))


def send_back(clearinghouse: LocalClearinghouse, pay_out: str, reference: str) -> pb.MarkPayOutReturnedResponse:
    """As the bank does with a pay-out that it could not credit."""
    request = pb.MarkPayOutReturnedRequest(pay_out=pay_out, bank_reference=reference)
    return clearinghouse.do(clearinghouse.service.settlement.mark_returned(request))


def posted(clearinghouse: LocalClearinghouse, account: str) -> int:
    return next((row["posted_fen"] for row in clearinghouse.rows("account") if row["account"] == account), 0)
