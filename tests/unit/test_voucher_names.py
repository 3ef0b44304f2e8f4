"""How an operator names a single voucher on the command line."""

from __future__ import annotations

import pytest

from node.vouchers_cli import voucher_name, voucher_ref
from quanlian.errors import InvalidInput

PACK = "0197f3a2c4d1" + "ab" * 9


@pytest.mark.parametrize("written", [f"{PACK}/1", f"{PACK.upper()}/1"])
def test_hexadecimal_digits_are_read_in_either_case(written: str) -> None:
    assert voucher_name(voucher_ref(written)) == f"{PACK}/1"


@pytest.mark.parametrize(
    "written", [PACK, f"330100/{PACK}/1", "lost/0", "00/1", f"{PACK}00/1", f"{PACK}/first", f"{PACK}/-1", f"{PACK}/100"]
)
def test_what_is_no_voucher_is_refused_with_how_to_write_one(written: str) -> None:
    with pytest.raises(InvalidInput, match="PACK/INDEX") as refused:
        voucher_ref(written, "PACK/INDEX")
    assert written in str(refused.value)
