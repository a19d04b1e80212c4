"""What a change of a rule means for its books.

Nothing that targets owe is lost by it, and nothing that was there before is taken for a movement.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clock import utcnow
from core.intents import WriteState
from db import database
from models import Cell, Pool, Priority, StockGroup, StockWrite
from services.dirty import Claim, mark_dirty
from services.frames import PoolFrame
from services.writes import doubt_abandoned, take_back


def withdraw_planned(group: StockGroup, deposit_ids: Sequence[str] | None = None) -> None:
    """Take back what the rule planned and did not send, at these deposits or at all; a write-back is owed again."""
    cells = Cell.select(Cell.id).join(Pool).where(Pool.group == group)
    planned = StockWrite.cell_id.in_(cells) & (StockWrite.state == WriteState.PLANNED)
    if deposit_ids is not None:
        planned &= StockWrite.deposit.in_(deposit_ids)
    take_back(list(StockWrite.select().where(planned)))


def release_orphans(claims: Sequence[Claim], frames: Iterable[PoolFrame]) -> bool:
    """End the writes of these SKUs that no frame leads to any more: True when there were any, and books have changed.

    A rule may be switched off, a deposit leave it or a SKU change hands just when a write waits for another try. Left
    open it would keep its place for ever. What never left is taken back; what may have left is in doubt.
    """
    followed = {cell.row.id for frame in frames for cell in frame.cells if cell.row is not None}
    cells = (
        Cell.select(Cell.id)
        .join(Pool)
        .where((Pool.organization == claims[0].organization_id) & Pool.sku.in_([claim.sku for claim in claims]))
    )
    waiting = StockWrite.state.in_((WriteState.PLANNED, WriteState.SENDING))
    orphans = [
        write
        for write in StockWrite.select().where(waiting & StockWrite.cell_id.in_(cells))
        if write.cell_id not in followed
    ]
    if orphans:
        with database.atomic():
            take_back([write for write in orphans if write.state == WriteState.PLANNED])
            doubt_abandoned(orphans, claims[0])
    return bool(orphans)


def forget_deposit(group: StockGroup, deposit_id: str) -> None:
    """End what an earlier membership left: measured against it, all that happened since would look like a movement."""
    pools = Pool.select(Pool.id).where(Pool.group == group)
    Cell.update(left_at=utcnow()).where(
        (Cell.deposit == deposit_id) & Cell.pool.in_(pools) & Cell.left_at.is_null()
    ).execute()


def change_seed(group: StockGroup, old_seed_id: str | None) -> None:
    """Let the SKUs of a mirror that have not started begin from its seed of now; those that have keep their level.

    Until a pool starts, it is owed what moved at the other targets; what moved at the seed is in the seed's balance.
    """
    waiting = Pool.select().where((Pool.group == group) & Pool.level.is_null())
    for pool in list(waiting):
        moved = {cell.deposit_id: cell.accounted - cell.baseline for cell in pool.cells if cell.left_at is None}
        owed = pool.owed + moved.get(old_seed_id, 0) - moved.get(group.seed_deposit_id, 0)
        Pool.update(owed=owed).where(Pool.id == pool.id).execute()
    if group.is_active:
        skus = [pool.sku for pool in waiting]
        mark_dirty(group.organization_id, skus, priority=Priority.MANUAL, needs_look=True)
