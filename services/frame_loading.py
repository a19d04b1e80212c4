"""Load frames: all that the books know of some SKUs, in a fixed number of queries.

Every deposit of a group gives one cell, or a reason why it gives none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from clock import utcnow
from core.events import VIRTUAL_KIND, InvalidEvent, virtual_part
from core.facts import Mode, Role
from core.intents import OPEN_STATES, WriteState
from core.rules import TargetRule
from core.skus import Candidate, Problem, choose_product
from models import (
    Account,
    AccountState,
    Cell,
    Deposit,
    Event,
    EventState,
    GroupDeposit,
    Movement,
    Pool,
    Product,
    SkuOverride,
    StockGroup,
    StockWrite,
)
from services.frames import ECHO_MEMORY, CellFrame, PoolFrame, is_in_doubt, settle_window

_UNREACHED = {
    AccountState.PAUSED: Problem.PAUSED,
    AccountState.RECONNECT: Problem.RECONNECT,
    AccountState.DISCONNECTED: Problem.DISCONNECTED,
}


def skus_of(group: StockGroup) -> list[str]:
    """Every SKU that an account of the group knows, in order."""
    accounts = Deposit.select(Deposit.account).join(GroupDeposit).where(GroupDeposit.group == group.id)
    rows = Product.select(Product.sku).where((Product.sku != "") & Product.account.in_(accounts)).distinct()
    return [row.sku for row in rows.order_by(Product.sku)]


def load_frames(
    organization_id: str,
    skus: Sequence[str],
    *,
    groups: Sequence[StockGroup] | None = None,
    now: datetime | None = None,
    old_books: bool = False,
) -> dict[str, list[PoolFrame]]:
    """The frames of these SKUs in the organization's active groups (or in `groups`, active or not), per SKU.

    `old_books`: with what a group that is switched off counted last, for an undo.
    """
    now = now or utcnow()
    if groups is None:
        active = StockGroup.select().where((StockGroup.organization == organization_id) & (StockGroup.is_active == 1))
        groups = list(active.order_by(StockGroup.id))
    by_sku: dict[str, list[PoolFrame]] = {sku: [] for sku in skus}
    if not groups or not skus:
        return by_sku
    world = _World(organization_id, groups, skus, now, old_books)
    for sku in skus:
        for group in groups:
            frame = world.frame(group, sku)
            if frame is not None:
                by_sku[sku].append(frame)
    return by_sku


class _World:
    """Everything that the frames of one batch are made of, loaded at once."""

    def __init__(
        self,
        organization_id: str,
        groups: Sequence[StockGroup],
        skus: Sequence[str],
        now: datetime,
        old_books: bool = False,
    ) -> None:
        group_ids = [group.id for group in groups]
        self.now = now
        members = (
            GroupDeposit.select(GroupDeposit, Deposit, Account)
            .join(Deposit)
            .join(Account)
            .where(GroupDeposit.group.in_(group_ids))
            .order_by(GroupDeposit.role, GroupDeposit.position, GroupDeposit.id)
        )
        self.members: dict[str, list[GroupDeposit]] = defaultdict(list)
        for member in members:
            self.members[member.group_id].append(member)
        accounts = {member.deposit.account_id for listed in self.members.values() for member in listed}
        self.products: dict[tuple[str, str], list[Product]] = defaultdict(list)
        for product in Product.select().where(Product.account.in_(list(accounts)) & Product.sku.in_(list(skus))):
            self.products[(product.account_id, product.sku)].append(product)
        self.overrides: dict[tuple[str, str], list[SkuOverride]] = defaultdict(list)
        for override in SkuOverride.select().where(SkuOverride.group.in_(group_ids) & SkuOverride.sku.in_(list(skus))):
            self.overrides[(override.group_id, override.sku)].append(override)
        # What a rule that is switched off once counted says nothing any more: it begins anew.
        counting = [group.id for group in groups if group.is_active or old_books]
        self.pools = {
            (pool.group_id, pool.sku): pool
            for pool in Pool.select().where(Pool.group.in_(counting) & Pool.sku.in_(list(skus)))
        }
        self.cells: dict[str, list[Cell]] = defaultdict(list)
        pool_ids = [pool.id for pool in self.pools.values()]
        for cell in Cell.select().where(Cell.pool.in_(pool_ids)) if pool_ids else ():
            self.cells[cell.pool_id].append(cell)
        self._load_writes(now)
        self._load_passed(now)
        self._load_events(organization_id, skus)

    def _load_writes(self, now: datetime) -> None:
        """Writes at every place that a product of these SKUs has, or had: open ones by place, recent ones also by cell.

        A product that has just come from another pool may still have one of that pool's under way.
        """
        self.open_writes: dict[tuple[str, str], StockWrite] = {}
        self.recent_writes: dict[str, list[StockWrite]] = defaultdict(list)
        self.written_at: dict[tuple[str, str], datetime] = {}
        products = {product.id for listed in self.products.values() for product in listed}
        products |= {cell.product_id for cells in self.cells.values() for cell in cells}
        if not products:
            return
        of_products = list(products)
        for write in StockWrite.select().where(StockWrite.product.in_(of_products) & StockWrite.state.in_(OPEN_STATES)):
            self.open_writes[(write.product_id, write.deposit_id)] = write
        recent = StockWrite.select().where(
            StockWrite.cell_id.in_(Cell.select(Cell.id).where(Cell.product.in_(of_products)))
            & (StockWrite.state == WriteState.CONFIRMED)
            & (StockWrite.ended_at > now - ECHO_MEMORY)
        )
        for write in recent.order_by(StockWrite.id):
            self.recent_writes[write.cell_id].append(write)
            place = (write.product_id, write.deposit_id)
            self.written_at[place] = max(write.ended_at, self.written_at.get(place, write.ended_at))

    def _load_passed(self, now: datetime) -> None:
        """The balances before movements within the settle window; a cell that did not change within it has none."""
        self.passed: dict[str, list[Decimal]] = defaultdict(list)
        since = now - settle_window()
        changed = [
            cell.id
            for cells in self.cells.values()
            for cell in cells
            if cell.changed_at is not None and cell.changed_at > since
        ]
        if changed:
            booked = Movement.select(Movement.cell, Movement.before).where(
                Movement.cell.in_(changed) & (Movement.booked_at > since)
            )
            for cell_id, before in booked.tuples():
                self.passed[cell_id].append(before)

    def _load_events(self, organization_id: str, skus: Sequence[str]) -> None:
        self.events: dict[tuple[str, int], list[Event]] = defaultdict(list)
        pending = Event.select().where(
            (Event.organization == organization_id) & Event.sku.in_(list(skus)) & (Event.state == EventState.PENDING)
        )
        for event in pending.order_by(Event.bling_event_id, Event.id):
            self.events[(event.account_id, event.product_bling_id)].append(event)

    def frame(self, group: StockGroup, sku: str) -> PoolFrame | None:
        """The frame of one SKU in one group; None when no account of the group knows the SKU."""
        pool = self.pools.get((group.id, sku))
        rows = self.cells.get(pool.id, []) if pool is not None else []
        overrides = self.overrides.get((group.id, sku), [])
        frame = PoolFrame(group, sku, "", pool, [], {}, None)
        sources = {member.deposit_id for member in self.members[group.id] if member.role == Role.SOURCE}
        frame.had_sources = frame.is_begun and any(row.deposit_id in sources for row in rows)
        frame.departed = [
            write
            for row in rows
            if row.left_at is not None
            and (write := self.open_writes.get((row.product_id, row.deposit_id))) is not None
            and write.cell_id == row.id
            and is_in_doubt(write)
        ]
        known = False
        for member in self.members[group.id]:
            deposit, account = member.deposit, member.deposit.account
            candidates = self.products.get((account.id, sku), [])
            known = known or bool(candidates)
            if candidates and not frame.product_name:
                frame.product_name = candidates[0].name
            self._add_cell(frame, member, deposit, account, candidates, rows, overrides)
        if not known:
            return None
        if any(o.is_ignored and o.deposit_id is None for o in overrides):
            frame.problem = Problem.IGNORED
        elif frame.problem is None:
            frame.problem = _lacking(frame, Mode(group.mode))
        return frame

    def _add_cell(
        self,
        frame: PoolFrame,
        member: GroupDeposit,
        deposit: Deposit,
        account: Account,
        candidates: Sequence[Product],
        rows: Sequence[Cell],
        overrides: Sequence[SkuOverride],
    ) -> None:
        unlisted = account.catalog_at is None and account.state != AccountState.DISCONNECTED
        if unlisted and not frame.is_begun:
            frame.problem = frame.problem or Problem.CATALOG_MISSING
        chosen, problem = choose_product(Candidate(p.id, p.format, p.situation) for p in candidates)
        products = {p.id: p for p in candidates if chosen is None or p.id == chosen.id}
        # Books of a product that carries the SKU no longer are no books of this pool, whatever else is known of it.
        here = [r for r in rows if r.deposit_id == deposit.id and r.product_id in products]
        row = next((r for r in here if r.left_at is None), None)
        product = products.get(row.product_id if row is not None else chosen.id if chosen is not None else "")
        if product is None:
            if problem is not None:
                self._leave_out(frame, member, deposit, problem)
            return
        problem = problem or (None if deposit.is_active else Problem.DEPOSIT_OFF) or _UNREACHED.get(account.state)
        # What it is called now is not known: its balance might be another SKU's.
        problem = problem or (Problem.CATALOG_MISSING if unlisted else None)
        if problem not in (None, *_UNREACHED.values()) and row is None:
            self._leave_out(frame, member, deposit, problem)
            return
        ignored = any(o.is_ignored and o.deposit_id == deposit.id for o in overrides)
        if ignored and member.role == Role.TARGET:
            self._leave_out(frame, member, deposit, Problem.IGNORED)
            return
        told = self.events.get((account.id, product.bling_id), [])
        if not any(cell.product.id == product.id for cell in frame.cells):
            frame.virtual_events.extend(event for event in told if event.deposit_bling_id is None)
        frame.cells.append(
            CellFrame(
                member=member,
                deposit=deposit,
                account=account,
                product=product,
                row=row,
                earlier=next((r for r in here if row is None and r.product_id == product.id), None),
                written_at=self._written_at(product, deposit),
                problem=problem,
                events=[event for event in told if event.deposit_bling_id == deposit.bling_id],
                writes=self.recent_writes.get(row.id, []) if row is not None else [],
                open_write=self.open_writes.get((product.id, deposit.id)),
                passed=tuple(self.passed.get(row.id, ())) if row is not None else (),
                told_reserved=_told_reserved(told, deposit),
                rule=target_rule(member, overrides) if member.role == Role.TARGET else None,
            )
        )

    def _written_at(self, product: Product, deposit: Deposit) -> datetime | None:
        """When a write of ours last ended there; now, for one that is under way."""
        place = (product.id, deposit.id)
        open_write = self.open_writes.get(place)
        ended = [] if open_write is None or not is_in_doubt(open_write) else [open_write.ended_at or self.now]
        return max([*ended, *([self.written_at[place]] if place in self.written_at else [])], default=None)

    @staticmethod
    def _leave_out(frame: PoolFrame, member: GroupDeposit, deposit: Deposit, problem: str) -> None:
        frame.left_out[deposit.id] = problem
        is_seed = frame.starts_from(deposit) and problem != Problem.IGNORED
        if problem == Problem.DELETED or not (is_seed or member.role == Role.SOURCE):
            return
        # A source that cannot be told apart or read has stock that nobody can count, and so has the seed of a mirror
        # that has not started: no other target's balance is a stand-in for it. Where nothing was counted yet the SKU is
        # left alone; a pool that has begun goes on without it, and may only be lowered.
        if frame.is_begun and not is_seed:
            frame.uncounted[deposit.id] = problem
        elif frame.problem is None:
            frame.problem = problem


def _lacking(frame: PoolFrame, mode: Mode) -> str | None:
    """A SKU that meets no target, or in mode sum no source, cannot be synchronized."""
    roles = {cell.role for cell in frame.cells}
    if Role.TARGET not in roles:
        return next((reason for reason in frame.left_out.values()), Problem.NO_TARGET)
    if mode is Mode.SUM and Role.SOURCE not in roles and not frame.had_sources:
        return Problem.NO_SOURCE
    return None


def target_rule(member: GroupDeposit, overrides: Sequence[SkuOverride]) -> TargetRule:
    """What this target shows of one SKU's pool: its own rule, then the SKU's exceptions, the target's own one last."""
    rule = TargetRule().overridden(member.reserve, member.percent, member.max, member.stop_at)
    for override in sorted(overrides, key=lambda o: o.deposit_id is not None):
        if override.deposit_id in (None, member.deposit_id):
            rule = rule.overridden(override.reserve, override.percent, override.max, override.stop_at)
    return rule


def _told_reserved(told: Sequence[Event], deposit: Deposit) -> Decimal | None:
    """What the newest event about reservations says is reserved in a deposit; None when none does."""
    for event in reversed(told):
        if event.deposit_bling_id is None and event.kind == VIRTUAL_KIND:
            try:
                balances = virtual_part(event.body).deposits.get(deposit.bling_id)
            except InvalidEvent:
                continue
            return None if balances is None else balances[0] - balances[1]
    return None
