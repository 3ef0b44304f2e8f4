"""A third party recomputes a statement from files alone, and names whatever was altered."""

from __future__ import annotations

import json
import shutil
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evidence_files import Authorities, Exported
from local_parties import (
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    answer_of,
    item,
    keys_of,
    message_signer,
    open_standing,
    purchase,
)

from clearinghouse.disputes import TakeDispute
from clearinghouse.evidence import evidence
from quanlian import hand_overs
from quanlian.errors import TrustError
from quanlian.statement_evidence import with_checksum
from quanlian.v1 import clearing_operator_pb2, redemption_pb2, settlement_pb2, signed_pb2
from verifier import redemptions_file, verification
from verifier.verification import Verdict, verify


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """Two windows of captures and refunds, both regions' statements and evidence."""
    folder = tmp_path_factory.mktemp("parties")
    node = LocalNode(open_standing(f"sqlite:///{folder / 'node'}.db", ""))
    clearinghouse = LocalClearinghouse(open_standing(f"sqlite:///{folder / 'clearinghouse'}.db", ""), visitors_fen=700)
    authorities = Authorities(folder / "pki")
    authorities.introduce(clearinghouse)
    play(node, clearinghouse)
    files = {
        "hangzhou": authorities.export(clearinghouse, folder / "hangzhou", HANGZHOU, [1]),
        "shanghai": authorities.export(clearinghouse, folder / "shanghai", SHANGHAI, [1]),
        "second": authorities.export(clearinghouse, folder / "second", SHANGHAI, [2]),
    }
    for party in (node, clearinghouse):
        party.database.close()
    return files


def play(node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
    """Whole and smaller captures, refunds within and after the window, a home use; the visitors' fund runs dry; after
    the window the bank returns a pay-out.
    """
    settlement = clearinghouse.service.settlement
    node.publish()
    clearinghouse.learn(node)
    tokens = node.claim(5)
    keys = [key for token in tokens for key in keys_of(token)]
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys)))
    number = iter(range(1, 100))

    def ask(region: str = SHANGHAI, **operation: Any) -> redemption_pb2.RedemptionAnswer:
        (answer,) = clearinghouse.redeem(item(next(number).to_bytes(16, "big"), **operation), region=region)
        found = answer_of(answer)
        assert not found.HasField("refusal"), found
        return found

    whole = ask(redeem=purchase(tokens[0], 0, "order-1"))
    ask(redeem=purchase(tokens[0], 1, "order-2", 4001))
    held = ask(authorize=purchase(tokens[1], 0, "order-3", 9999))
    ask(capture=redemption_pb2.Capture(redemption_id=held.redemption_id, order_fen=7777))
    ask(refund=redemption_pb2.Refund(redemption_id=whole.redemption_id, order_fen=2000))
    ask(HANGZHOU, redeem=purchase(tokens[2], 0, "order-4"))
    ask(redeem=purchase(tokens[3], 0, "order-5"))
    payout = clearing_operator_pb2.PayOutRequest(region=SHANGHAI, amount_fen=500, bank_reference="out")
    clearinghouse.do(settlement.pay_out(payout))
    clearinghouse.pass_seconds(60)
    clearinghouse.do(settlement.close_window())
    clearinghouse.pass_seconds(60)
    returned = clearing_operator_pb2.MarkPayOutReturnedRequest(pay_out="out", bank_reference="back")
    clearinghouse.do(settlement.mark_returned(returned))
    ask(refund=redemption_pb2.Refund(redemption_id=whole.redemption_id, order_fen=3800))
    ask(refund=redemption_pb2.Refund(redemption_id=held.redemption_id, order_fen=777))
    clearinghouse.pass_seconds(60)
    clearinghouse.do(settlement.close_window())


def verdict_of(files: Exported) -> Verdict:
    return verify(files.statement, files.redemptions, files.terms, files.agreements, files.fingerprint)


@pytest.mark.parametrize("which", ["hangzhou", "shanghai", "second"])
def test_a_sound_statement_holds(exported: dict[str, Exported], which: str) -> None:
    verdict = verdict_of(exported[which])
    assert verdict.findings == []
    assert verdict.redemptions == {"hangzhou": 5, "shanghai": 4, "second": 2}[which]


def test_a_pay_out_that_the_bank_returned_comes_off_what_was_paid_out(exported: dict[str, Exported]) -> None:
    told = [json.loads(exported[which].statement.read_bytes()) for which in ("shanghai", "second")]
    assert [each["paid_out_fen"] for each in told] == [500, -500]
    assert told[1]["opening_fen"] + 500 + told[1]["net_fen"] == told[1]["closing_fen"]


def test_another_root_is_not_trusted(exported: dict[str, Exported]) -> None:
    with pytest.raises(TrustError, match=r"根证书的指纹为 .* · the root has fingerprint"):
        verdict_of(exported["shanghai"]._replace(fingerprint="00" * 32))


# Alterations, each by somebody who holds no key


@pytest.fixture
def copy(exported: dict[str, Exported], tmp_path: Path) -> Exported:
    """Shanghai's files, to be altered."""
    files = exported["shanghai"]
    folder = tmp_path / "copy"
    shutil.copytree(files.statement.parent, folder)
    return Exported(
        folder / files.statement.name,
        [folder / path.name for path in files.redemptions],
        folder / "terms",
        folder / "agreements",
        files.fingerprint,
    )


def found_in(verdict: Verdict) -> set[tuple[str, str]]:
    """Place and field of every finding, ids cut off."""
    return {(" ".join(word for word in each.place.split() if len(word) != 32), each.what) for each in verdict.findings}


def alter_statement(files: Exported, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads(files.statement.read_bytes())
    change(data)
    files.statement.write_bytes(json.dumps(data, ensure_ascii=False, indent=1).encode())


@pytest.mark.parametrize("name", ["opening_fen", "lodged_fen", "paid_out_fen"])
def test_an_altered_balance_breaks_signature_and_closing_balance(copy: Exported, name: str) -> None:
    alter_statement(copy, lambda data: data.update({name: data[name] + 1}))
    assert {("statement", "signature"), ("statement", "closing_fen")} <= found_in(verdict_of(copy))


@pytest.mark.parametrize("name", ["received_fen", "paid_fen", "refunded_fen", "net_fen", "closing_fen"])
def test_an_altered_total_is_named_with_both_amounts(copy: Exported, name: str) -> None:
    alter_statement(copy, lambda data: data.update({name: data[name] + 1}))
    verdict = verdict_of(copy)
    (finding,) = [each for each in verdict.findings if each.what == name]
    assert int(finding.found) == int(finding.expected) + 1
    assert ("statement", "signature") in found_in(verdict)


@pytest.mark.parametrize(
    "name",
    [
        "captures",
        "order_fen",
        "discount_fen",
        "refunds",
        "refunded_order_fen",
        "refunded_fen",
        "own_share_fen",
        "net_fen",
    ],
)
def test_an_altered_figure_of_a_line_is_named(copy: Exported, name: str) -> None:
    alter_statement(copy, lambda data: data["lines"][0].update({name: data["lines"][0][name] + 1}))
    assert ("statement line redeemer/330100/spring", name) in found_in(verdict_of(copy))


def test_altered_keys_and_funders_of_a_statement_are_named(copy: Exported) -> None:
    def change(data: dict[str, Any]) -> None:
        data["lines"][0]["campaign"] = "summer"
        data["funders"][0]["used_fen"] += 7
        data["funders"][0]["refunded_fen"] += 7

    alter_statement(copy, change)
    found = found_in(verdict_of(copy))
    assert ("statement line redeemer/330100/summer", "line") in found
    assert ("statement line redeemer/330100/spring", "line") in found
    assert ("statement funder funding/310000/2026/visitors/city, 330100", "used_fen") in found
    assert ("statement funder funding/310000/2026/visitors/city, 330100", "refunded_fen") in found


MISFITS: dict[str, tuple[Callable[[dict[str, Any]], object], tuple[str, str], tuple[str, str]]] = {
    "a total that is missing": (
        lambda data: data.pop("refunded_fen"),
        ("statement", "refunded_fen"),
        ("not there", "344"),
    ),
    "an unknown total": (lambda data: data.update(extra=0), ("statement", "extra"), ("0", "not there")),
    "a total that is false": (lambda data: data.update(paid_fen=False), ("statement", "paid_fen"), ("false", "0")),
    "a month that is false": (lambda data: data.update(month=False), ("statement", "month"), ("false", '""')),
    "a figure that is missing": (
        lambda data: data["lines"][0].pop("own_share_fen"),
        ("statement line redeemer/330100/spring", "own_share_fen"),
        ("not there", ""),
    ),
    "an unknown figure": (
        lambda data: data["lines"][0].update(extra=0),
        ("statement line redeemer/330100/spring", "extra"),
        ("0", "not there"),
    ),
    "a figure that is a fraction": (
        lambda data: data["lines"][0].update(captures=float(data["lines"][0]["captures"])),
        ("statement line redeemer/330100/spring", "captures"),
        ("", ""),
    ),
    "a region that is a number": (
        lambda data: data["lines"][0].update(counterpart=330100),
        ("statement line redeemer/330100/spring", "counterpart"),
        ("330100", '"330100"'),
    ),
    "a funder's figure that is missing": (
        lambda data: data["funders"][0].pop("net_fen"),
        ("statement funder funding/310000/2026/visitors/city, 330100", "net_fen"),
        ("not there", ""),
    ),
}
"""What is wrong, then where and what is named, then what is found and expected; an empty text is not looked at."""


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_field_of_a_statement_that_is_missing_unknown_or_of_another_type_is_named(
    copy: Exported, misfit: str
) -> None:
    change, named, told = MISFITS[misfit]
    alter_statement(copy, change)
    (finding,) = (each for each in verdict_of(copy).findings if (each.place, each.what) == named)
    for shown, wanted in zip((finding.found, finding.expected), told, strict=True):
        assert wanted in ("", shown)


def test_a_line_left_out_of_the_statement_is_named(copy: Exported) -> None:
    alter_statement(copy, lambda data: data["lines"].clear())
    assert ("statement line redeemer/330100/spring", "line") in found_in(verdict_of(copy))


def alter_line(files: Exported, kind: str, change: Callable[[dict[str, Any]], object]) -> int:
    """Change the first line of a kind, nothing else; returns its number."""
    lines = files.redemptions[0].read_bytes().splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith(f'{{"kind":"{kind}"'.encode()))
    data = json.loads(lines[at])
    change(data)
    lines[at] = as_line(data)
    files.redemptions[0].write_bytes(b"\n".join(lines) + b"\n")
    return at + 1


def as_line(data: dict[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def flipped(text: str) -> str:
    """Base64 whose last byte is another."""
    content = b64decode(text)
    return b64encode(content[:-1] + bytes([content[-1] ^ 1])).decode()


REDEMPTION_FIELDS: list[tuple[str, Callable[[dict[str, Any]], object], tuple[str, str]]] = [
    ("token", lambda line: line.update(token=flipped(line["token"])), ("redemption", "token")),
    ("index", lambda line: line.update(index=1 - line["index"]), ("voucher", "stands there")),
    ("redeeming_region", lambda line: line.update(redeeming_region=HANGZHOU), ("redemption", "redeeming_region")),
    ("order_fen", lambda line: line.update(order_fen=3999), ("redemption", "order_fen")),
    ("discount_fen", lambda line: line.update(discount_fen=999), ("redemption", "discount_fen")),
    ("authorized_at", lambda line: line.update(authorized_at=1), ("redemption", "authorized_at")),
    ("agreement", lambda line: line.update(agreement="TEST v2"), ("redemption", "agreement")),
    ("visitors", lambda line: line["visitors"]["funders"][0].__setitem__(2, 0), ("capture", "leg")),
    ("posting number", lambda line: line["postings"][0].update(number=2), ("capture 1", "number")),
    ("posting kind", lambda line: line["postings"][0].update(kind="refund"), ("refund 1", "kind")),
    ("posting at", lambda line: line["postings"][0].update(at=1), ("redemption", "capture 1 at")),
    ("posting window", lambda line: line["postings"][0].update(window=9), ("statement line", "captures")),
    ("posting order", lambda line: line["postings"][0].update(order_fen=5799), ("statement line", "order_fen")),
    ("posting discount", lambda line: line["postings"][0].update(discount_fen=999), ("capture 1", "discount_fen")),
    ("leg", lambda line: line["postings"][0]["legs"][0].__setitem__(1, 1), ("capture 1", "leg funding/330100")),
    (
        "leg no account",
        lambda line: line["postings"][0]["legs"][0].__setitem__(0, "x"),
        ("redemption", "cannot be read"),
    ),
    ("leg account", lambda line: line["postings"][0]["legs"][0].__setitem__(0, "funding/x/1/y/z"), ("capture", "leg")),
]


@pytest.mark.parametrize(("field", "change", "named"), REDEMPTION_FIELDS, ids=[each[0] for each in REDEMPTION_FIELDS])
def test_an_altered_field_of_a_redemption_is_named(
    copy: Exported, field: str, change: Callable[[dict[str, Any]], object], named: tuple[str, str]
) -> None:
    alter_line(copy, "redemption", change)
    verdict = verdict_of(copy)
    place, what = named
    assert any(place in each.place and each.what.startswith(what) for each in verdict.findings), verdict.findings
    assert ("redemptions redemptions-310000-window-1.jsonl", "seal") in found_in(verdict)


SEALED_ALONE: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("id", lambda line: line.update(id="ff" + line["id"][2:])),
    ("merchant", lambda line: line.update(merchant="another")),
    ("order_id", lambda line: line.update(order_id="another")),
    ("klass", lambda line: line.update(klass="another")),
    ("invoice_fen", lambda line: line.update(invoice_fen=line["invoice_fen"] + 1)),
    ("price_fen", lambda line: line.update(price_fen=line["price_fen"] + 1)),
    ("visitors' rule", lambda line: line["visitors"].update(rule="another")),
    ("visitors' funder", lambda line: line["visitors"]["funders"][0].__setitem__(2, 699)),
    ("posting at", lambda line: line["postings"][0].update(at=line["postings"][0]["at"] + 1)),
    ("posting order", lambda line: line["postings"][0].update(order_fen=line["postings"][0]["order_fen"] - 1)),
    ("checksum", lambda line: line.update(crc32="00000000")),
]
"""What no figure depends on, or a small change of which none does."""


@pytest.mark.parametrize("change", [each[1] for each in SEALED_ALONE], ids=[each[0] for each in SEALED_ALONE])
def test_an_edit_that_breaks_the_seal_alone_is_named_with_its_line(
    copy: Exported, change: Callable[[dict[str, Any]], object]
) -> None:
    at = alter_line(copy, "redemption", change)
    findings = verdict_of(copy).findings
    assert at in [each.line for each in findings if each.place.startswith("redemption ")], findings
    assert ("redemptions redemptions-310000-window-1.jsonl", "seal") in {each[:2] for each in findings}


@pytest.mark.parametrize("field", ["merchant", "order_id", "klass"])
def test_an_edit_whose_checksum_was_made_anew_is_under_the_seal(copy: Exported, field: str) -> None:
    def forge(line: dict[str, Any]) -> None:
        line.update({field: "another"})
        del line["crc32"]
        line["crc32"] = json.loads(with_checksum(as_line(line)))["crc32"]

    alter_line(copy, "redemption", forge)
    assert found_in(verdict_of(copy)) == {("redemptions redemptions-310000-window-1.jsonl", "seal")}


HAND_OVER_FIELDS: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("head", lambda line: line.update(head=flipped(line["head"])), "signature"),
    ("signature", lambda line: line.update(signature=flipped(line["signature"])), "signature"),
    ("key", lambda line: line.update(key_id="00" * 8), "signature"),
    ("number", lambda line: line.update(number=2), "signature"),
    ("leaf", lambda line: line["vouchers"][0].__setitem__(1, flipped(line["vouchers"][0][1])), "vouchers"),
    ("place of a leaf", lambda line: line["vouchers"][0].__setitem__(0, 9), "vouchers"),
    ("two leaves at one place", lambda line: line["vouchers"].append(line["vouchers"][0]), "vouchers"),
    ("a leaf left out", lambda line: line["vouchers"].pop(), "vouchers"),
    ("path", lambda line: line.update(nodes=flipped(line["nodes"])), "vouchers"),
    ("path too short", lambda line: line.update(nodes=""), "vouchers"),
    ("path too long", lambda line: line.update(nodes=line["nodes"][:-1] + "A" * 44 + "="), "vouchers"),
    ("path cut", lambda line: line.update(nodes=b64encode(b64decode(line["nodes"])[:-1]).decode()), "vouchers"),
]


@pytest.mark.parametrize(("field", "change", "what"), HAND_OVER_FIELDS, ids=[each[0] for each in HAND_OVER_FIELDS])
def test_an_altered_hand_over_is_named_and_its_money_does_not_count(
    copy: Exported, field: str, change: Callable[[dict[str, Any]], object], what: str
) -> None:
    alter_line(copy, "hand-over", change)
    place = "hand-over 330100/2" if field == "number" else "hand-over 330100/1"
    found = found_in(verdict_of(copy))
    assert (place, what) in found
    assert ("redemption", "reserved money") in found
    assert ("redemptions redemptions-310000-window-1.jsonl", "seal") in found


def test_a_voucher_of_another_hand_over_is_named(copy: Exported, tmp_path: Path) -> None:
    """Signed by the same issuer, at the same place of its tree."""
    node = LocalNode(open_standing(f"sqlite:///{tmp_path / 'other'}.db", ""))
    node.publish()
    (message,) = node.release(*keys_of(node.claim(2)[1]))
    other = b64encode(hand_overs.read(message.hand_over.body).leaves[0]).decode()
    alter_line(copy, "hand-over", lambda line: line["vouchers"].__setitem__(0, [0, other]))
    assert ("hand-over 330100/1", "vouchers") in found_in(verdict_of(copy))


def test_one_hand_over_told_with_two_heads_is_named(copy: Exported) -> None:
    """Even where the issuer signed both."""

    def again(line: dict[str, Any]) -> None:
        head = hand_overs.read_head(b64decode(line["head"]))
        leaves = [b64decode(leaf) for _, leaf in line["vouchers"]]
        other = hand_overs.sign(head._replace(at=head.at + 1), leaves, message_signer())
        line.update(head=b64encode(hand_overs.signed_head(other).body).decode())
        line.update(signature=b64encode(other.signature).decode(), nodes="")
        line["vouchers"] = [[place, leaf] for place, (_, leaf) in enumerate(line["vouchers"])]

    lines = copy.redemptions[0].read_bytes().splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith(b'{"kind":"hand-over"'))
    copy.redemptions[0].write_bytes(b"\n".join([*lines[: first + 1], *lines[first:]]) + b"\n")
    assert ("hand-over 330100/1", "head") not in found_in(verdict_of(copy)), "told twice alike"
    alter_line(copy, "hand-over", again)
    found = found_in(verdict_of(copy))
    assert ("hand-over 330100/1", "head") in found
    assert ("hand-over 330100/1", "signature") not in found


def test_evidence_shows_the_vouchers_that_were_redeemed_and_no_other(exported: dict[str, Exported]) -> None:
    lines = [json.loads(line) for line in exported["shanghai"].redemptions[0].read_bytes().splitlines()]
    (handed,) = [line for line in lines if line["kind"] == "hand-over"]
    redeemed = [line["token"] for line in lines if line["kind"] == "redemption"]
    assert (len(redeemed), [place for place, _ in handed["vouchers"]]) == (4, [0, 1, 2, 6])


@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_hand_over_is_told_once_however_its_redemptions_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    node = LocalNode(open_standing(f"sqlite:///{tmp_path / 'node'}.db", ""))
    clearinghouse = LocalClearinghouse(open_standing(f"sqlite:///{tmp_path / 'clearinghouse'}.db", ""))
    node.publish()
    clearinghouse.learn(node)
    ids = node.ids
    for token in node.claim(2):
        clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(token))))
        for index in range(2):
            request = item(ids.fresh(), redeem=purchase(token, index, f"order-{token.hex()}-{index}"[-60:]))
            assert not answer_of(clearinghouse.redeem(request)[0]).HasField("refusal")
    clearinghouse.do(clearinghouse.service.settlement.close_window())

    def told() -> list[bytes]:
        shown = evidence(clearinghouse.database, clearinghouse.statement_signer, SHANGHAI, 1)
        return [line for lines in shown for line in lines]

    whole = told()
    kinds = [json.loads(line)["kind"] for line in whole]
    assert kinds[-7:] == ["hand-over", "redemption", "redemption", "hand-over", "redemption", "redemption", "seal"]
    monkeypatch.setattr("clearinghouse.evidence.PAGE", page)
    assert told() == whole


def test_a_redemption_left_out_or_told_twice_is_named(copy: Exported) -> None:
    lines = copy.redemptions[0].read_bytes().splitlines(keepends=True)
    copy.redemptions[0].write_bytes(b"".join([*lines[:-2], lines[-1]]))
    assert ("statement line redeemer/330100/spring", "captures") in found_in(verdict_of(copy))
    copy.redemptions[0].write_bytes(b"".join([*lines[:-1], lines[-2], lines[-1]]))
    assert ("redemption", "stands there") in found_in(verdict_of(copy))


def test_a_file_cut_off_names_its_missing_seal_first_and_once_and_the_rest_is_recomputed(copy: Exported) -> None:
    lines = copy.redemptions[0].read_bytes().splitlines(keepends=True)
    copy.redemptions[0].write_bytes(b"".join(lines[:-2]))
    verdict = verdict_of(copy)
    first, *others = verdict.findings
    assert (first.place, first.what, first.found) == (
        "redemptions redemptions-310000-window-1.jsonl",
        "seal",
        "missing",
    )
    assert verdict.redemptions == 3
    assert {each.place.split()[0] for each in others} == {"statement"}, others


def test_a_missing_seal_hides_no_wrong_split(copy: Exported) -> None:
    alter_line(copy, "redemption", lambda line: line["postings"][0]["legs"][0].__setitem__(1, 1))
    content = copy.redemptions[0].read_bytes().splitlines(keepends=True)
    copy.redemptions[0].write_bytes(b"".join(content[:-1]))
    assert [each[1:4] for each in verdict_of(copy).findings] == [
        ("seal", "missing", "the last line"),
        ("leg funding/330100/2026/spring/city", "1", "467"),
    ]


def test_an_empty_folder_of_agreements_is_named_first_and_once(copy: Exported) -> None:
    for path in copy.agreements.iterdir():
        path.unlink()
    assert [each[:4] for each in verdict_of(copy).findings] == [("agreements", "documents", "none", "TEST v1")]


def test_an_agreement_that_the_folder_lacks_is_named_once(copy: Exported) -> None:
    for path in copy.agreements.iterdir():
        path.rename(path.with_name(f"other-{path.name}"))
    for path in copy.agreements.glob("*.toml"):
        path.write_bytes(b"not an agreement")
    what = [(each.place.split()[0], each.what) for each in verdict_of(copy).findings]
    assert sorted(what) == [("agreement", "document"), ("agreements", "documents")]


def test_neither_seal_nor_agreements_leave_two_causes(copy: Exported) -> None:
    lines = copy.redemptions[0].read_bytes().splitlines(keepends=True)
    copy.redemptions[0].write_bytes(b"".join(lines[:-1]))
    shutil.rmtree(copy.agreements)
    copy.agreements.mkdir()
    assert [each.what for each in verdict_of(copy).findings] == ["seal", "documents"]


def test_a_seal_that_is_missing_or_another_s_is_named(copy: Exported) -> None:
    lines = copy.redemptions[0].read_bytes().splitlines(keepends=True)
    copy.redemptions[0].write_bytes(b"".join(lines[:-1]))
    assert ("redemptions redemptions-310000-window-1.jsonl", "seal") in found_in(verdict_of(copy))


FRAME_FIELDS: list[tuple[str, str, Callable[[dict[str, Any]], object], str]] = [
    ("seal", "lines", lambda line: line.update(lines=line["lines"] + 1), "seal lines"),
    ("seal", "lines as text", lambda line: line.update(lines=str(line["lines"])), "seal lines"),
    ("seal", "sha256", lambda line: line.update(sha256="00" * 32), "seal sha256"),
    ("seal", "no sha256", lambda line: line.pop("sha256"), "seal sha256"),
    ("seal", "at", lambda line: line.update(at=line["at"] + 1), "seal"),
    ("seal", "agreements", lambda line: line["agreements"].clear(), "seal"),
    ("seal", "agreement", lambda line: line["agreements"]["TEST v1"].update(note="x"), "seal agreements"),
    ("seal", "key_id", lambda line: line.update(key_id=line["key_id"].upper()), "seal key_id"),
    ("seal", "signature", lambda line: line.update(signature=flipped(line["signature"])), "seal"),
    ("seal", "another key", lambda line: line.update(note="x"), "seal note"),
    ("evidence", "version 2", lambda line: line.update(version=2), "evidence version"),
    ("evidence", "version 0", lambda line: line.update(version=0), "evidence version"),
    ("evidence", "version true", lambda line: line.update(version=True), "evidence version"),
    ("evidence", "no version", lambda line: line.pop("version"), "evidence version"),
    ("evidence", "region", lambda line: line.update(region=HANGZHOU), "region"),
    ("evidence", "region as a number", lambda line: line.update(region=int(SHANGHAI)), "evidence region"),
    ("evidence", "window", lambda line: line.update(window=2), "windows"),
    ("evidence", "another key", lambda line: line.update(note="x"), "evidence note"),
    ("root", "another key", lambda line: line.update(note="x"), "root note"),
    ("chain", "another key", lambda line: line.update(note="x"), "chain note"),
    ("campaign-change", "another key", lambda line: line.update(note="x"), "campaign-change note"),
    ("campaign-change", "body", lambda line: line.update(body=flipped(line["body"])), "signature"),
]


@pytest.mark.parametrize(
    ("kind", "field", "change", "what"), FRAME_FIELDS, ids=[f"{kind} {field}" for kind, field, _, _ in FRAME_FIELDS]
)
def test_an_altered_field_before_or_after_the_lines_is_named(
    copy: Exported, kind: str, field: str, change: Callable[[dict[str, Any]], object], what: str
) -> None:
    alter_line(copy, kind, change)
    named = [each.what for each in verdict_of(copy).findings]
    assert named != []
    assert what in named


@pytest.mark.parametrize(("kind", "line"), [("root", 3), ("evidence", 3)])
def test_what_stands_before_the_lines_twice_is_named(copy: Exported, kind: str, line: int) -> None:
    lines = copy.redemptions[0].read_bytes().splitlines(keepends=True)
    again = next(each for each in lines if each.startswith(f'{{"kind":"{kind}"'.encode()))
    copy.redemptions[0].write_bytes(b"".join([*lines[: line - 1], again, *lines[line - 1 :]]))
    (finding,) = verdict_of(copy).findings
    assert (finding.what, finding.line) == (kind, line)


@pytest.mark.parametrize("kind", ["chain", "campaign-change"])
@pytest.mark.parametrize("blanks", ["", " "])
def test_a_line_before_the_evidence_that_is_told_twice_is_named(copy: Exported, kind: str, blanks: str) -> None:
    lines = copy.redemptions[0].read_text().splitlines(keepends=True)
    at = next(place for place, line in enumerate(lines) if line.startswith(f'{{"kind":"{kind}"'))
    again = lines[at].replace(',"', f',{blanks}"').replace('\\n"', f'\\n{blanks}"')
    copy.redemptions[0].write_text("".join([*lines[: at + 1], again, *lines[at + 1 :]]))
    (finding,) = verdict_of(copy).findings
    assert (finding.what, finding.found, finding.expected) == (kind, f"on line {at + 2}", f"once, on line {at + 1}")


SHAPES: list[tuple[str, str, Callable[[dict[str, Any]], object], tuple[str, str], str]] = [
    ("redemption", "another key", lambda line: line.update(note="x"), ("redemption", "cannot be read"), "note"),
    ("redemption", "text", lambda line: line.update(order_fen="1"), ("redemption", "cannot be read"), "$.order_fen"),
    ("redemption", "true", lambda line: line.update(index=True), ("redemption", "cannot be read"), "$.index"),
    ("redemption", "no token", lambda line: line.pop("token"), ("redemption", "cannot be read"), "token"),
    (
        "redemption",
        "posting",
        lambda line: line["postings"][0].update(note=1),
        ("redemption", "cannot be read"),
        "note",
    ),
    ("redemption", "another kind", lambda line: line.update(kind="use"), ("line", "kind"), "use"),
    ("redemption", "no kind", lambda line: line.pop("kind"), ("line", "cannot be read"), "kind"),
    ("hand-over", "another key", lambda line: line.update(note="x"), ("hand-over 330100/1", "signature"), "note"),
    ("hand-over", "nodes", lambda line: line.update(nodes="A"), ("hand-over 330100/1", "vouchers"), "$.nodes"),
]


@pytest.mark.parametrize(
    ("kind", "change", "named", "why"),
    [(kind, *rest) for kind, _, *rest in SHAPES],
    ids=[f"{kind} {what}" for kind, what, *_ in SHAPES],
)
def test_a_line_of_another_shape_is_named_with_what_does_not_fit(
    copy: Exported, kind: str, change: Callable[[dict[str, Any]], object], named: tuple[str, str], why: str
) -> None:
    alter_line(copy, kind, change)
    verdict = verdict_of(copy)
    assert named in found_in(verdict)
    assert any(each.what == named[1] and why in each.found for each in verdict.findings), verdict.findings


def test_a_name_that_stands_twice_in_a_seal_is_named(copy: Exported) -> None:
    content = copy.redemptions[0].read_bytes()
    copy.redemptions[0].write_bytes(content.replace(b'{"kind":"seal",', b'{"kind":"seal","lines":1,'))
    (finding,) = verdict_of(copy).findings
    assert finding.what == "seal"
    assert "a name stands there twice" in finding.found


def test_altered_terms_are_named_and_do_not_count(copy: Exported) -> None:
    (path,) = copy.terms.glob("*.toml")
    path.write_bytes(path.read_bytes().replace(b"face = 10.00", b"face = 11.00"))
    found = found_in(verdict_of(copy))
    assert (f"terms {path.name}", "document") in found
    assert ("redemption", "terms") in found


def test_an_altered_agreement_gives_other_legs(copy: Exported) -> None:
    (path,) = copy.agreements.glob("*.toml")
    path.write_bytes(path.read_bytes().replace(b"redeemer = 30", b"redeemer = 29"))
    verdict = verdict_of(copy)
    assert ("agreement TEST v1", "hash") in found_in(verdict)
    legs = [each for each in verdict.findings if each.what == "leg funding/310000/2026/visitors/city"]
    assert (legs[0].found, legs[0].expected) == ("300", "293")


def test_what_is_wrong_with_all_redemptions_of_a_kind_is_named_for_each_of_them(copy: Exported) -> None:
    whole = copy.redemptions[0].read_bytes()
    altered = whole.replace(b'"agreement":"TEST v1"', b'"agreement":"TEST v2"')
    copy.redemptions[0].write_bytes(altered)
    named = {each.line for each in verdict_of(copy).findings if each.what == "agreement"}
    lines = enumerate(altered.splitlines(), 1)
    assert named == {number for number, line in lines if b'"agreement":"TEST v2"' in line}
    assert len(named) > 1


def test_several_processes_find_what_one_finds(copy: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    alter_line(copy, "redemption", lambda line: line.update(discount_fen=999))
    alone = verdict_of(copy)
    assert ("redemption", "discount_fen") in found_in(alone)
    monkeypatch.setattr(verification, "WORTH_PROCESSES", 0)
    monkeypatch.setattr(redemptions_file, "BLOCK_BYTES", 1500)
    assert verdict_of(copy) == alone


def test_another_window_s_evidence_is_named(exported: dict[str, Exported]) -> None:
    files = exported["shanghai"]._replace(redemptions=exported["second"].redemptions)
    found = found_in(verdict_of(files))
    assert ("redemptions", "windows") in found
    assert ("statement line redeemer/330100/spring", "captures") in found


def test_an_adjusting_entry_is_recomputed_like_any_other(tmp_path: Path) -> None:
    clearinghouse = LocalClearinghouse(open_standing(f"sqlite:///{tmp_path / 'clearinghouse'}.db", ""))
    node = LocalNode(open_standing(f"sqlite:///{tmp_path / 'node'}.db", ""))
    authorities = Authorities(tmp_path / "pki")
    authorities.introduce(clearinghouse)
    node.publish()
    clearinghouse.learn(node)
    (token,) = node.claim()
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(token))))
    (answer,) = clearinghouse.redeem(item(bytes(16), redeem=purchase(token, 0, "order-1")))
    clearinghouse.do(clearinghouse.service.settlement.close_window())
    dispute(clearinghouse, answer_of(answer).redemption_id, 333)
    clearinghouse.do(clearinghouse.service.settlement.close_window())
    for number, order_fen in ((1, 2000), (2, 3800)):
        refund = redemption_pb2.Refund(redemption_id=answer_of(answer).redemption_id, order_fen=order_fen)
        clearinghouse.redeem(item(bytes(15) + bytes([number]), refund=refund))
    clearinghouse.do(clearinghouse.service.settlement.close_window())
    files = authorities.export(clearinghouse, tmp_path / "later", HANGZHOU, [3])
    assert verdict_of(files).findings == []
    assert json.loads(files.statement.read_bytes())["lines"][0]["refunded_fen"] == 1000 - 333
    files = authorities.export(clearinghouse, tmp_path / "out", HANGZHOU, [2])
    verdict = verdict_of(files)
    assert verdict.findings == []
    assert json.loads(files.statement.read_bytes())["lines"][0]["refunded_fen"] == 333
    clearinghouse.check_books()


def dispute(clearinghouse: LocalClearinghouse, redemption_id: bytes, fen: int) -> None:
    """Hangzhou's dispute of window 1, upheld."""
    line = settlement_pb2.LineRef(role="issuer", counterpart=SHANGHAI, campaign="spring")
    raised = settlement_pb2.Dispute(region=HANGZHOU, number=1, window=1, lines=[line], why="wrong order", by="me")
    message = signed_pb2.SignedMessage(body=raised.SerializeToString(), key_id=b"k", signature=b"s")
    (result,) = clearinghouse.decide(TakeDispute(message, raised))
    assert not isinstance(result, Exception), result
    adjustment = clearing_operator_pb2.Adjustment(redemption_id=redemption_id, amount_fen=fen)
    request = clearing_operator_pb2.ResolveDisputeRequest(
        region=HANGZHOU, number=1, upheld=True, why="the merchant's till was wrong", adjustments=[adjustment]
    )
    assert clearinghouse.do(clearinghouse.service.settlement.resolve_dispute(request)).dispute.outcome == "upheld"
