"""Stock rules: reading them out of the database, saving what somebody wants, switching them off, deleting them.

What a rule may look like is core.group_draft's; here it meets the rows. A deposit that joins an active rule starts with
the balance found there: the books of an earlier membership are dropped, those of cells that stay are kept.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clock import utcnow
from core.documents import Fault, Place
from core.group_draft import (
    DepositPlace,
    GroupDraft,
    Limits,
    OverrideDraft,
    TargetDraft,
    check_together,
    read_group,
)
from core.quantity import to_quantity
from db import database
from models import (
    Account,
    Deposit,
    DepositRole,
    GroupDeposit,
    Organization,
    SkuOverride,
    StockGroup,
)
from services.departures import part_with_deposits, part_with_exceptions
from services.group_books import change_seed, forget_deposit, withdraw_planned

Deposits = Mapping[DepositPlace, Deposit]
MODE_IS_FIXED = "Desative a regra antes de mudar o modo: o estoque dela passa a ser contado de outro jeito."


class GroupRefused(Exception):
    """What was asked cannot be done with this rule now; the message is for the merchant."""


@dataclass(frozen=True, slots=True)
class Saved:
    """`is_changed`: anything at all. `decides_anew`: something that decides which numbers are written."""

    group: StockGroup
    is_new: bool
    is_changed: bool
    decides_anew: bool


def check_group(
    document: object, accounts: Collection[str], deposits: Deposits, others: Sequence[GroupDraft]
) -> tuple[GroupDraft, list[Fault]]:
    """Read one rule on its own (a form's): everything that is wrong with it, also next to the `others`."""
    faults: list[Fault] = []
    draft = read_group(Place(document, "", faults), accounts)
    if any(other.key == draft.key for other in others):
        faults.append(Fault("key", f"já existe outra regra com a chave “{draft.key}”"))
    faults += check_together([("", draft)], others)
    faults += unknown_deposits("", draft, deposits)
    return draft, list(dict.fromkeys(faults))


def unknown_deposits(path: str, draft: GroupDraft, deposits: Collection[DepositPlace]) -> list[Fault]:
    """The deposits of this rule that their accounts do not have."""
    prefix = f"{path}." if path else ""
    named: list[tuple[str, DepositPlace]] = [(f"sources[{n}]", place) for n, place in enumerate(draft.sources)]
    named += [(f"targets[{n}]", target.place) for n, target in enumerate(draft.targets)]
    return [
        Fault(f"{prefix}{place_path}.deposit", f"a conta “{place.account}” não tem o depósito {place.deposit}")
        for place_path, place in named
        if place.is_whole and place not in deposits
    ]


def deposits_of(organization: Organization) -> dict[DepositPlace, Deposit]:
    """Every deposit of the merchant's accounts, in the order of accounts and names."""
    rows = (
        Deposit.select(Deposit, Account)
        .join(Account)
        .where(Deposit.organization == organization)
        .order_by(Account.created_at, Account.id, Deposit.is_default.desc(), Deposit.name, Deposit.id)
    )
    return {DepositPlace(deposit.account.key, deposit.bling_id): deposit for deposit in rows}


def drafts_of(organization: Organization) -> dict[str, GroupDraft]:
    """Every rule as it stands, by the id of its row, oldest first."""
    groups = list(
        StockGroup.select()
        .where(StockGroup.organization == organization)
        .order_by(StockGroup.created_at, StockGroup.id)
    )
    places = {deposit.id: place for place, deposit in deposits_of(organization).items()}
    members: dict[str, list[GroupDeposit]] = defaultdict(list)
    for member in (
        GroupDeposit.select().where(GroupDeposit.organization == organization).order_by(GroupDeposit.position)
    ):
        members[member.group_id].append(member)
    overrides: dict[str, list[SkuOverride]] = defaultdict(list)
    for override in SkuOverride.select().where(SkuOverride.organization == organization).order_by(SkuOverride.id):
        overrides[override.group_id].append(override)
    return {group.id: _draft(group, members[group.id], overrides[group.id], places) for group in groups}


def draft_of(group: StockGroup) -> GroupDraft:
    """This rule as it stands."""
    return drafts_of(group.organization)[group.id]


def fingerprint(draft: GroupDraft) -> str:
    """Names this exact wording of a rule; whether it is active, and what it is called, is no part of that."""
    return hashlib.sha256(repr((_deciding(draft), draft.seed)).encode()).hexdigest()[:32]


def _draft(
    group: StockGroup,
    members: Sequence[GroupDeposit],
    overrides: Iterable[SkuOverride],
    places: Mapping[str, DepositPlace],
) -> GroupDraft:
    sources = [member for member in members if member.role == DepositRole.SOURCE]
    takers = sorted(
        (member for member in sources if member.write_back_position is not None), key=lambda m: m.write_back_position
    )
    return GroupDraft(
        key=group.key,
        name=group.name,
        mode=group.mode,
        balance=group.balance,
        target_movements=group.target_movements,
        sources=tuple(places[member.deposit_id] for member in sources),
        targets=tuple(
            TargetDraft(places[member.deposit_id], _limits(member))
            for member in members
            if member.role == DepositRole.TARGET
        ),
        write_back=tuple(places[member.deposit_id] for member in takers),
        seed=places[group.seed_deposit_id] if group.seed_deposit_id else None,
        guard_min_skus=group.guard_min_skus,
        guard_percent=group.guard_percent,
        overrides=tuple(
            OverrideDraft(
                override.sku,
                places[override.deposit_id] if override.deposit_id else None,
                _limits(override),
                override.is_ignored,
            )
            for override in overrides
        ),
        is_active=group.is_active,
    )


def _limits(row: GroupDeposit | SkuOverride) -> Limits:
    return Limits(row.reserve, row.percent, row.max, row.stop_at)


def save_group(
    organization: Organization, draft: GroupDraft, deposits: Deposits, group: StockGroup | None = None
) -> Saved:
    """Make the row and its members say what the draft says, in the caller's transaction; a new one is inactive.

    Raises GroupRefused when an active rule would change its mode: its books mean something else there.
    """
    before = None if group is None else drafts_of(organization)[group.id]
    if group is not None and group.is_active and group.mode != draft.mode:
        raise GroupRefused(MODE_IS_FIXED)
    columns = {
        "key": draft.key,
        "name": draft.name,
        "mode": draft.mode,
        "balance": draft.balance,
        "target_movements": draft.target_movements,
        "seed_deposit": None if draft.seed is None else deposits[draft.seed],
        "guard_min_skus": draft.guard_min_skus,
        "guard_percent": to_quantity(draft.guard_percent),
    }
    is_new = group is None
    old_seed = None if group is None else group.seed_deposit_id
    if group is None:
        group = StockGroup.create(organization=organization, created_at=utcnow(), **columns)
    else:
        StockGroup.update(**columns).where(StockGroup.id == group.id).execute()
        group = StockGroup.get_by_id(group.id)
    _save_members(group, draft, deposits)
    _save_overrides(group, draft, deposits)
    part_with_exceptions(group)
    if group.seed_deposit_id != old_seed and not is_new:
        change_seed(group, old_seed)
    after = drafts_of(organization)[group.id]
    return Saved(
        group, is_new, is_changed=before != after, decides_anew=before is None or _deciding(before) != _deciding(after)
    )


def _deciding(draft: GroupDraft) -> tuple[object, ...]:
    """What of a rule decides which numbers are written; its name, key and guard do not."""
    return (
        draft.mode,
        draft.balance,
        draft.target_movements,
        draft.sources,
        draft.targets,
        draft.write_back,
        tuple(sorted(draft.overrides, key=lambda one: (one.sku, one.target or DepositPlace("", 0)))),
    )


def _save_members(group: StockGroup, draft: GroupDraft, deposits: Deposits) -> None:
    wanted: dict[str, dict[str, Any]] = {}
    for position, place in enumerate(draft.sources):
        # None for all of them leaves the choice to the planner: a source of the target's own account, else the first.
        taker = draft.write_back.index(place) if place in draft.write_back else None
        wanted[deposits[place].id] = _member(DepositRole.SOURCE, position, taker, Limits())
    for position, target in enumerate(draft.targets):
        wanted[deposits[target.place].id] = _member(DepositRole.TARGET, position, None, target.limits)
    existing = {member.deposit_id: member for member in GroupDeposit.select().where(GroupDeposit.group == group)}
    gone = [member for deposit_id, member in existing.items() if deposit_id not in wanted]
    turned = {deposit_id for deposit_id, member in existing.items() if _is_turned(member, wanted.get(deposit_id))}
    part_with_deposits(group, turned)
    if gone:
        GroupDeposit.delete().where(GroupDeposit.id.in_([member.id for member in gone])).execute()
    for deposit_id, columns in wanted.items():
        member = existing.get(deposit_id)
        if member is None:
            GroupDeposit.create(organization=group.organization_id, group=group, deposit=deposit_id, **columns)
        elif any(getattr(member, name) != value for name, value in columns.items()):
            GroupDeposit.update(**columns).where(GroupDeposit.id == member.id).execute()
        if member is None or member.role != columns["role"]:
            forget_deposit(group, deposit_id)


def _member(role: DepositRole, position: int, write_back_position: int | None, limits: Limits) -> dict[str, Any]:
    return {
        "role": role.value,
        "position": position,
        "write_back_position": write_back_position,
        "reserve": limits.reserve,
        "percent": limits.percent,
        "max": limits.max,
        "stop_at": limits.stop_at,
    }


def _is_turned(member: GroupDeposit, wanted: Mapping[str, Any] | None) -> bool:
    """Whether the deposit leaves the rule, or the place that it had in it."""
    return wanted is None or bool(member.role != wanted["role"])


def _save_overrides(group: StockGroup, draft: GroupDraft, deposits: Deposits) -> None:
    wanted = {
        (override.sku, None if override.target is None else deposits[override.target].id): override
        for override in draft.overrides
    }
    existing = {
        (row.sku, row.deposit_id): row
        for row in SkuOverride.select().where(SkuOverride.group == group).order_by(SkuOverride.id)
    }
    gone = [row for place, row in existing.items() if place not in wanted]
    if gone:
        SkuOverride.delete().where(SkuOverride.id.in_([row.id for row in gone])).execute()
    for (sku, deposit_id), override in wanted.items():
        limits = override.limits
        columns = {
            "reserve": limits.reserve,
            "percent": limits.percent,
            "max": limits.max,
            "stop_at": limits.stop_at,
            "is_ignored": override.is_ignored,
        }
        row = existing.get((sku, deposit_id))
        if row is None:
            SkuOverride.create(organization=group.organization_id, group=group, sku=sku, deposit=deposit_id, **columns)
        elif any(getattr(row, name) != value for name, value in columns.items()):
            SkuOverride.update(**columns).where(SkuOverride.id == row.id).execute()


def lock_group(group: StockGroup) -> None:
    """Of two transactions that change this rule or its exceptions, the second sees what the first did."""
    StockGroup.update(name=StockGroup.name).where(StockGroup.id == group.id).execute()


def deactivate_group(group: StockGroup) -> None:
    """Switch the rule off: nothing is written for it from now on; what it planned and did not send is taken back."""
    with database.atomic():
        StockGroup.update(is_active=False).where(StockGroup.id == group.id).execute()
        withdraw_planned(group)


def delete_group(group: StockGroup) -> None:
    """Delete a rule that is switched off, with its books; its history stays. Raises GroupRefused for an active one."""
    with database.atomic():
        deleted = StockGroup.delete().where((StockGroup.id == group.id) & (StockGroup.is_active == 0)).execute()
    if deleted != 1:
        raise GroupRefused("Esta regra está ativa. Desative-a antes de excluí-la.")
