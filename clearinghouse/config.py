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
    sweep_seconds: float = Field(default=5.0, gt=0, description="how often passed holds and vouchers are expired")
