"""Rows on their way to a database: a column at a time is written what each value is by itself."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from chassis.cells import NOT_OF_THE_KIND, array, bodies, cells, columns, kind_of, value
from chassis.rows import form_of
from custodian.seals import seal, seal_column

TEXTS = st.sampled_from(("", "330100", "券", "100%d")) | st.text(st.characters(exclude_categories=["Cs"]))
VALUES: dict[type[sa.types.TypeEngine[object]], st.SearchStrategy[object]] = {
    sa.BigInteger: st.integers(-(2**63), 2**63 - 1),
    sa.Integer: st.integers(-(2**31), 2**31 - 1),
    sa.Boolean: st.booleans(),
    sa.String: TEXTS,
    sa.Text: TEXTS,
    sa.LargeBinary: st.sampled_from((b"", b"\xff" * 16)) | st.binary(min_size=16, max_size=16) | st.binary(),
}
KINDS = [kind_of(sa.Column("each", each)) for each in VALUES]
ROW = st.tuples(*(st.none() | values for values in VALUES.values()))
WHOLE_ROW = st.tuples(*VALUES.values())
TABLE = sa.Table("row", sa.MetaData(), *(sa.Column(f"c{n}", each) for n, each in enumerate(VALUES)), seal_column())


@given(st.lists(ROW | WHOLE_ROW, min_size=1, max_size=20))
def test_a_row_has_the_same_cells_among_others_as_alone(rows: list[tuple[object, ...]]) -> None:
    alone = [b"".join(kind.cell(value) for kind, value in zip(KINDS, row, strict=True)) for row in rows]
    assert bodies(columns(rows, KINDS), len(rows)) == alone


@given(st.sampled_from([*VALUES]), st.data())
def test_a_column_has_the_cell_of_each_value_or_one_that_all_share(
    type_: type[sa.types.TypeEngine[object]], data: st.DataObject
) -> None:
    kind = kind_of(sa.Column("each", type_))
    values = data.draw(st.lists(st.none() | VALUES[type_], min_size=1, max_size=20))
    found, each_alone = cells(values, kind), [kind.cell(each) for each in values]
    if isinstance(found, bytes):
        assert {found} == {*each_alone}
        assert value(found) is None if values[0] is None else value(found) == found[4:]
    else:
        assert found == each_alone
        head = array(found, kind)[:20]
        assert array(found, kind) == head + b"".join(each_alone)
        numbers = [int.from_bytes(head[at : at + 4], "big") for at in range(0, 20, 4)]
        assert numbers == [1, 1, kind.oid, len(values), 1]


@given(st.lists(WHOLE_ROW, min_size=2, max_size=10, unique_by=repr))
def test_rows_that_differ_have_seals_that_differ(rows: list[tuple[object, ...]]) -> None:
    completed = form_of(TABLE).completed(rows)
    assert len({row[-1] for row in completed}) == len({row[:-1] for row in completed})
    names = [column.name for column in TABLE.columns]
    assert all(seal(TABLE, dict(zip(names, row, strict=True))) == row[-1] for row in completed)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("c0", "1"), ("c0", 1.0), ("c0", 2**63), ("c1", 2**31), ("c2", 2), ("c2", "true"),
        ("c3", 5), ("c3", b"text"), ("c4", "\ud800"), ("c5", "text"), ("c5", 16),
    ],
)  # fmt: skip
def test_a_row_with_what_its_column_does_not_take_has_no_seal(column: str, value: object) -> None:
    row: dict[str, object] = {"c0": 1, "c1": 1, "c2": True, "c3": "", "c4": "", "c5": b""}
    assert len(seal(TABLE, row)) == 32
    assert seal(TABLE, {**row, column: value}) == b""
    with pytest.raises(NOT_OF_THE_KIND):
        form_of(TABLE).completed([tuple(each) for each in _twice({**row, column: value})])


def _twice(row: dict[str, object]) -> Sequence[Sequence[object]]:
    return [[*row.values()], [*row.values()]]
