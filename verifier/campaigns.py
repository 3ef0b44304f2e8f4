"""What issuers signed of their campaigns: since when terms count, and what notices gave the holders of vouchers."""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pki.trust import Keyring
from quanlian import wire
from quanlian.campaign_changes import AS_PUBLISHED, Change, ChangeKind, Standing, standing
from quanlian.errors import BadSignature, QuanlianError
from quanlian.terms import Terms
from verifier.findings import Finding
from verifier.keys import require_valid

KIND = "campaign-change"
_VERSIONS = (ChangeKind.PUBLISH, ChangeKind.AMEND)


@dataclass(slots=True)
class Campaigns:
    """Campaigns by issuer and id as their signed changes leave them, and since when each version of terms counts."""

    published: dict[bytes, int] = field(default_factory=dict)
    standings: dict[tuple[str, str], Standing] = field(default_factory=dict)

    def standing(self, terms: Terms) -> Standing:
        return self.standings.get((terms.issuer, terms.campaign), AS_PUBLISHED)


def read_campaigns(lines: Iterable[Mapping[str, Any]], keyring: Keyring) -> tuple[Campaigns, list[Finding]]:
    """The changes that stand before the evidence, in several files perhaps, and what is wrong with any of them."""
    found, findings = Campaigns(), list[Finding]()
    by_campaign: dict[tuple[str, str], dict[int, Change]] = {}
    for line in lines:
        try:
            change = _read(line, keyring)
            known = by_campaign.setdefault((change.issuer, change.campaign), {})
            if known.setdefault(change.number, change) != change:
                raise BadSignature(f"change {change.number} of {change.campaign} is told in two ways")
        except (QuanlianError, ValueError, KeyError, TypeError) as error:
            findings.append(Finding(KIND, "signature", str(error)))
    for (issuer, campaign), changes in by_campaign.items():
        missing = sorted(set(range(1, max(changes) + 1)) - changes.keys())
        findings += [Finding(f"{KIND} {issuer}/{campaign}", "number", "not there", str(each)) for each in missing]
        found.standings[(issuer, campaign)] = standing(changes.values())
        for _, change in sorted(changes.items()):
            if change.kind in _VERSIONS:
                found.published.setdefault(change.terms_hash, change.at)
    return found, findings


def _read(line: Mapping[str, Any], keyring: Keyring) -> Change:
    """A change that its issuer signed with its key for terms, while that was valid."""
    body, signature = (a2b_base64(line[name], strict_mode=True) for name in ("body", "signature"))
    key = keyring.verify(bytes.fromhex(line["key_id"]), KIND, body, signature)
    change = wire.body_to_change(body)
    if (key.owner, key.purpose) != (change.issuer, "terms"):
        raise BadSignature(f"a change of {change.campaign} is signed by {key.owner}'s key for {key.purpose}")
    require_valid(key, change.at)
    return change
