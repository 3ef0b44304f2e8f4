"""A voucher is captured at most once, over all databases, and one party at a time may spend it."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from quanlian.v1 import redemption_pb2
from simulations.auditor.databases import Book, Network, VoucherKey
from simulations.auditor.inquiry import Inquiry

CAPTURED_STATES = ("CAPTURED", "PARTLY_REFUNDED", "REFUNDED")


def examine(network: Network, inquiry: Inquiry) -> None:
    _captured_once(network, inquiry)
    for book in network.books:
        _spent_as_captured(book, inquiry)
        _held_by_live_holds(book, inquiry)
    _one_custodian(network, inquiry)
    _dead_once_withdrawn(network, inquiry)


def _captured_once(network: Network, inquiry: Inquiry) -> None:
    """Over all parties: one capture a voucher, of vouchers that their issuer gave out."""
    captures: dict[VoucherKey, list[str]] = defaultdict(list)
    for book in network.books:
        for row in book.redemptions.values():
            if row.state in CAPTURED_STATES:
                captures[(row.issuer, row.pack_id, row.voucher_index)].append(
                    f"{book.name}: redemption {row.id.hex()} of {row.discount_fen} fen"
                )
    for key, places in captures.items():
        inquiry.require(len(places) == 1, f"voucher {_shown(key)} is captured {len(places)} times: {'; '.join(places)}")
        if not _issued(network, key) and key[0] not in network.restored:
            inquiry.find(f"voucher {_shown(key)} is captured and was never issued: {'; '.join(places)}")


def _spent_as_captured(book: Book, inquiry: Inquiry) -> None:
    """One party: `spend` rows, captured redemptions and captured vouchers are the same set."""
    spent = {
        row.redemption_id: (row.issuer, row.pack_id, row.voucher_index)
        for row in book.rows("SELECT issuer, pack_id, voucher_index, redemption_id FROM spend")
    }
    for id, row in book.redemptions.items():
        key = (row.issuer, row.pack_id, row.voucher_index)
        if row.state in CAPTURED_STATES:
            known = spent.pop(id, None)
            inquiry.require(
                known == key,
                f"{book.name}: redemption {id.hex()} of {row.discount_fen} fen is {row.state} "
                f"and spend has {'no row for it' if known is None else f'voucher {_shown(known)}'}",
            )
            voucher = book.vouchers.get(key)
            if voucher is None or not _may_say(voucher, id):
                status = voucher.row_status if voucher else "missing"
                inquiry.find(
                    f"{book.name}: voucher {_shown(key)} is {status}, its redemption {id.hex()} is {row.state}"
                )
    for id, key in spent.items():
        inquiry.find(f"{book.name}: spend of voucher {_shown(key)} names redemption {id.hex()}, which is not captured")


def _may_say(voucher: Any, captured_by: bytes) -> bool:
    """Whether a captured voucher's own row says so, or what it was just before."""
    return voucher.row_status in ("captured", "usable") or (
        voucher.row_status == "held" and voucher.row_hold == captured_by
    )


def _held_by_live_holds(book: Book, inquiry: Inquiry) -> None:
    """A voucher is held by the one live hold that it names."""
    for id, row in book.redemptions.items():
        if row.state == "AUTHORIZED":
            voucher = book.vouchers.get((row.issuer, row.pack_id, row.voucher_index))
            inquiry.require(
                voucher is not None and voucher.status == "held" and voucher.hold == id,
                f"{book.name}: redemption {id.hex()} holds {row.discount_fen} fen and its voucher does not name it",
            )
    for key, voucher in book.vouchers.items():
        if voucher.status == "held":
            hold = book.redemptions.get(voucher.hold)
            inquiry.require(
                hold is not None and hold.state == "AUTHORIZED",
                f"{book.name}: voucher {_shown(key)} is held by a redemption that is not live",
            )


def _one_custodian(network: Network, inquiry: Inquiry) -> None:
    """Even epochs are the issuer's, odd ones the clearinghouse's; only one side may believe itself custodian."""
    for key, row in network.clearinghouse.vouchers.items():
        issuer, pack_id, _ = key
        node = network.nodes.get(issuer)
        if node is None:
            inquiry.require(False, f"clearinghouse: voucher {_shown(key)} is of {issuer}, which is no node")
            continue
        known = node.vouchers.get(key)
        pack = node.packs.get(pack_id)
        if known is not None:
            epoch = known.epoch
        else:
            epoch = 1 if pack is not None and pack.roaming == "at-issue" else 0
        inquiry.require(
            row.epoch % 2 == 0 or epoch % 2 == 1,
            f"voucher {_shown(key)} has two custodians: epoch {row.epoch} at the clearinghouse, {epoch} at {issuer}",
        )
        if network.quiescent and row.epoch != epoch:
            inquiry.find(
                f"voucher {_shown(key)} has no custodian that both know: "
                f"epoch {row.epoch} at the clearinghouse, {epoch} at {issuer}"
            )


def _dead_once_withdrawn(network: Network, inquiry: Inquiry) -> None:
    """Somebody was told that it is captured, and nobody's books say so any more: it is never spent again."""
    suspended = "SELECT subject FROM suspension WHERE suspended"
    subjects = {row.subject for row in network.clearinghouse.rows(suspended)}
    for node in network.nodes.values():
        for row in node.rows("SELECT posting FROM withdrawn_posting"):
            posting = redemption_pb2.Posting.FromString(row.posting)
            key = (posting.issuer, posting.pack_id, posting.index)
            central = network.clearinghouse.vouchers.get(key)
            dead = central is not None and central.status in ("captured", "cancelled", "expired")
            inquiry.require(
                dead or _shown(key) in subjects,
                f"{node.name}: a posting of voucher {_shown(key)} was taken back, and the voucher can be spent",
            )


def _issued(network: Network, key: VoucherKey) -> bool:
    issuer, pack_id, index = key
    pack = network.nodes[issuer].packs.get(pack_id) if issuer in network.nodes else None
    return pack is not None and 0 <= index < len(json.loads(pack.voucher_types))


def _shown(key: VoucherKey) -> str:
    issuer, pack_id, index = key
    return f"{issuer}/{pack_id.hex()}/{index}"
