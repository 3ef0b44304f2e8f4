"""The signed documents that a verification rests on: terms by hash, agreements by number and version.

An agreement whose signatures do not fit is named, and what it says is recomputed all the same, so that the amounts that
it changes are named too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pki.trust import Keyring
from quanlian.agreement_signatures import signatories, verify_signature
from quanlian.agreements import Agreement, agreement_hash, lookup, parse_agreement
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import InvalidInput, QuanlianError
from quanlian.statement_evidence import SealedAgreement
from quanlian.terms import Terms
from quanlian.terms_parsing import parse_terms
from reporting.agreement_file import AgreementFile, read_agreement_file
from reporting.signed_file import read_signed
from verifier.campaigns import Campaigns
from verifier.findings import Finding
from verifier.keys import require_valid

Route = tuple[str, str, str]
"""Campaign, issuing and redeeming region."""


@dataclass(slots=True)
class Documents:
    """Terms by hash; agreements by `number vN`, as redemptions name them, and what the seal must attest of each."""

    terms: dict[bytes, Terms] = field(default_factory=dict)
    agreements: dict[str, Agreement] = field(default_factory=dict)
    attested: dict[str, SealedAgreement] = field(default_factory=dict)
    campaigns: Campaigns = field(default_factory=Campaigns)
    missing: set[str] = field(default_factory=set)
    """Agreements that a seal attests and the folder lacks."""
    none_given: bool = False
    """Not one agreement can be read, though some are needed."""
    _moments: list[int] = field(default_factory=list)
    _in_force: dict[tuple[Route, int], tuple[str, ...]] = field(default_factory=dict)

    def moment(self, at: int) -> int:
        """The same for all times between which no agreement comes into force or ends."""
        return bisect_right(self._times(), at)

    def in_force(self, route: Route, at: int) -> tuple[str, ...]:
        """The agreement that a redemption of `at` goes by, none if no agreement fits.

        In the second in which the clearinghouse signs a version, either it or the one before may have been meant.
        """
        moment = self.moment(at)
        known = self._in_force.get((route, moment))
        if known is None:
            before, after = (_looked_up(self._counting(later), route, at) for later in (1, 0))
            known = self._in_force[(route, moment)] = tuple(dict.fromkeys(each for each in (after, before) if each))
        return known

    def lacks(self, name: str) -> bool:
        """Whether an agreement's absence is told of the folder, so that no redemption which names it tells it again."""
        return self.none_given or name in self.missing

    def note_missing(self, sealed: set[str], is_sealed: bool) -> list[Finding]:
        """What the folder lacks of what seals attest; with a seal missing nobody says what that is."""
        self.missing = sealed - self.agreements.keys()
        self.none_given = not self.agreements and (bool(sealed) or not is_sealed)
        if self.none_given:
            return [Finding("agreements", "documents", "none", ", ".join(sorted(sealed)) or "those in force")]
        return [Finding(f"agreement {name}", "document", "not there", "there") for name in sorted(self.missing)]

    def count_only(self, sealed: set[str]) -> list[Finding]:
        """Leave out what no seal attests: nobody says since when it counts."""
        left_out = sorted(self.attested.keys() - sealed)
        for name in left_out:
            del self.attested[name]
        return [Finding(f"agreement {name}", "seal", "not there", "there") for name in left_out]

    def _counting(self, later: int) -> Iterable[Agreement]:
        """As each counts, from that many seconds later than it was signed."""
        return (self.agreements[name].counting_from(each.signed_at + later) for name, each in self.attested.items())

    def _times(self) -> list[int]:
        """Whenever another agreement may come into force."""
        if not self._moments and self.agreements:
            moments = {each.effective_from for each in self.agreements.values()}
            moments |= {each.effective_until for each in self.agreements.values() if each.effective_until}
            moments |= {each.signed_at + step for each in self.attested.values() for step in (0, 1)}
            self._moments = sorted(moments)
        return self._moments


def _looked_up(agreements: Iterable[Agreement], route: Route, at: int) -> str:
    try:
        return lookup(agreements, *route, at).name
    except InvalidInput:
        return ""


def read_documents(
    terms: Path, agreements: Path, campaigns: Campaigns, keyring: Keyring
) -> tuple[Documents, list[Finding]]:
    """Every document of both folders, and what is wrong with any; terms that are not signed do not count."""
    found, findings = Documents(campaigns=campaigns), []
    for path in _documents(terms):
        try:
            parsed = _terms(path, campaigns, keyring)
            found.terms[parsed.terms_hash] = parsed
        except QuanlianError as error:
            findings.append(Finding(f"terms {path.name}", "document", str(error), file=path.name))
    for path in _documents(agreements):
        place = f"agreement {path.name}"
        try:
            file = read_agreement_file(path)
            agreement = parse_agreement(file.document, path.name)
        except QuanlianError as error:
            findings.append(Finding(place, "document", str(error), file=path.name))
            continue
        found.agreements[agreement.name] = agreement
        found.attested[agreement.name] = SealedAgreement(agreement_hash(file.document).hex(), _signed_at(file))
        findings += [Finding(place, "signature", why, file=path.name) for why in _unsigned(agreement, file, keyring)]
    return found, findings


def compare_seal(sealed: Mapping[str, SealedAgreement], documents: Documents) -> Iterable[Finding]:
    """The agreements that a seal attests are those of the folder; what that lacks is told before."""
    for name, said in sealed.items():
        found, place = documents.attested.get(name), f"agreement {name}"
        if found is None:
            continue
        if found.hash != said.hash:
            yield Finding(place, "hash", found.hash, said.hash)
        if found.signed_at != said.signed_at:
            yield Finding(place, "signed_at", str(found.signed_at), str(said.signed_at))


def _signed_at(file: AgreementFile) -> int:
    return max((each.signed_at for each in file.signatures if each.signer == CLEARINGHOUSE), default=0)


def _unsigned(agreement: Agreement, file: AgreementFile, keyring: Keyring) -> list[str]:
    """Whose signature is missing, wrong, or of a key that was not valid then."""
    sound, faults, clearing = set(), [], _signed_at(file)
    for each in file.signatures:
        try:
            owner = verify_signature(file.document, each.key_id, each.signature, keyring)
            if owner != each.signer:
                raise InvalidInput(f"is signed by {owner}", place=each.signer)
            if each.signed_at > clearing:
                raise InvalidInput("is signed after the clearinghouse, which signs last", place=each.signer)
            require_valid(keyring.key(each.key_id), each.signed_at)
            sound.add(owner)
        except QuanlianError as error:
            faults.append(f"{each.signer}: {error}")
    return faults + [f"{each} has not signed it" for each in signatories(agreement) if each not in sound]


def _terms(path: Path, campaigns: Campaigns, keyring: Keyring) -> Terms:
    """Terms that their issuer signed with its key for terms, valid when it published them."""
    signed = read_signed(path)
    if signed.chain:
        keyring.add(signed.chain)
    key = keyring.verify(signed.key_id, "terms", signed.body, signed.signature)
    parsed = parse_terms(signed.body, path.name)
    if (key.owner, key.purpose) != (parsed.issuer, "terms"):
        raise InvalidInput(f"is signed by {key.owner}'s key for {key.purpose}", place=path.name)
    if parsed.terms_hash in campaigns.published:
        require_valid(key, campaigns.published[parsed.terms_hash])
    return parsed


def _documents(folder: Path) -> list[Path]:
    """The documents of a folder by name. Raises InvalidInput where there is no such folder."""
    if not folder.is_dir():
        raise InvalidInput("is no folder", place=str(folder), remedy="name the folder that export-evidence wrote")
    return sorted(folder.glob("*.toml"))
