"""A node's settings."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from chassis.config import DatabaseUrl


class NodeSettings(BaseModel):
    """One region's node. Every field can also be set as `QUANLIAN_NODE_<FIELD>`."""

    region: str = Field(pattern=r"^[0-9]{6}$", description="GB/T 2260 code of the region")
    listen: str = Field(default="127.0.0.1:7100", description="address for platforms and operators")
    database_url: DatabaseUrl = Field(description="sqlite:///… or postgresql://…")
    database_schema: str = Field(default="", description="PostgreSQL schema of this party")
    tls_directory: Path = Field(description="tls.crt, tls.key and root.crt")
    keys_directory: Path = Field(description="signing keys: voucher, terms, message, and the holder-tag key")
    clearinghouse: str = Field(description="address of the clearinghouse")
    minimum_leverage: str | None = Field(
        default=None, pattern=r"^[1-9][0-9]*(/[1-9][0-9]*)?$", description="this region's bound, such as 5 or 10/3"
    )
    visitors_leverage: Literal["refuse", "warn", "off"] = Field(
        default="off", description="how the bound treats other regions' vouchers"
    )
    sweep_seconds: float = Field(default=5.0, gt=0, description="how often passed holds and vouchers are expired")

    @property
    def own_leverage_bound(self) -> Fraction | None:
        """The bound that the region's own campaigns must meet."""
        return None if self.minimum_leverage is None else Fraction(self.minimum_leverage)

    @property
    def leverage_bound(self) -> Fraction | None:
        """The bound that visitors' vouchers must meet, if they must."""
        return self.own_leverage_bound if self.visitors_leverage == "refuse" else None
