"""What the pages of stock rules show, and what they save."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from core.documents import Fault
from db import database
from models import (
    Account,
    AccountState,
    Deposit,
    DepositRole,
    GroupDeposit,
    Organization,
    Pool,
    RunType,
    SkuOverride,
    StockGroup,
    User,
)
from services.group_form import GroupForm, form_of
from services.groups import MODE_IS_FIXED, Saved, check_group, deposits_of, draft_of, drafts_of, lock_group, save_group
from services.runs import RULES, start_run


@dataclass(frozen=True, slots=True)
class Member:
    """A deposit's place in a rule, with what a page shows of it."""

    row: GroupDeposit
    deposit: Deposit
    account: Account
    name: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule with all that a page says about it.

    `owed`: of a rule that is switched off, per SKU what had not reached a source by then.
    """

    group: StockGroup
    sources: tuple[Member, ...]
    targets: tuple[Member, ...]
    exceptions: int
    skus: int
    owed: tuple[tuple[str, Decimal], ...]

    @property
    def seed(self) -> Member | None:
        return next((m for m in self.targets if m.deposit.id == self.group.seed_deposit_id), None)

    @property
    def takers(self) -> list[Member]:
        """The sources that somebody chose to take the movements made on targets, in order of preference."""
        taking = [member for member in self.sources if member.row.write_back_position is not None]
        return sorted(taking, key=lambda member: member.row.write_back_position)

    @property
    def away(self) -> list[Account]:
        """Accounts of this rule that can be neither read nor written now."""
        accounts = {m.account.id: m.account for m in (*self.sources, *self.targets)}
        return [account for account in accounts.values() if account.state != AccountState.CONNECTED]


def list_rules(organization: Organization) -> list[Rule]:
    """Every rule of the merchant, the active ones first."""
    rows = StockGroup.select().where(StockGroup.organization == organization)
    return [rule_of(group) for group in rows.order_by(StockGroup.is_active.desc(), StockGroup.name, StockGroup.id)]


def rule_of(group: StockGroup) -> Rule:
    rows = (
        GroupDeposit.select(GroupDeposit, Deposit, Account)
        .join(Deposit)
        .join(Account)
        .where(GroupDeposit.group == group)
        .order_by(GroupDeposit.position, GroupDeposit.id)
    )
    members = [Member(row, row.deposit, row.deposit.account, deposit_name(row.deposit)) for row in rows]
    return Rule(
        group,
        tuple(member for member in members if member.row.role == DepositRole.SOURCE),
        tuple(member for member in members if member.row.role == DepositRole.TARGET),
        exceptions=SkuOverride.select().where(SkuOverride.group == group).count(),
        skus=Pool.select().where(Pool.group == group).count(),
        owed=() if group.is_active else _owed(group),
    )


def _owed(group: StockGroup) -> tuple[tuple[str, Decimal], ...]:
    owing = Pool.select(Pool.sku, Pool.owed).where((Pool.group == group) & (Pool.owed != 0))
    return tuple((pool.sku, pool.owed) for pool in owing.order_by(Pool.sku))


def deposit_name(deposit: Deposit) -> str:
    """A deposit as people tell them apart: many accounts have one called Geral."""
    return f"{deposit.account.name} · {deposit.name}"


def deposits_by_account(organization: Organization) -> list[tuple[Account, list[Deposit]]]:
    """What a rule may be made of, account by account; a disconnected one only while a rule still names it."""
    by_account: dict[str, tuple[Account, list[Deposit]]] = {}
    used = {m.deposit_id for m in GroupDeposit.select().where(GroupDeposit.organization == organization)}
    for deposit in deposits_of(organization).values():
        account = deposit.account
        if deposit.id in used or (deposit.is_active and account.state != AccountState.DISCONNECTED):
            by_account.setdefault(account.id, (account, []))[1].append(deposit)
    return list(by_account.values())


def form_for(group: StockGroup) -> GroupForm:
    """The form as it stands for this rule."""
    return form_of(draft_of(group), deposits_of(group.organization))


def save_form(organization: Organization, form: GroupForm, user: User, group: StockGroup | None = None) -> Saved | None:
    """Save what a person typed; None when something is wrong with it, which then stands in the form's faults.

    An active rule that decides differently from now on is synchronized anew, in the same transaction.
    """
    with database.atomic():
        if group is not None:
            # The exceptions are no part of the form: those of this moment stay as they are.
            lock_group(group)
        deposits = deposits_of(organization)
        drafts = drafts_of(organization)
        existing = drafts.pop(group.id) if group is not None else None
        document = form.document(deposits, existing, {draft.key for draft in drafts.values()})
        accounts = {place.account for place in deposits}
        draft, faults = check_group(document, accounts, deposits, list(drafts.values()))
        if group is not None and group.is_active and draft.mode != group.mode and draft.mode:
            faults.append(Fault("mode", MODE_IS_FIXED))
        form.take_faults(faults, document, deposits)
        if form.faults:
            return None
        saved = save_group(organization, draft, deposits, group)
        if saved.decides_anew and saved.group.is_active:
            start_run(organization, RunType.MANUAL, skus=None, user=user, reason=RULES)
        return saved
