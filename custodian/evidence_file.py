"""The evidence file: self-contained JSON that anyone checks without the network, given the root's fingerprint."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pki import suites
from pki.identity import CLEARINGHOUSE
from pki.trust import Trust
from quanlian.errors import BadSignature, InvalidInput, TrustError
from quanlian.evidence import ANSWER_KIND, REQUEST_KIND, Exchange, Message
from quanlian.signing import SigningKey
from quanlian.v1 import redemption_pb2 as pb
from quanlian.wire import parse

FORMAT = "quanlian-evidence/1"
_NEEDS = "ask the party for the file again"


@dataclass(frozen=True, slots=True)
class Proven:
    """An exchange whose signatures and contents hold: what it says, and what it does not show."""

    asker: str
    decider: str
    request: pb.RedemptionItem | None
    answer: pb.RedemptionAnswer | None
    signers: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A file's root certificate and chains as PEM, the chains by key id, and its exchanges."""

    root: bytes
    chains: dict[bytes, bytes]
    exchanges: list[Exchange]


def write(
    party: str, id: bytes, exchanges: Sequence[Exchange], root: bytes, chain_of: Callable[[bytes], bytes]
) -> bytes:
    """The file's bytes. Raises InvalidInput where there is nothing to show, UnknownKey for a key without its chain."""
    messages = [each for exchange in exchanges for each in (exchange.request, exchange.answer) if each]
    if not messages:
        raise InvalidInput(f"nothing was kept of {id.hex()}", place="id", remedy="give a redemption's or request's id")
    document = {
        "format": FORMAT,
        "party": party,
        "id": id.hex(),
        "root": root.decode("ascii"),
        "chains": {key.hex(): chain_of(key).decode("ascii") for key in sorted({each.key_id for each in messages})},
        "exchanges": [
            {
                "asker": exchange.asker,
                "decider": exchange.decider,
                "request": _written(exchange.request),
                "answer": _written(exchange.answer),
            }
            for exchange in exchanges
        ],
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def read(content: bytes) -> Shown:
    """What the file shows, nothing of it believed yet. Raises InvalidInput for one that cannot be read."""
    document = _read(content)
    try:
        return Shown(
            document["root"].encode(),
            {bytes.fromhex(id): chain.encode() for id, chain in document["chains"].items()},
            [
                Exchange(each["asker"], each["decider"], _message(each["request"]), _message(each["answer"]))
                for each in document["exchanges"]
            ],
        )
    except (KeyError, TypeError, AttributeError, ValueError, binascii.Error) as error:
        raise InvalidInput(f"is no evidence file ({error!r})", place="file", remedy=_NEEDS) from error


def verify(content: bytes, fingerprint: str) -> list[Proven]:
    """What the file proves. Raises InvalidInput for a file that cannot be read, and TrustError or BadSignature for
    one whose root, chains, signatures or contents do not hold.
    """
    shown = read(content)
    trust = Trust(shown.root, fingerprint)
    keys = {id: trust.signing_key(chain) for id, chain in shown.chains.items()}
    proven = [_prove(exchange, keys) for exchange in shown.exchanges]
    if not any(each.request or each.answer for each in proven):
        raise InvalidInput("shows no message", place="file", remedy=_NEEDS)
    _require_one_story(proven)
    return proven


def _prove(exchange: Exchange, keys: dict[bytes, SigningKey]) -> Proven:
    place = f"{exchange.asker} → {exchange.decider}"
    signers, notes = [], []
    request = answer = None
    if exchange.request:
        key = _signed(exchange.request, REQUEST_KIND, keys, place)
        _require(exchange.asker == _sender(key), place, f"the request is signed by {_sender(key)}")
        request = parse(pb.RedemptionItem, exchange.request.content, place)
        signers.append(_sender(key))
    else:
        notes.append("the request is not shown")
    if exchange.answer:
        key = _signed(exchange.answer, ANSWER_KIND, keys, place)
        answer = parse(pb.RedemptionAnswer, exchange.answer.content, place)
        _require(
            exchange.decider == _sender(key) == answer.decider or _passed_on(exchange, key, answer),
            place,
            f"the answer is signed by {_sender(key)} and decided by {answer.decider}",
        )
        signers.append(_sender(key))
        if not key.not_before <= answer.decided_at < key.not_after:
            notes.append("the certificate shown for the answer's key is of another time than the answer")
    else:
        notes.append("the answer is not shown")
    if request and answer:
        _require(request.request_id == answer.request_id, place, "the answer is to another request")
    return Proven(exchange.asker, exchange.decider, request, answer, tuple(signers), tuple(notes))


def _passed_on(exchange: Exchange, key: SigningKey, answer: pb.RedemptionAnswer) -> bool:
    """A node signs what the clearinghouse decided, when it tells its platform."""
    return exchange.decider == _sender(key) and answer.decider == CLEARINGHOUSE


def _signed(message: Message, kind: str, keys: dict[bytes, SigningKey], place: str) -> SigningKey:
    """Raises TrustError for a key without its chain, BadSignature for bytes that it did not sign."""
    _require(message.kind == kind, place, f"a {message.kind} stands where a {kind} belongs")
    key = keys.get(message.key_id)
    if key is None or key.key_id != message.key_id:
        raise TrustError(f"{place}: no chain is shown for key {message.key_id.hex()}")
    suites.verify_payload(key.public_key, kind, message.digest, message.signature)
    _require(message.position >= 0, place, "is not in the message")
    return key


def _sender(key: SigningKey) -> str:
    """`330100`, `330100/alipay` for a platform there, or `clearinghouse`. Raises TrustError for another purpose."""
    use, _, platform = key.purpose.partition(".")
    if use != "message":
        raise TrustError(f"a key for {key.purpose} signs no messages")
    return f"{key.owner}/{platform}" if platform else key.owner


def _require_one_story(proven: Sequence[Proven]) -> None:
    """What a node sent on is what its platform asked for."""
    for asked, sent in pairwise(proven):
        if sent.asker == asked.decider and sent.decider == CLEARINGHOUSE and asked.request and sent.request:
            _require(_asked(asked.request) == _asked(sent.request), sent.asker, "sent on another request than it got")


def _asked(request: pb.RedemptionItem) -> object:
    """A request without its id, which a node replaces, and its expectation; a reverse names another id as well."""
    kind = str(request.WhichOneof("operation"))
    if kind == "reverse":
        return kind
    operation = type(getattr(request, kind)).FromString(getattr(request, kind).SerializeToString())
    if hasattr(operation, "expected_discount_fen"):
        operation.expected_discount_fen = 0
    return kind, operation.SerializeToString()


def _require(holds: bool, place: str, otherwise: str) -> None:
    if not holds:
        raise BadSignature(f"{place}: {otherwise}")


def _written(message: Message | None) -> dict[str, str] | None:
    if message is None:
        return None
    return {
        "kind": message.kind,
        "item": base64.b64encode(message.content).decode(),
        "hashes": base64.b64encode(message.hashes).decode(),
        "key_id": message.key_id.hex(),
        "signature": base64.b64encode(message.signature).decode(),
    }


def _message(written: dict[str, str] | None) -> Message | None:
    if written is None:
        return None
    names = ("item", "hashes", "signature")
    content, hashes, signature = (base64.b64decode(written[name], validate=True) for name in names)
    return Message(written["kind"], content, hashes, bytes.fromhex(written["key_id"]), signature)


def _read(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
        known = document["format"] == FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput("is no evidence file", place="file", remedy=_NEEDS) from error
    if not known:
        raise InvalidInput(f"has the format {document['format']}", place="file", remedy=f"this version reads {FORMAT}")
    return dict(document)
