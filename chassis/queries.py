"""SELECTs that are built and compiled once: for a small one that costs SQLAlchemy ten times what the database does."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect


class Query:
    """A SELECT that a module keeps; what differs from call to call are `bindparam`s, given by name to `rows`."""

    def __init__(self, statement: sa.Select[Any]) -> None:
        self.columns: tuple[Any, ...] = tuple(statement.selected_columns)
        self._statement = statement
        self._compiled: dict[str, tuple[str, dict[str, Any]]] = {}

    def compiled(self, dialect: Dialect) -> tuple[str, dict[str, Any]]:
        """The text with named parameters, and the values of those that are the same in every call."""
        found = self._compiled.get(dialect.name)
        if found is None:
            made = self._statement.compile(dialect=dialect)
            found = self._compiled[dialect.name] = (str(made), dict(made.params))
        return found
