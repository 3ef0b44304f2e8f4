"""Changes of campaigns."""

from __future__ import annotations

from quanlian.campaign_changes import Change, ChangeKind
from quanlian.v1 import campaign_pb2
from quanlian.wire.reading import need, parse

CHANGE_KINDS = frozenset(kind.value for kind in ChangeKind)


def change_to_body(change: Change) -> bytes:
    """Serialise once; the signature covers these bytes."""
    return change_message(change).SerializeToString()


def change_message(change: Change) -> campaign_pb2.CampaignChange:
    return campaign_pb2.CampaignChange(
        issuer=change.issuer,
        campaign=change.campaign,
        number=change.number,
        kind=change.kind.value,  # type: ignore[arg-type]
        at=change.at,
        by=change.by,
        why=change.why,
        terms_hash=change.terms_hash,
        notice=change.notice,
        last_end=change.last_end,
    )


def body_to_change(body: bytes) -> Change:
    """Raises InvalidInput for another kind, or a change without who and why."""
    message = parse(campaign_pb2.CampaignChange, body, "campaign change")
    need(message.kind in CHANGE_KINDS, "campaign change.kind", "所列变更种类之一", "one of the kinds of change")
    need(bool(message.by and message.why), "campaign change", "决定人与原因", "who decided it and why")
    closes = message.kind == ChangeKind.CLOSE_OUT.value
    need((message.last_end > 0) is closes, "campaign change.last_end", "仅结项所有", "of a close-out, and of no other")
    return change_of(message)


def change_of(message: campaign_pb2.CampaignChange) -> Change:
    """The change that a message tells; its kind must be one of `CHANGE_KINDS`."""
    return Change(
        message.issuer,
        message.campaign,
        message.number,
        ChangeKind(message.kind),
        message.at,
        message.by,
        message.why,
        message.terms_hash,
        message.notice,
        message.last_end,
    )
