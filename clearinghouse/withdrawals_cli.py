"""Postings that a restored clearinghouse took back: which, and how people dealt with them."""

from __future__ import annotations

import typer

from chassis.operating import Config, Json, call, operator_settings
from custodian.withdrawal_report import All, ClosingReference, Note, Redemption, list_withdrawn, show_closed
from quanlian.v1 import clearing_operator_pb2 as pb
from quanlian.v1.clearing_operator_pb2_grpc import ClearingOperatorServiceStub

app = typer.Typer(help="清分平台恢复后撤回的入账 · Postings that a recovery took back.", no_args_is_help=True)


@app.command("list")
def list_all(everything: All = False, config: Config = None, as_json: Json = False) -> None:
    """列出待处理的撤回入账 · List what was taken back and is to be dealt with."""
    request = pb.ListNetworkWithdrawalsRequest(all=everything)
    answer = call(
        operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.ListNetworkWithdrawals, request
    )
    list_withdrawn(answer.withdrawn, everything, as_json)


@app.command()
def close(
    redemption: Redemption, reference: ClosingReference, note: Note, config: Config = None, as_json: Json = False
) -> None:
    """登记如何处理；再次登记同样内容不变 · Say how it was dealt with; the same once more changes nothing."""
    request = pb.CloseNetworkWithdrawalRequest(redemption_id=redemption, reference=reference, note=note)
    answer = call(
        operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.CloseNetworkWithdrawal, request
    )
    show_closed(answer.withdrawn, as_json)
