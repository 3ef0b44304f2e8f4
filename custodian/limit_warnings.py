"""Warnings that a region nears its limits, as the clearinghouse gives them and both keep them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, select

from custodian import schema
from custodian.seals import SEAL
from quanlian.v1 import limit_pb2

SHOWN = 50


def warning_row(warning: limit_pb2.LimitWarning) -> dict[str, Any]:
    return {
        "region": warning.region,
        "number": warning.number,
        "measure": limit_pb2.LimitMeasure.Name(warning.measure),
        "percent": warning.percent,
        "used_fen": warning.used_fen,
        "limit_fen": warning.limit_fen,
        "at": warning.at,
    }


def latest_warnings(connection: Connection) -> list[limit_pb2.LimitWarning]:
    """The latest `SHOWN` of all regions, newest first."""
    table = schema.limit_warning
    known = [column for column in table.columns if column.name != SEAL]
    query: Select[Any] = select(*known).order_by(table.c.at.desc(), table.c.region, table.c.number.desc()).limit(SHOWN)
    return [
        limit_pb2.LimitWarning(**dict(row._mapping) | {"measure": limit_pb2.LimitMeasure.Value(row.measure)})
        for row in connection.execute(query)
    ]
