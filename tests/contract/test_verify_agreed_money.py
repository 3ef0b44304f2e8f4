"""A third party recomputes advances, ceilings and refunds, and reads every signature on the agreements."""

from __future__ import annotations

import asyncio
import json
import shutil
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agreement_documents import agreement_document
from evidence_files import Authorities, Exported
from local_parties import (
    CLEARINGHOUSE,
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    TestKeyring,
    TestSigner,
    answer_of,
    item,
    keys_of,
    open_standing,
    purchase,
)

from clearinghouse.agreements import AgreementRegister
from quanlian.v1 import redemption_pb2, signed_pb2
from verifier.findings import Finding
from verifier.verification import Verdict, verify

SIGNERS = {region: TestSigner(region, "terms") for region in (HANGZHOU, SHANGHAI)}
STATEMENTS = TestSigner(CLEARINGHOUSE, "statement")
KEYRING = TestKeyring({each.key_id: each.certified for each in (*SIGNERS.values(), STATEMENTS)})
AGREEMENT = agreement_document("22.00")
CITY, COUNTY = ("funding/330100/2026/spring/city", "funding/330100/2026/spring/county")
VISITORS = "funding/310000/2026/visitors/city"
REDEMPTIONS = "redemptions-330100-window-1.jsonl"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Six uses: the county runs dry and the city advances; the yearly ceiling lets Shanghai share four of them."""
    folder = tmp_path_factory.mktemp("agreed")
    node = LocalNode(open_standing(f"sqlite:///{folder / 'node'}.db", ""))
    clearinghouse = LocalClearinghouse(open_standing(f"sqlite:///{folder / 'clearinghouse'}.db", ""))
    authorities = Authorities(folder / "pki")
    authorities.introduce(clearinghouse)
    authorities.admit(clearinghouse, SIGNERS[SHANGHAI].certified)
    agree(clearinghouse)
    node.publish(cascade="advanced", county=10)
    clearinghouse.learn(node)
    tokens = node.claim(3)
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*(key for each in tokens for key in keys_of(each)))))
    number = iter(range(1, 100))

    def ask(**operation: Any) -> bytes:
        (answer,) = clearinghouse.redeem(item(next(number).to_bytes(16, "big"), **operation))
        assert not answer_of(answer).HasField("refusal"), answer_of(answer)
        return answer_of(answer).redemption_id

    clearinghouse.pass_seconds(60)
    uses = [(token, index) for token in tokens for index in (0, 1)]
    used = [ask(redeem=purchase(*use, f"order-{order}")) for order, use in enumerate(uses)]
    for redemption_id in used[::2]:
        ask(refund=redemption_pb2.Refund(redemption_id=redemption_id, order_fen=1999))
        ask(refund=redemption_pb2.Refund(redemption_id=redemption_id, order_fen=1))
    clearinghouse.do(clearinghouse.service.settlement.close_window())
    clearinghouse.check_books()
    return authorities.export(clearinghouse, folder / "out", HANGZHOU, [1])


def agree(clearinghouse: LocalClearinghouse, document: bytes = AGREEMENT) -> None:
    clearinghouse.service.keyring.update(KEYRING)  # type: ignore[attr-defined]
    register = AgreementRegister(clearinghouse.database, KEYRING, STATEMENTS)
    for region, signer in SIGNERS.items():
        signature = signer.sign("agreement", document)
        message = signed_pb2.SignedMessage(body=document, key_id=signer.key_id, signature=signature)
        asyncio.run(register.submit(region, message, region == HANGZHOU))
    asyncio.run(register.sign_agreement(document, "hz-sh.toml", False))


@pytest.fixture
def copy(exported: Exported, tmp_path: Path) -> Exported:
    """The files, to be altered."""
    folder = tmp_path / "copy"
    shutil.copytree(exported.statement.parent, folder)
    return exported._replace(
        statement=folder / exported.statement.name,
        redemptions=[folder / REDEMPTIONS],
        terms=folder / "terms",
        agreements=folder / "agreements",
    )


def verdict_of(files: Exported) -> Verdict:
    return verify(files.statement, files.redemptions, files.terms, files.agreements, files.fingerprint)


def altered(files: Exported, wanted: Callable[[Any], bool], change: Callable[[Any], object]) -> int:
    """Change the first redemption that is wanted; the number of its line."""
    lines = files.redemptions[0].read_bytes().splitlines()
    for number, content in enumerate(lines, 1):
        data = json.loads(content)
        if data["kind"] == "redemption" and wanted(data):
            change(data)
            lines[number - 1] = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
            files.redemptions[0].write_bytes(b"\n".join(lines) + b"\n")
            return number
    raise AssertionError("no such redemption")


def advances(line: Any, posting: int) -> bool:
    return len(line["postings"]) > posting and any(len(leg) > 2 for leg in line["postings"][posting]["legs"])


def advanced_leg(line: Any, posting: int) -> Any:
    return next(leg for leg in line["postings"][posting]["legs"] if len(leg) > 2)


def the(verdict: Verdict, what: str) -> Finding:
    found = [each for each in verdict.findings if each.what == what]
    assert len(found) == 1, verdict.findings
    return found[0]


def test_advanced_legs_ceilings_and_their_refunds_hold(exported: Exported) -> None:
    verdict = verdict_of(exported)
    assert verdict.findings == []
    lines = [json.loads(line) for line in exported.redemptions[0].read_bytes().splitlines()]
    used = [line for line in lines if line["kind"] == "redemption"]
    assert len(used) == verdict.redemptions == 6
    assert sum(advances(line, 0) for line in used) == 3, "the county is dry for three of them"
    assert any(advances(line, 1) for line in used), "an advanced leg is refunded"
    shared = [any(leg[0] == VISITORS and leg[1] for leg in line["postings"][0]["legs"]) for line in used]
    assert sorted(shared) == [False, False, True, True, True, True], "the ceiling of 22 yuan bears four times five"


@pytest.mark.parametrize(("posting", "sign"), [(0, 1), (1, -1)])
def test_an_altered_advance_is_named_with_file_line_and_amount(copy: Exported, posting: int, sign: int) -> None:
    said = []

    def change(line: Any) -> None:
        leg = advanced_leg(line, posting)
        said.append(leg[2][0][1])
        leg[2][0][1] += 7

    number = altered(copy, lambda line: advances(line, posting), change)
    finding = the(verdict_of(copy), f"leg {CITY} advanced for {COUNTY}")
    assert (finding.file, finding.line) == (REDEMPTIONS, number)
    assert (int(finding.found), int(finding.expected)) == (said[0] + 7, said[0])
    assert sign * said[0] > 0


def test_an_advance_left_out_is_named(copy: Exported) -> None:
    altered(copy, lambda line: advances(line, 0), lambda line: advanced_leg(line, 0).pop())
    finding = the(verdict_of(copy), f"leg {CITY} advanced for {COUNTY}")
    assert int(finding.found) == 0 < int(finding.expected)


def test_a_ceiling_that_was_not_reached_is_named_by_the_legs_that_it_changes(copy: Exported) -> None:
    reached = 500

    def change(line: Any) -> None:
        line["visitors"]["ceiling_left_fen"] = reached - 1

    number = altered(copy, lambda line: line["visitors"]["ceiling_left_fen"] >= reached, change)
    verdict = verdict_of(copy)
    legs = [each for each in verdict.findings if each.what == f"leg {VISITORS}" and "capture" in each.place]
    assert [(each.line, each.found, each.expected) for each in legs] == [(number, "500", "0")]


@pytest.mark.parametrize(("left", "expected"), [(2201, "2200 or less"), (None, "2200")])
def test_a_ceiling_that_nobody_agreed_is_named(copy: Exported, left: int | None, expected: str) -> None:
    def change(line: Any) -> None:
        line["visitors"]["ceiling_left_fen"] = left

    number = altered(copy, lambda line: bool(line["visitors"].get("funders")), change)
    finding = the(verdict_of(copy), "ceiling_left_fen")
    assert (finding.line, finding.found, finding.expected) == (number, str(left), expected)


def test_another_region_s_or_year_s_visitors_fund_is_named(copy: Exported) -> None:
    def change(line: Any) -> None:
        line["visitors"]["funders"][0][0] = "funding/310000/2025/visitors/city"

    altered(copy, lambda line: bool(line["visitors"].get("funders")), change)
    finding = the(verdict_of(copy), "visitors")
    assert finding.expected == "funding/310000/2026/visitors/…"


def test_an_agreement_that_was_not_in_force_is_named(copy: Exported) -> None:
    number = altered(copy, lambda line: bool(line["agreement"]), lambda line: line.update(agreement="TEST v1"))
    verdict = verdict_of(copy)
    finding = the(verdict, "agreement")
    assert (finding.line, finding.found, finding.expected) == (number, "TEST v1", "HZ-SH v1")


def name(files: Exported, order: str, agreement: str) -> None:
    altered(files, lambda line: bool(line["order_id"] == order), lambda line: line.update(agreement=agreement))


def test_the_choice_of_agreement_is_looked_up_again_by_when_the_clearinghouse_signed(tmp_path: Path) -> None:
    node = LocalNode(open_standing(f"sqlite:///{tmp_path / 'node'}.db", ""))
    clearinghouse = LocalClearinghouse(open_standing(f"sqlite:///{tmp_path / 'clearinghouse'}.db", ""))
    authorities = Authorities(tmp_path / "pki")
    authorities.introduce(clearinghouse)
    authorities.admit(clearinghouse, SIGNERS[SHANGHAI].certified)
    node.publish()
    clearinghouse.learn(node)
    (token,) = node.claim()
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(token))))
    clearinghouse.pass_seconds(60)
    clearinghouse.redeem(item(bytes(16), redeem=purchase(token, 0, "before")))
    clearinghouse.pass_seconds(60)
    agree(clearinghouse)
    agree(clearinghouse, AGREEMENT.replace(b'"HZ-SH"', b'"EARLIER"').replace(b"2026-01-01", b"2025-12-01"))
    clearinghouse.pass_seconds(60)
    agree(clearinghouse, AGREEMENT.replace(b'"HZ-SH"', b'"SIGNED-LAST"').replace(b"2026-01-01", b"2025-11-01"))
    clearinghouse.pass_seconds(60)
    clearinghouse.redeem(item((1).to_bytes(16, "big"), redeem=purchase(token, 1, "after")))
    clearinghouse.do(clearinghouse.service.settlement.close_window())
    files = authorities.export(clearinghouse, tmp_path / "out", HANGZHOU, [1])
    assert verdict_of(files).findings == []
    for order, went_by, foisted in (("before", "TEST v1", "HZ-SH v1"), ("after", "SIGNED-LAST v1", "HZ-SH v1")):
        name(files, order, foisted)
        finding = the(verdict_of(files), "agreement")
        assert (finding.found, finding.expected) == (foisted, went_by)
        name(files, order, went_by)


def agreement_files(files: Exported) -> tuple[Path, Path]:
    return files.agreements / "HZ-SH-v1.toml", files.agreements / "HZ-SH-v1.toml.sig"


def alter_signature(files: Exported, signer: str, change: Callable[[Any], object]) -> None:
    path = agreement_files(files)[1]
    proof = json.loads(path.read_bytes())
    change(next(each for each in proof["signatures"] if each["signer"] == signer))
    path.write_bytes(json.dumps(proof).encode())


def signature_findings(verdict: Verdict) -> list[str]:
    return [each.found for each in verdict.findings if (each.file, each.what) == ("HZ-SH-v1.toml", "signature")]


def test_an_altered_agreement_is_named_with_all_its_signatures_and_the_amounts_it_changes(copy: Exported) -> None:
    path = agreement_files(copy)[0]
    path.write_bytes(path.read_bytes().replace(b"redeemer = 50", b"redeemer = 40"))
    verdict = verdict_of(copy)
    assert len(signature_findings(verdict)) == 6, "three signatures that do not fit, three that are missing so"
    assert any(each.place == "agreement HZ-SH v1" and each.what == "hash" for each in verdict.findings)
    legs = [each for each in verdict.findings if each.what == f"leg {VISITORS}" and "capture" in each.place]
    assert {(each.found, each.expected, each.file) for each in legs} == {("500", "444", REDEMPTIONS)}
    assert len({each.line for each in legs}) == 4


@pytest.mark.parametrize("signer", [HANGZHOU, SHANGHAI, CLEARINGHOUSE])
def test_a_forged_signature_is_named_with_its_signer(copy: Exported, signer: str) -> None:
    def forge(each: Any) -> None:
        content = b64decode(each["signature"])
        each["signature"] = b64encode(content[:-1] + bytes([content[-1] ^ 1])).decode()

    alter_signature(copy, signer, forge)
    found = signature_findings(verdict_of(copy))
    assert found[0].startswith(f"{signer}: ")
    assert found[1] == f"{signer} has not signed it"


def test_one_region_cannot_sign_for_the_other(copy: Exported) -> None:
    key = SIGNERS[HANGZHOU]

    def forge(each: Any) -> None:
        each.update(key_id=key.key_id.hex(), signature=b64encode(key.sign("agreement", AGREEMENT)).decode())

    alter_signature(copy, SHANGHAI, forge)
    found = signature_findings(verdict_of(copy))
    assert any("is signed by 330100" in each for each in found)
    assert f"{SHANGHAI} has not signed it" in found


def test_a_key_that_was_not_valid_yet_did_not_sign(copy: Exported) -> None:
    alter_signature(copy, SHANGHAI, lambda each: each.update(signed_at=1))
    assert f"{SHANGHAI} has not signed it" in signature_findings(verdict_of(copy))


def test_when_the_clearinghouse_signed_is_under_the_seal(copy: Exported) -> None:
    alter_signature(copy, CLEARINGHOUSE, lambda each: each.update(signed_at=each["signed_at"] - 1))
    finding = the(verdict_of(copy), "signed_at")
    assert int(finding.found) == int(finding.expected) - 1


def test_an_agreement_that_is_missing_or_that_no_seal_attests_is_named(copy: Exported) -> None:
    for path in agreement_files(copy):
        path.rename(path.with_name(path.name.replace("v1", "v2")))
    text = agreement_files(copy)[0].with_name("HZ-SH-v2.toml")
    text.write_bytes(text.read_bytes().replace(b"version = 1", b"version = 2"))
    verdict = verdict_of(copy)
    said = {(each.place, each.what, each.found) for each in verdict.findings}
    assert ("agreement HZ-SH v1", "document", "not there") in said
    assert ("agreement HZ-SH v2", "seal", "not there") in said


def test_signatures_that_are_missing_beside_an_agreement_are_named(copy: Exported) -> None:
    agreement_files(copy)[1].unlink()
    verdict = verdict_of(copy)
    assert any(each.file == "HZ-SH-v1.toml" and "keep the .sig" in each.found for each in verdict.findings)


def test_refunds_under_a_full_clawback_are_recomputed_with_their_cap(tmp_path: Path) -> None:
    node = LocalNode(open_standing(f"sqlite:///{tmp_path / 'node'}.db", ""))
    clearinghouse = LocalClearinghouse(open_standing(f"sqlite:///{tmp_path / 'clearinghouse'}.db", ""))
    authorities = Authorities(tmp_path / "pki")
    authorities.introduce(clearinghouse)
    node.publish(refund_policy="full-clawback")
    clearinghouse.learn(node)
    (token,) = node.claim()
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(token))))
    (answer,) = clearinghouse.redeem(item(bytes(16), redeem=purchase(token, 0, "order-1", 4100)))
    redemption_id = answer_of(answer).redemption_id
    for number, order_fen in enumerate((50, 100, 600), 1):
        refund = redemption_pb2.Refund(redemption_id=redemption_id, order_fen=order_fen)
        clearinghouse.redeem(item(number.to_bytes(16, "big"), refund=refund))
    clearinghouse.do(clearinghouse.service.settlement.close_window())
    files = authorities.export(clearinghouse, tmp_path / "out", SHANGHAI, [1])
    assert verdict_of(files).findings == []
    (line,) = (json.loads(each) for each in files.redemptions[0].read_bytes().splitlines() if b'"redemption"' in each)
    assert [each["discount_fen"] for each in line["postings"]] == [1000, -12, -100, -600], "12 + 100 < 150"
