"""What a node can show of a request: the platform's message and its own answer, and both of the clearinghouse's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chassis.database import Transaction
from custodian.evidence import Kept, Requests, signed_now
from node import schema
from pki.identity import CLEARINGHOUSE
from quanlian.evidence import REQUEST_KIND, Exchange
from quanlian.signing import Signer


def exchanges(transaction: Transaction, id: bytes, region: str, signer: Signer) -> list[Exchange]:
    """Exchanges about a redemption or a request, in order; `id` may also be one under which a request was sent on."""
    names = [row.name for row in transaction.connection.execute(schema.platform.select())]
    outbox = schema.outbox
    sent_as = transaction.select_keys(outbox, [outbox.c.own_id], [(id,)])
    requests = Requests(transaction, sent_as[0].request_id if sent_as else id, names)
    keys = [(row.participant, row.request_id) for row in requests.rows] or [(name, id) for name in names]
    sent = transaction.select_keys(outbox, [outbox.c.caller, outbox.c.request_id], keys)
    by_key = {(row.caller, row.request_id): row for row in (*sent, *sent_as)}
    kept = Kept(transaction, [each for row in by_key.values() for each in (row.request_batch, row.answer_batch)])
    found: list[Exchange] = []
    for row in requests.rows:
        found.append(requests.exchange(row, f"{region}/{row.participant}", region))
        found += _sent_on(by_key.pop((row.participant, row.request_id), None), region, kept, signer)
    for row in by_key.values():
        asked = kept.item(row.request_batch, row.body_hash)
        found.append(Exchange(f"{region}/{row.caller}", region, asked, None))
        found += _sent_on(row, region, kept, signer)
    return found


def _sent_on(row: Any, region: str, kept: Kept, signer: Signer) -> Sequence[Exchange]:
    if row is None:
        return []
    answer = kept.answer_to(row.answer_batch, row.own_id)
    return [Exchange(region, CLEARINGHOUSE, signed_now(row.content, REQUEST_KIND, signer), answer)]
