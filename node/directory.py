"""The keys and documents of others: asked for at the clearinghouse, kept, and denied when a deny-list says so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from chassis import telemetry
from chassis.database import Query
from custodian.campaigns import verify_change
from custodian.deny_lists import newest_deny_list
from custodian.verification import RootMemory
from node import schema
from node.engine import Engine
from node.ports import Clearinghouse
from node.publishing import TakeChange
from pki.denylist import DenyList
from pki.trust import Keyring
from quanlian import vouchers
from quanlian.errors import InvalidInput, TrustError, Unavailable, UnknownKey
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import directory_pb2, signed_pb2
from quanlian.wire import Purchase

ASK_AGAIN_SECONDS = 5.0
_CHAINS, _PLATFORMS = Query(schema.known_chain.select()), Query(schema.platform.select())
_log = telemetry.logger("directory")


class Directory:
    """What this node knows of the other parties."""

    def __init__(self, engine: Engine, keyring: Keyring, roots: RootMemory, clearinghouse: Clearinghouse) -> None:
        self._engine = engine
        self._keyring = keyring
        self._roots = roots
        self._clearinghouse = clearinghouse
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._meeting: dict[bytes, asyncio.Future[None]] = {}

    # Met at a redemption

    async def acquaint(self, purchase: Purchase) -> None:
        """Fetch the keys and terms of a visitor's voucher that this node has not met yet.

        The directory is asked at most once in `ASK_AGAIN_SECONDS`, and terms only for a voucher whose signature holds,
        so that made-up vouchers cost the clearinghouse nothing.
        """
        voucher = purchase.voucher
        if not self.knows(voucher.key_id):
            await self._ask_for_keys(voucher.key_id)
        if voucher.issuer == self._engine.region.code or self._engine.shelf.get(voucher.terms_hash) is not None:
            return
        vouchers.verify(purchase.token, voucher, self._roots)
        await self._meet(voucher.terms_hash)

    async def _meet(self, terms_hash: bytes) -> None:
        """Have terms and their campaign's changes; all who meet the same ones at a time wait for one answer.

        When a campaign begins, hundreds do, at every node: a call for each would fill the clearinghouse's queue.
        """
        meeting = self._meeting.get(terms_hash)
        if meeting is None:
            meeting = self._meeting[terms_hash] = asyncio.ensure_future(self._load_or_fetch(terms_hash))
            meeting.add_done_callback(lambda _: self._meeting.pop(terms_hash))
        await asyncio.shield(meeting)

    async def _load_or_fetch(self, terms_hash: bytes) -> None:
        if not await self._engine.database.read(self._load_terms, terms_hash):
            for change in await self.fetch_terms(terms_hash):
                await self._engine.submit(TakeChange(verify_change(change, self._keyring)))

    def has_met(self, purchase: Purchase) -> bool:
        """Whether nothing need be fetched to judge a voucher: its key and its terms are at hand."""
        voucher = purchase.voucher
        at_hand = voucher.issuer == self._engine.region.code or self._engine.shelf.get(voucher.terms_hash) is not None
        return at_hand and self.knows(voucher.key_id)

    def knows(self, key_id: bytes) -> bool:
        try:
            self._keyring.key(key_id)
        except UnknownKey:
            return False
        return True

    async def _ask_for_keys(self, key_id: bytes) -> None:
        """Ask for the directory, unless somebody just did; who comes meanwhile waits for that answer.

        One that did not come is not asked for again at once either: a queue of unknown keys would wait for it in turn.
        """
        async with self._asking:
            loop = asyncio.get_running_loop()
            if not self.knows(key_id) and loop.time() - self._asked_at >= ASK_AGAIN_SECONDS:
                try:
                    await self.refresh()
                except Unavailable as error:
                    _log.warning("an unknown key could not be asked for", key=key_id.hex(), error=str(error))
                finally:
                    self._asked_at = loop.time()

    def _load_terms(self, terms_hash: bytes) -> bool:
        """Take terms from the database, where they are since before the last start; whether they were there."""
        table = schema.terms
        with self._engine.database.snapshot() as transaction:
            rows = transaction.select_keys(table, [table.c.terms_hash], [(terms_hash,)])
        for row in rows:
            self._engine.shelf.put(row.document)
        return bool(rows)

    # Keys

    async def refresh(self) -> directory_pb2.GetDirectoryResponse:
        """Learn every participant's signing keys; what does not lead to the root is passed over with a warning."""
        directory = await self._clearinghouse.directory()
        chains = [chain for each in directory.participants for chain in each.signing_chains]
        rows = []
        for chain in (*directory.clearinghouse_chains, *chains):
            try:
                rows.append({"key_id": self._keyring.add(chain).key_id, "chain": chain})
            except (TrustError, InvalidInput) as error:
                _log.warning("a signing key was not admitted", error=str(error))
        await self._engine.database.write(self._keep_chains, rows)
        return directory

    def _keep_chains(self, rows: Sequence[dict[str, Any]]) -> None:
        """Store the chains that the database does not have yet."""
        table = schema.known_chain
        keys = [(row["key_id"],) for row in rows]
        with self._engine.database.snapshot() as transaction:
            known = {(row.key_id, row.chain) for row in transaction.select_keys(table, [table.c.key_id], keys)}
        new = [row for row in rows if (row["key_id"], row["chain"]) not in known]
        if new:
            with self._engine.database.transaction() as transaction:
                transaction.upsert(table, new)

    def load_keys(self) -> None:
        """Admit the keys that the database holds, at start: those of platforms, and of others met before."""
        with self._engine.database.snapshot() as transaction:
            for row in (*transaction.rows(_CHAINS), *transaction.rows(_PLATFORMS)):
                self._keyring.add(row.chain)

    async def deny_newest(self) -> None:
        """Deny what the database's newest list denies now."""
        self._deny(await self._engine.database.read(self._newest_deny_list))

    def load_deny_list(self) -> None:
        """Deny what the database's newest list denies, at start."""
        self._deny(self._newest_deny_list())

    def _newest_deny_list(self) -> DenyList | None:
        with self._engine.database.snapshot() as transaction:
            known = newest_deny_list(transaction)
        return known.denylist if known else None

    def _deny(self, newest: DenyList | None) -> None:
        if newest is not None and newest.number > self._keyring.denylist.number:
            self._keyring.deny(newest)

    # Terms

    async def fetch_terms(self, terms_hash: bytes) -> Sequence[signed_pb2.SignedMessage]:
        """Keep what the clearinghouse has under a hash, if its issuer signed it; returns its campaign's changes."""
        response = await self._clearinghouse.terms(terms_hash)
        if not response.HasField("terms"):
            return []
        message = response.terms
        key = self._keyring.verify(message.key_id, "terms", message.body, message.signature)
        terms = parse_terms(message.body, "terms")
        if (key.owner, key.purpose) != (terms.issuer, "terms") or terms.terms_hash != terms_hash:
            return []
        await self.keep_terms(message)
        return response.changes

    async def require_terms(self, terms_hash: bytes) -> None:
        """Have terms in the database, fetched where they are not: those of a change that this node forgot."""
        if not await self._engine.database.read(self._load_terms, terms_hash):
            await self.fetch_terms(terms_hash)

    async def keep_terms(self, message: signed_pb2.SignedMessage) -> None:
        """Store a signed document of terms, whose signature was checked."""
        terms = parse_terms(message.body, "terms")
        row = {
            "terms_hash": terms.terms_hash,
            "campaign": terms.campaign,
            "issuer": terms.issuer,
            "document": message.body,
            "key_id": message.key_id,
            "signature": message.signature,
        }

        def store() -> None:
            with self._engine.database.transaction() as transaction:
                transaction.upsert(schema.terms, [row])

        await self._engine.database.write(store)
        self._engine.shelf.put(message.body)
