"""Campaign files gone wrong, in bytes and in what their fields say; and what must hold for each of them.

`python tests/hostile_campaigns.py` (`make fuzz`) searches for a file that breaks the reader, with atheris where it is
installed and by chance otherwise. It prints the seed that replays a run by chance.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

MOST_CPU_SECONDS = 12.0
LONGEST_BYTES = 4_096

SEED_FILE = b"""\
[campaign]
id = "abc"
title_zh = "t"
title_en = "t"
issuer = "330400"
fiscal_year = 2026
budget_document = "d"
starts_at = 2026-09-01T00:00:00+08:00
ends_at = 2027-01-01T00:00:00+08:00
roaming = "on-demand"
regions = ["330400", "yrd"]
channels = ["shop"]
minimum_leverage = 5
[funding]
shortfall_rule = "cascade"
[[funder]]
name = "city"
title_zh = "c"
level = "city"
weight = 6
budget = 10000.00
[[cofunder]]
kind = "platform"
name = "wallet"
share_percent = 12.5
budget = 1000.00
[[group]]
id = "g"
title_zh = "g"
title_en = "g"
[[voucher_type]]
id = "off"
title_zh = "o"
title_en = "o"
kind = "threshold"
categories = ["retail"]
face = 10.00
minimum_spend = 50.00
[[voucher_type]]
id = "car"
title_zh = "c"
title_en = "c"
kind = "tiered"
categories = ["car"]
[[voucher_type.tier]]
class = "used"
from = 100.00
amount = 20.00
[[voucher_type]]
id = "phone"
title_zh = "p"
title_en = "p"
kind = "rate"
categories = ["digital"]
rate_percent = 15
cap = 500.00
[[voucher_type]]
id = "pass"
title_zh = "p"
title_en = "p"
kind = "ticket"
categories = ["tourism"]
price = 100.00
uses = 2
[[voucher_type.attraction]]
id = "town"
title_zh = "t"
title_en = "t"
share_percent = 40
[[pack]]
id = "p"
title_zh = "p"
title_en = "p"
vouchers = ["off", "car", "phone", "pass"]
valid_days = 30
[[round]]
id = "r"
pack = "p"
mode = "lottery"
groups = ["g"]
opens_at = 2026-09-01T10:00:00+08:00
closes_at = 2026-09-20T00:00:00+08:00
quota = 2
per_person = 1
"""
VALUES = [
    b"", b"0", b"-1", b"1", b"65", b"9" * 30, b"9" * 5000, b"1.00", b"0.01", b"1.5", b"1e999999999", b"nan", b"-inf",
    b"true", b'""', b'"*"', b'"yrd"', b'"330400"', b'"999999"', b'"threshold"', b'"full-value"', b'"fixed"',
    b'"refuse"', b'"pro-rata"', b'"merchant"', b'"targeted"', b'"application"', b'"never"', b"[]", b"[[]]", b"{}",
    b'["off", "off"]', b"[" * 400, b"{a=" * 300, b"2026-01-01", b"2026-01-01T00:00:00", b"0001-01-01T00:00:00Z",
    b"9999-12-31T23:59:59-12:00", b"2026-09-01T00:00:00.5Z", b"1979-05-27T07:32:00Z", b'"""', b"'", b'"\\ud800"',
    b'"\\u0000"', b'"' + b"x" * 300 + b'"', b"100000000000000.00", b"999999999999.99", b"1000000000",
]  # fmt: skip
ROWS = [
    b"[[pack]]", b"[[round]]", b"[campaign]", b"[merchants]", b"[[voucher_type.tier]]", b"[[voucher_type.attraction]]",
    b"[a.b.c]", b"]", b"\xff\xfe", b"\xef\xbb\xbf", b"\x00", b"#" * 200, b"a.b.c = 1", b'"\\u001b" = 1', b"'' = 1",
    b"title_zh = 1", b"= 1", b"x", b"groups = 1", b'conditions = ["registered"]', b"attraction = []", b"tier = [1]",
]  # fmt: skip


def mutated(content: bytes, chance: random.Random) -> bytes:
    """One to eight slips: in a value, a row, the order of rows, or in bytes."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        rows = content.split(b"\n")
        place = chance.randrange(len(rows))
        match chance.randrange(8):
            case 0 | 1 | 2:
                rows[place] = rows[place].partition(b"=")[0] + b"= " + chance.choice(VALUES)
            case 3:
                del rows[place]
            case 4:
                rows.insert(place, chance.choice(rows))
            case 5:
                rows.insert(place, chance.choice(ROWS))
            case 6:
                other = chance.randrange(len(rows))
                rows[place], rows[other] = rows[other], rows[place]
            case _:
                row = bytearray(rows[place] or b" ")
                row[chance.randrange(len(row))] = chance.randrange(256)
                rows[place] = bytes(row)
        content = b"\n".join(rows)
    return content[:LONGEST_BYTES]


@contextmanager
def work_limited(seconds: float = MOST_CPU_SECONDS) -> Iterator[None]:
    """Raises AssertionError within the block once this process has worked so long, whatever else the machine does."""

    def stop(*_: object) -> None:
        raise AssertionError(f"no answer after {seconds} s of work")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@work_limited()
def must_hold(content: bytes) -> str:
    """Check, show, compare and explain the file: an answer in time, a line to each problem, InvalidInput at most.

    Returns `sound`, `wrong` or `unreadable`. Raises AssertionError otherwise.
    """
    from quanlian.campaign_check import check_campaign
    from quanlian.sheet import sheet_of
    from quanlian.terms_difference import difference

    report = check_campaign(content, "hostile.toml")
    for problem in (*report.errors, *report.warnings):
        assert str(problem).isprintable(), f"a problem is not one line of text: {problem!r}"
        assert all(problem[3:]), f"a problem says too little: {problem!r}"
    assert (report.terms is None) == bool(report.errors)
    if report.terms is not None:
        sheet_of(report.terms, "zh")
        sheet_of(report.terms, "en")
        assert difference(content, content) == []
        difference(SEED_FILE, content)
        difference(content, SEED_FILE)
        _explain_all(report.terms)
    if report.terms is not None:
        return "sound"
    return "unreadable" if any(problem.field == "file" for problem in report.errors) else "wrong"


def _explain_all(terms: object) -> None:
    from quanlian.discounts import Order
    from quanlian.errors import InvalidInput
    from quanlian.explanation import explain
    from quanlian.terms import Terms

    assert isinstance(terms, Terms)
    for voucher_type in terms.voucher_types:
        names = [tier.klass for tier in voucher_type.tiers] + [place.id for place in voucher_type.attractions]
        order = Order(12_345, min(voucher_type.categories), min(terms.channels), klass=names[0] if names else "")
        for region in (terms.issuer, "310118"):
            try:
                found = explain(terms, voucher_type, order, region)
            except InvalidInput:
                continue
            assert found.discount_fen == sum(leg.amount_fen for leg in found.legs)


def search_by_chance(runs: int, seed: int, seeds: Sequence[bytes]) -> Counter[str]:
    """`runs` files from one seed, each made from a good file or from one that was still read; prints what breaks."""
    chance = random.Random(seed)
    pool, found = list(seeds), Counter[str]()
    for _ in range(runs):
        content = mutated(chance.choice(seeds if chance.random() < 0.5 else pool), chance)
        try:
            outcome = must_hold(content)
        except BaseException:
            print(f"seed {seed}: {content!r}", file=sys.stderr)
            raise
        found[outcome] += 1
        if outcome != "unreadable":
            pool = [*pool[-400:], content]
    return found


def search_by_coverage(runs: int, seeds: Sequence[bytes]) -> None:
    """Guided by what each file reaches in the reader; ends the process."""
    import tempfile

    import atheris

    with atheris.instrument_imports(include=["quanlian"]):
        import quanlian.campaign_check
        import quanlian.explanation
        import quanlian.sheet
        import quanlian.terms_difference  # noqa: F401

    def mutator(data: bytes, max_size: int, seed: int) -> bytes:
        return mutated(data, random.Random(seed))[:max_size]

    def one(data: bytes) -> None:
        must_hold(data)

    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(seeds):
            Path(folder, f"seed-{number}").write_bytes(content)
        options = [f"-runs={runs}", f"-max_len={LONGEST_BYTES}", "-timeout=30", "-rss_limit_mb=2048", folder]
        entry: Callable[[bytes], None] = one
        atheris.Setup([sys.argv[0], *options], entry, custom_mutator=mutator)
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--by-chance", action="store_true", help="without atheris")
    options = parser.parse_args()
    if not options.by_chance:
        try:
            search_by_coverage(options.runs, [SEED_FILE])
            return
        except ModuleNotFoundError:
            print("atheris is not installed (pip install '.[fuzz]'): searching by chance")
    print(f"seed {options.seed}")
    started = time.monotonic()
    found = search_by_chance(options.runs, options.seed, [SEED_FILE])
    print(f"{options.runs} files in {time.monotonic() - started:.0f} s: {dict(found)}")


if __name__ == "__main__":
    main()
