"""What a command at the dedicated account says, without a service behind it."""

from __future__ import annotations

import pytest

from chassis import cli
from node.treasury_cli import marked
from quanlian.v1.payment_pb2 import Payment


def test_a_payment_that_came_back_is_not_called_paid_when_its_reference_is_told_again() -> None:
    payment = Payment(number=3, payee="alipay", amount_fen=500, bank_reference="bank-3")
    assert marked(payment) == "已付 paid: 3 alipay 5.00 元 (bank-3)"
    payment.returned_reference = "back-3"
    assert marked(payment) == "已退汇 returned: 3 alipay 5.00 元 (back-3)"


@pytest.mark.parametrize("region", ["", " "])
def test_a_deposit_of_no_region_is_no_receipt_in_suspense(region: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["clearinghouse", "deposit", region, "5", "--reference", "X1"]) == 1
    assert "quanlian clearinghouse receipt" in " ".join(capsys.readouterr().err.split())
