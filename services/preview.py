"""What a rule would do, before it does it: balances read now, decided by the same plan, nothing written or booked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from peewee import chunked

from bling.pacing import Errand
from core.facts import ZERO
from core.guards import Verdict, foresee, judge
from core.plan import PoolPlan
from models import Account, Deposit, Organization, StockGroup
from services.bling_clients import clients_for
from services.frame_loading import load_frames, skus_of
from services.frames import CellFrame, PoolFrame, Unread
from services.guards import followed_skus, limits_of
from services.reading import ClientFor, read_balances
from services.settle import decide

STEP = 100
# A person waits for the answer.
_CLIENT = clients_for(Errand.MANUAL)


@dataclass(frozen=True, slots=True)
class PreviewDeposit:
    """One deposit of a SKU: `after` is None where it would not be written, for the reason `problem`."""

    account: Account
    deposit: Deposit
    role: str
    before: Decimal | None
    after: Decimal | None
    problem: str | None

    @property
    def delta(self) -> Decimal:
        return ZERO if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One SKU. `available`: the pool, None when it cannot be worked out; `problem`: why the SKU is left alone."""

    sku: str
    product_name: str
    available: Decimal | None
    problem: str | None
    deposits: tuple[PreviewDeposit, ...]

    @property
    def is_changed(self) -> bool:
        return any(one.delta != ZERO for one in self.deposits)

    @property
    def is_lowered(self) -> bool:
        return any(one.delta < ZERO for one in self.deposits)

    @property
    def is_raised(self) -> bool:
        return any(one.delta > ZERO for one in self.deposits)

    @property
    def is_zeroed(self) -> bool:
        return any(one.delta < ZERO and one.after == ZERO for one in self.deposits)


@dataclass(slots=True)
class PreviewTotals:
    skus: int = 0
    changed: int = 0
    lowered: int = 0
    zeroed: int = 0
    raised: int = 0
    skipped: int = 0


@dataclass(slots=True)
class Preview:
    """`dropped`: how many SKUs would be lowered on a target; `followed`: how many the rule follows, shown or not."""

    group: StockGroup
    rows: list[PreviewRow] = field(default_factory=list)
    totals: PreviewTotals = field(default_factory=PreviewTotals)
    unreadable_accounts: list[Account] = field(default_factory=list)
    dropped: int = 0
    followed: int = 0

    @property
    def verdict(self) -> Verdict:
        """What the group's guard would say of it."""
        return judge(self.dropped, self.followed, limits_of(self.group))


def preview_group(group: StockGroup, *, skus: Sequence[str] | None = None, client_of: ClientFor = _CLIENT) -> Preview:
    """What the rule would change now, active or not, for these SKUs or for all. Reads through Bling, writes nothing."""
    preview = Preview(group)
    unreadable: dict[str, Account] = {}
    for chunk in chunked(skus_of(group) if skus is None else sorted(set(skus)), STEP):
        by_sku = load_frames(group.organization_id, chunk, groups=[group])
        frames = [frame for listed in by_sku.values() for frame in listed]
        readings = read_balances([frame for frame in frames if frame.problem is None], client_of)
        for decision in decide(frames, readings):
            _add(preview, decision.frame, decision.plan)
            for cell in decision.frame.cells:
                if isinstance(readings.get((cell.product.id, cell.deposit.id)), Unread):
                    unreadable[cell.account.id] = cell.account
    # All of them were looked at, or the books say how many there are.
    preview.followed = preview.totals.skus - preview.totals.skipped if skus is None else followed_skus(group)
    preview.unreadable_accounts = sorted(unreadable.values(), key=lambda account: account.name)
    return preview


def preview_skus(
    organization: Organization, skus: Sequence[str] | None, *, client_of: ClientFor = _CLIENT
) -> list[Preview]:
    """What a synchronization of these SKUs, or of all, would do now in each active rule."""
    active = StockGroup.select().where((StockGroup.organization == organization.id) & (StockGroup.is_active == 1))
    return [preview_group(group, skus=skus, client_of=client_of) for group in active.order_by(StockGroup.id)]


def _add(preview: Preview, frame: PoolFrame, plan: PoolPlan | None) -> None:
    problem = frame.problem if plan is None else None
    if plan is not None and plan.available is None:
        problem = next(iter(plan.missing.values()), "never_read")
    row = PreviewRow(
        sku=frame.sku,
        product_name=frame.product_name,
        available=None if plan is None else plan.available,
        problem=problem,
        deposits=tuple(_deposit(cell, plan) for cell in frame.cells),
    )
    preview.rows.append(row)
    preview.dropped += plan is not None and bool(foresee(plan, virtual=frame.is_virtual))
    totals = preview.totals
    totals.skus += 1
    totals.changed += row.is_changed
    totals.lowered += row.is_lowered
    totals.zeroed += row.is_zeroed
    totals.raised += row.is_raised
    totals.skipped += problem is not None


def _deposit(cell: CellFrame, plan: PoolPlan | None) -> PreviewDeposit:
    look = plan.looks.get(cell.key) if plan is not None else None
    known = cell.row.accounted if cell.row is not None else None
    before = look.accounted if look is not None else known
    after = before
    if plan is not None and before is not None:
        wished = [wish.quantity for wish in plan.wishes if wish.key == cell.key]
        after = before + sum(wished, ZERO)
    problem = cell.problem or (plan.held.get(cell.key) if plan is not None else None)
    return PreviewDeposit(cell.account, cell.deposit, cell.role, before, after, problem)
