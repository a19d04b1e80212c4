"""The two readings of a write of unknown outcome: both explain the balance found, and differ by the write itself."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.derivation import CellPart, PoolParts
from core.facts import Mode, Purpose, Role, TargetMovements
from core.readings import Reading, Undecided, is_pooled, offers, pool_with, read_both
from core.rules import TargetRule

NUMBERS = st.integers(-5_000, 5_000).map(lambda thousandths: Decimal(thousandths) / 100)
WRITES = st.builds(
    Undecided,
    quantity=NUMBERS.filter(bool),
    before=NUMBERS,
    found=NUMBERS,
    is_taken_as_applied=st.booleans(),
    is_pooled=st.booleans(),
)


def undecided(quantity: int, before: int, found: int, *, is_pooled: bool = True) -> Undecided:
    """A write of which the reading with the smaller pool holds, as it always does at first."""
    return Undecided(Decimal(quantity), Decimal(before), Decimal(found), quantity > 0, is_pooled)


def told(reading: Reading) -> tuple[bool, int, int, int, int]:
    return reading.is_taken, int(reading.written), int(reading.due), int(reading.others), int(reading.more)


def parts(mode: Mode = Mode.SUM, *, level: Decimal | None = None, available: Decimal | None = Decimal(7)) -> PoolParts:
    cells = [CellPart("shelf", Role.SOURCE, Decimal(7)), CellPart("shop", Role.TARGET, Decimal(7))]
    return PoolParts(mode, Decimal(0), level, available, cells)


def test_a_target_that_was_to_be_raised() -> None:
    applied, not_applied = read_both(undecided(3, before=9, found=10))

    assert told(applied) == (True, 3, 12, -2, 0)
    assert told(not_applied) == (False, 0, 9, 1, 3)


def test_a_target_that_was_to_be_lowered() -> None:
    applied, not_applied = read_both(undecided(-3, before=9, found=5))

    assert told(applied) == (False, -3, 6, -1, 3)
    assert told(not_applied) == (True, 0, 9, -4, 0)


def test_where_nobody_counts_what_others_move_the_pool_stays() -> None:
    assert [told(one)[-1] for one in read_both(undecided(-3, before=9, found=5, is_pooled=False))] == [0, 0]


@given(WRITES)
def test_both_readings_explain_the_balance_found(write: Undecided) -> None:
    applied, not_applied = read_both(write)

    for reading in (applied, not_applied):
        assert reading.before + reading.written + reading.others == reading.found == write.found
        assert reading.due + reading.others == reading.found
    assert (applied.is_applied, not_applied.is_applied) == (True, False)
    assert not_applied.others - applied.others == write.quantity


@given(WRITES)
def test_one_of_them_holds_and_changes_nothing(write: Undecided) -> None:
    readings = read_both(write)

    taken, other = sorted(readings, key=lambda reading: not reading.is_taken)
    assert (taken.is_taken, other.is_taken) == (True, False)
    assert taken.more == 0
    assert other.more == (other.others - taken.others if write.is_pooled else 0)


@given(WRITES)
def test_a_pool_that_was_taken_as_the_smaller_one_can_only_grow(write: Undecided) -> None:
    smaller = Undecided(write.quantity, write.before, write.found, write.quantity > 0)

    assert sorted(reading.more for reading in read_both(smaller)) == [0, abs(write.quantity)]


@pytest.mark.parametrize(
    ("purpose", "role", "movements", "expected"),
    [
        (Purpose.WRITE_BACK, Role.SOURCE, TargetMovements.WRITE_BACK, True),
        (Purpose.WRITE_BACK, Role.SOURCE, TargetMovements.OVERWRITE, True),
        # An undo writes on sources too; what it does not bring there is owed to nobody.
        (Purpose.TARGET, Role.SOURCE, TargetMovements.WRITE_BACK, False),
        (Purpose.TARGET, Role.TARGET, TargetMovements.WRITE_BACK, True),
        (Purpose.TARGET, Role.TARGET, TargetMovements.OVERWRITE, False),
    ],
)
def test_what_others_move_is_the_pools_where_the_rule_counts_it(
    purpose: Purpose, role: Role, movements: TargetMovements, expected: bool
) -> None:
    assert is_pooled(purpose, role, movements) is expected


@pytest.mark.parametrize(
    ("pool", "owed", "level", "available"),
    [
        (parts(), 2, None, 9),
        (parts(available=None), 2, None, None),
        (parts(Mode.MIRROR, level=Decimal(7)), 0, 9, 9),
        (parts(Mode.MIRROR), 0, None, 9),
    ],
)
def test_what_others_moved_more_is_owed_or_is_the_level(
    pool: PoolParts, owed: int, level: int | None, available: int | None
) -> None:
    more = pool_with(pool, Decimal(2))

    assert (more.owed, more.level, more.available, more.cells) == (owed, level, available, pool.cells)


def test_each_target_shows_its_rule_of_it() -> None:
    rules = [TargetRule(), TargetRule(percent=Decimal(50)), TargetRule(reserve=Decimal(20))]

    assert offers(parts(), rules) == (7, 3, 0)
    assert offers(pool_with(parts(), Decimal(2)), rules) == (9, 4, 0)
    assert offers(parts(available=None), rules) == ()


def test_half_a_unit_more_lets_targets_show_halves() -> None:
    half = TargetRule(percent=Decimal(50))

    assert offers(pool_with(parts(), Decimal("0.5")), [half]) == (Decimal("3.75"),)
