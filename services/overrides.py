"""Exceptions for single SKUs: the list of a rule's, what each comes to, and adding, changing and removing one.

A change in an active rule has its SKU settled, started in the transaction of the change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from peewee import fn

from core.documents import Fault, Place
from core.facts import ZERO, BalanceKind, Mode
from core.group_draft import OverrideDraft, read_override
from core.numerals import plain_numeral
from core.rules import TargetRule, apply, pool_decimals
from db import database
from models import (
    Account,
    Cell,
    Deposit,
    DepositRole,
    GroupDeposit,
    Pool,
    Product,
    RunType,
    SkuOverride,
    StockGroup,
    User,
)
from services.departures import part_with_exceptions
from services.frame_loading import target_rule
from services.group_form import LIMITS
from services.groups import lock_group
from services.labels import quantidade
from services.runs import product_names, start_run

ROWS_PER_PAGE = 50
REASON = "override"


@dataclass(frozen=True, slots=True)
class Effect:
    """What one target shows of the SKU now; `available` and `shown` None: not worked out yet, or left out."""

    name: str
    is_ignored: bool
    rule: TargetRule
    available: Decimal | None
    shown: Decimal | None


@dataclass(frozen=True, slots=True)
class OverrideRow:
    """One exception as a page shows it. `where` None: every target. `product_name` '': no account has the SKU now."""

    row: SkuOverride
    product_name: str
    where: str | None
    effects: tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class OverridePage:
    rows: tuple[OverrideRow, ...]
    number: int
    pages: int
    total: int


@dataclass(slots=True)
class OverrideForm:
    """`typed`: field name to what stands in it; `faults`: field name to what is wrong with it."""

    typed: Mapping[str, str]
    faults: dict[str, str] = field(default_factory=dict)

    def value(self, name: str) -> str:
        return self.typed.get(name, "").strip()

    @property
    def is_ignoring(self) -> bool:
        return self.value("ignore") == "yes"


def targets_of(group: StockGroup) -> list[GroupDeposit]:
    """The targets of a rule in their order, with deposit and account."""
    rows = GroupDeposit.select(GroupDeposit, Deposit, Account).join(Deposit).join(Account)
    return list(
        rows.where((GroupDeposit.group == group) & (GroupDeposit.role == DepositRole.TARGET)).order_by(
            GroupDeposit.position
        )
    )


def list_overrides(group: StockGroup, text: str = "", number: int = 1, sku: str | None = None) -> OverridePage:
    """One page of the exceptions whose SKU or product name contains the text, or of exactly this SKU; by SKU."""
    wanted = SkuOverride.group == group
    if sku is not None:
        wanted &= SkuOverride.sku == sku
    if text := text.strip():
        named = Product.select(Product.sku).where(
            (Product.organization == group.organization_id) & Product.name.contains(text)
        )
        wanted &= SkuOverride.sku.contains(text) | SkuOverride.sku.in_(named)
    total = SkuOverride.select().where(wanted).count()
    pages = max(1, -(-total // ROWS_PER_PAGE))
    number = min(max(1, number), pages)
    rows = (
        SkuOverride.select().where(wanted).order_by(SkuOverride.sku, SkuOverride.deposit.is_null(False), SkuOverride.id)
    )
    return OverridePage(tuple(_shown(group, list(rows.paginate(number, ROWS_PER_PAGE)))), number, pages, total)


def effects_of(group: StockGroup, sku: str) -> list[Effect]:
    """What every target shows of this SKU as things stand, its exceptions included; [] when no account has it."""
    if not sku or not product_names(group.organization_id, [sku]):
        return []
    standing = list(SkuOverride.select().where((SkuOverride.group == group) & (SkuOverride.sku == sku)))
    pools = _pools(group, [sku])
    decimals = _decimals(group, pools.values())
    return [_effect(target, standing, pools.get(sku), decimals.get(sku, 0)) for target in targets_of(group)]


def choices_of(group: StockGroup) -> list[tuple[str, str]]:
    """Where an exception may hold, as options of a form."""
    return [("", "Todos os compartilhados"), *((one.deposit_id, _name(one)) for one in targets_of(group))]


def _pools(group: StockGroup, skus: Sequence[str]) -> dict[str, Pool]:
    """The pools of a rule that is active; what one that is switched off counted is over."""
    if not group.is_active:
        return {}
    return {pool.sku: pool for pool in Pool.select().where((Pool.group == group) & Pool.sku.in_(skus))}


def _shown(group: StockGroup, rows: Sequence[SkuOverride]) -> list[OverrideRow]:
    targets = targets_of(group)
    skus = list({row.sku for row in rows})
    names = product_names(group.organization_id, skus)
    of_sku: dict[str, list[SkuOverride]] = defaultdict(list)
    for one in SkuOverride.select().where((SkuOverride.group == group) & SkuOverride.sku.in_(skus)):
        of_sku[one.sku].append(one)
    pools = _pools(group, skus)
    decimals = _decimals(group, pools.values())
    return [
        OverrideRow(
            row,
            names.get(row.sku, ""),
            next((_name(one) for one in targets if one.deposit_id == row.deposit_id), None),
            tuple(
                _effect(target, of_sku[row.sku], pools.get(row.sku), decimals.get(row.sku, 0))
                for target in targets
                if row.deposit_id in (None, target.deposit_id)
            ),
        )
        for row in rows
    ]


def _name(target: GroupDeposit) -> str:
    return f"{target.deposit.account.name} · {target.deposit.name}"


def _effect(target: GroupDeposit, overrides: Sequence[SkuOverride], pool: Pool | None, decimals: int) -> Effect:
    is_ignored = any(o.is_ignored and o.deposit_id in (None, target.deposit_id) for o in overrides)
    rule = target_rule(target, overrides)
    available = None if pool is None or is_ignored else pool.available
    shown = None if available is None else apply(rule, available, decimals)
    return Effect(_name(target), is_ignored, rule, available, shown)


def _decimals(group: StockGroup, pools: Iterable[Pool]) -> dict[str, int]:
    """To how many decimals each SKU's pool is shown, from the balances that it is made of."""
    by_id = {pool.id: pool for pool in pools}
    parts: dict[str, list[Decimal]] = {pool.sku: [pool.owed, pool.level or ZERO] for pool in by_id.values()}
    sources = {
        member.deposit_id
        for member in GroupDeposit.select().where(
            (GroupDeposit.group == group) & (GroupDeposit.role == DepositRole.SOURCE)
        )
    }
    for cell in Cell.select().where(Cell.pool.in_(list(by_id))) if by_id else ():
        sku = by_id[cell.pool_id].sku
        if group.mode == Mode.SUM and cell.deposit_id in sources:
            parts[sku].append(cell.accounted)
        if group.balance == BalanceKind.VIRTUAL:
            parts[sku].append(cell.reserved)
    return {sku: pool_decimals(listed) for sku, listed in parts.items()}


def form_of(row: SkuOverride) -> OverrideForm:
    """The form as it stands for an existing exception."""
    typed = {"sku": row.sku, "target": row.deposit_id or "", "ignore": "yes" if row.is_ignored else ""}
    for name in LIMITS:
        value = getattr(row, name)
        typed[name] = "" if value is None else quantidade(value)
    return OverrideForm(typed)


def save_override(
    group: StockGroup, form: OverrideForm, user: User, row: SkuOverride | None = None
) -> SkuOverride | None:
    """Save what a person typed; None when something is wrong with it, which then stands in the form's faults.

    The SKU of an existing exception stays what it is.
    """
    with database.atomic():
        lock_group(group)
        sku = form.value("sku") if row is None else row.sku
        draft, deposit_id = _read(group, form, sku)
        _check(group, form, draft, deposit_id, row)
        if form.faults:
            return None
        columns = {
            "deposit": deposit_id,
            "is_ignored": draft.is_ignored,
            # What is left out altogether has no limits to speak of.
            **{name: None if draft.is_ignored else getattr(draft.limits, name) for name in LIMITS},
        }
        if row is None:
            saved = SkuOverride.create(organization=group.organization_id, group=group, sku=draft.sku, **columns)
        else:
            part_with_exceptions(group, sku)
            SkuOverride.update(**columns).where(SkuOverride.id == row.id).execute()
            saved = SkuOverride.get_by_id(row.id)
        part_with_exceptions(group, saved.sku)
        if row is None or any(
            getattr(row, name) != getattr(saved, name) for name in ("deposit_id", "is_ignored", *LIMITS)
        ):
            _settle(group, saved.sku, user)
        return saved


def remove_override(group: StockGroup, row: SkuOverride, user: User) -> bool:
    """Take an exception away, so that the rule holds again. False when somebody has done so meanwhile."""
    with database.atomic():
        lock_group(group)
        # A settling of that moment may have taken up what the exception excludes.
        part_with_exceptions(group, row.sku)
        if SkuOverride.delete().where(SkuOverride.id == row.id).execute() != 1:
            return False
        _settle(group, row.sku, user)
        return True


def _settle(group: StockGroup, sku: str, user: User) -> None:
    if StockGroup.get_by_id(group.id).is_active:
        start_run(group.organization, RunType.MANUAL, skus=[sku], user=user, reason=REASON)


def _read(group: StockGroup, form: OverrideForm, sku: str) -> tuple[OverrideDraft, str | None]:
    faults: list[Fault] = []
    document = {
        "sku": sku or None,
        "ignore": form.is_ignoring,
        **{name: None if form.is_ignoring else plain_numeral(form.value(name)) or None for name in LIMITS},
    }
    draft = read_override(Place(document, "", faults), ())
    for fault in faults:
        text = fault.message[:1].upper() + fault.message[1:]
        form.faults.setdefault(fault.path, text if text.endswith(".") else f"{text}.")
    deposit_id = form.value("target") or None
    if deposit_id is not None and deposit_id not in {target.deposit_id for target in targets_of(group)}:
        form.faults["target"] = "Este depósito não está entre os compartilhados da regra."
    return draft, deposit_id


def _check(
    group: StockGroup, form: OverrideForm, draft: OverrideDraft, deposit_id: str | None, row: SkuOverride | None
) -> None:
    """What contradicts the catalogue or the other exceptions, or says nothing at all."""
    if row is None and draft.sku and (fault := _unknown(group, draft.sku)):
        form.faults["sku"] = fault
    same = SkuOverride.select().where((SkuOverride.group == group) & (SkuOverride.sku == draft.sku))
    if any(one.deposit_id == deposit_id and (row is None or one.id != row.id) for one in same):
        where = "para todos os compartilhados" if deposit_id is None else "para este depósito"
        form.faults["target"] = f"Já há uma exceção deste SKU {where}. Edite aquela."
    if not draft.is_ignored and not any(form.value(name) for name in LIMITS):
        form.faults["limits"] = "Preencha pelo menos um limite, ou deixe o produto de fora."


def _unknown(group: StockGroup, sku: str) -> str:
    """Why no exception can be made for this SKU; '' when an account has it."""
    known = (Product.organization == group.organization_id) & (Product.situation != "deleted")
    if Product.select().where(known & (Product.sku == sku)).exists():
        return ""
    alike = (
        Product.select(Product.sku).where(known & (fn.LOWER(Product.sku) == sku.lower()) & (Product.sku != "")).first()
    )
    if alike is not None:
        return f"Nenhuma conta tem este SKU. Maiúsculas contam: o do Bling é “{alike.sku}”."
    return "Nenhuma conta conectada tem um produto com este SKU."
