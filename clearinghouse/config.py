"""The clearinghouse's settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

from chassis.config import DatabaseUrl


class ClearinghouseSettings(BaseModel):
    """The clearinghouse. Every field can also be set as `QUANLIAN_CLEARINGHOUSE_<FIELD>`."""

    listen: str = Field(default="127.0.0.1:7000", description="address for nodes and operators")
    database_url: DatabaseUrl = Field(description="sqlite:///… or postgresql://…")
    database_schema: str = Field(default="", description="PostgreSQL schema of this party")
    tls_directory: Path = Field(description="tls.crt, tls.key and root.crt")
    keys_directory: Path = Field(description="signing keys: message and statement")
    release_seconds: float = Field(default=2.0, gt=0, description="how long an issuer has to release a voucher")
    cut_off: str = Field(
        default="00:00",
        pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9])?$",
        description="when the open window closes each day, Asia/Shanghai; empty: only by command",
    )
    sweep_seconds: float = Field(default=5.0, gt=0, description="how often passed holds and vouchers are expired")

    @property
    def daily_cut_off(self) -> tuple[int, int] | None:
        """Hour and minute, or None where windows close only by command and at the end of a fiscal year."""
        if not self.cut_off:
            return None
        hour, minute = self.cut_off.split(":")
        return int(hour), int(minute)
