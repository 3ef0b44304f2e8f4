"""Which party's books a reading command opens, and how: read-only, also while the service runs; whom it trusts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer

from chassis.config import DatabaseSettings, IdentitySettings, shared_settings
from chassis.database import Database, Transaction
from pki import files
from pki.tls_files import ROOT
from pki.trust import Keyring, Trust
from quanlian.errors import ConfigurationError

Settings = Annotated[
    Path | None,
    typer.Option("--config", help="该方服务的设置文件 · Settings file of the party's service: settings.toml."),
]
Url = Annotated[str, typer.Option("--database", metavar="URL", help="或数据库 · Or its database: sqlite:///…")]
Schema = Annotated[str, typer.Option("--schema", help="PostgreSQL 模式 · PostgreSQL schema of the party.")]


@contextmanager
def books(config: Path | None, url: str, schema: str) -> Iterator[Transaction]:
    """One consistent picture of a party's books. Raises ConfigurationError where there are none."""
    if (config is None) == (not url):
        raise ConfigurationError("no books are named", place="ledger", remedy="give --config FILE or --database URL")
    if config is not None:
        found = shared_settings(DatabaseSettings, config)
        url, schema = found.database_url, found.database_schema
    _require_file(url)
    database = Database.open(url, schema)
    try:
        with database.snapshot() as transaction:
            if not sa.inspect(transaction.connection).has_table("entry"):
                raise ConfigurationError("holds no books", place=database.place, remedy="name a party's database")
            yield transaction
    finally:
        database.close()


def keyring_of(config: Path) -> Keyring:
    """The network's root and the party's own keys, by its settings file. Raises ConfigurationError or TrustError."""
    found = shared_settings(IdentitySettings, config)
    remedy = "put the network's root certificate there"
    keyring = Keyring(Trust(files.read(found.tls_directory / ROOT, remedy)))
    for path in sorted(found.keys_directory.glob("*.crt")):
        keyring.add(files.read(path, "certify the key again"))
    return keyring


def _require_file(url: str) -> None:
    """Reading makes no database: a wrong path is told, not filled."""
    name = url.partition("sqlite:///")[2]
    if name and not Path(name).is_file():
        raise ConfigurationError("no such file", place=url, remedy="name the party's database")
