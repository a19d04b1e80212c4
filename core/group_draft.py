"""A stock rule as somebody wants it, in a form or in a setup file: read, and checked for everything that is wrong.

Pure: which accounts exist is told by the caller; whether Bling knows the deposits is the caller's question too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from core.documents import MAX_ID, Fault, Place
from core.rules import WHOLE

SUM, MIRROR = "sum", "mirror"
PHYSICAL, VIRTUAL = "physical", "virtual"
WRITE_BACK, OVERWRITE = "write_back", "overwrite"
KEY = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?", re.ASCII)
KEY_EXPLAINED = "use letras minúsculas sem acento, números, hífen e sublinhado (no máximo 64)"
DEFAULT_GUARD_SKUS = 20
DEFAULT_GUARD_PERCENT = Decimal(30)
MAX_GUARD_SKUS = 2**31 - 1
SKU_LENGTH = 200


@dataclass(frozen=True, slots=True, order=True)
class DepositPlace:
    """A deposit as people name it: the key of its account and Bling's id. '' and 0 stand in for what was wrong."""

    account: str
    deposit: int

    @property
    def is_whole(self) -> bool:
        return bool(self.account and self.deposit)


@dataclass(frozen=True, slots=True)
class Limits:
    """None: the rule has no such limit (for an exception: what the target's own rule says stays)."""

    reserve: Decimal | None = None
    percent: Decimal | None = None
    max: Decimal | None = None
    stop_at: Decimal | None = None


@dataclass(frozen=True, slots=True)
class TargetDraft:
    place: DepositPlace
    limits: Limits


@dataclass(frozen=True, slots=True)
class OverrideDraft:
    """An exception for one SKU, on one target or (None) on all of them."""

    sku: str
    target: DepositPlace | None
    limits: Limits
    is_ignored: bool


@dataclass(frozen=True, slots=True)
class GroupDraft:
    key: str
    name: str
    mode: str
    balance: str
    target_movements: str
    sources: tuple[DepositPlace, ...]
    targets: tuple[TargetDraft, ...]
    write_back: tuple[DepositPlace, ...]
    seed: DepositPlace | None
    guard_min_skus: int
    guard_percent: Decimal
    overrides: tuple[OverrideDraft, ...]
    is_active: bool

    @property
    def places(self) -> list[DepositPlace]:
        return [*self.sources, *(target.place for target in self.targets)]


def read_group(group: Place, accounts: Collection[str]) -> GroupDraft:
    """The group at this place of a document; `accounts` are the keys it may name. Faults go to the place's list."""
    group.check_keys(
        required=("key", "name", "mode", "balance", "active", "targets"),
        optional=("sources", "write_back", "seed", "target_movements", "guard", "overrides"),
    )
    mode = group["mode"].choice(SUM, MIRROR)
    sources = [_read_place(item, accounts) for item in group["sources"].items()]
    targets = [_read_target(item, accounts) for item in group["targets"].items()]
    guard = group["guard"]
    if not guard.is_absent:
        guard.check_keys(required=(), optional=("min_skus", "percent"))
    percent = guard["percent"].decimal(high=WHOLE)
    seed = group["seed"]
    draft = GroupDraft(
        key=group["key"].pattern(KEY, KEY_EXPLAINED),
        name=group["name"].text(80),
        mode=mode,
        balance=group["balance"].choice(PHYSICAL, VIRTUAL),
        target_movements=group["target_movements"].choice(WRITE_BACK, OVERWRITE) or WRITE_BACK,
        sources=tuple(sources),
        targets=tuple(targets),
        write_back=tuple(_read_place(item, accounts) for item in group["write_back"].items()),
        seed=None if seed.is_absent else _read_place(seed, accounts),
        guard_min_skus=(
            DEFAULT_GUARD_SKUS if guard["min_skus"].is_absent else guard["min_skus"].integer(0, MAX_GUARD_SKUS)
        ),
        guard_percent=DEFAULT_GUARD_PERCENT if percent is None else percent,
        overrides=tuple(read_override(item, accounts) for item in group["overrides"].items()),
        is_active=group["active"].flag(),
    )
    _check_roles(group, draft)
    _check_mode(group, draft)
    _check_overrides(group, draft)
    return draft


def check_together(groups: Sequence[tuple[str, GroupDraft]], existing: Sequence[GroupDraft] = ()) -> list[Fault]:
    """What is wrong between groups: a deposit is the target of one group at most, and then never a source of another.

    Each group comes with its path; those that exist already get no faults of their own.
    """
    faults: list[Fault] = []
    target_of: dict[DepositPlace, str] = {}
    source_of: dict[DepositPlace, str] = {}
    for path, draft in [*((None, draft) for draft in existing), *groups]:
        targets = [target.place for target in draft.targets]
        if path is not None:
            for position, place in enumerate(targets):
                if place.is_whole and (taken := _taken(place, target_of, source_of)):
                    faults.append(Fault(_join(path, f"targets[{position}]"), taken))
            for position, place in enumerate(draft.sources):
                if place.is_whole and (taken := _taken(place, target_of, {})):
                    faults.append(Fault(_join(path, f"sources[{position}]"), taken))
        target_of.update(dict.fromkeys(targets, draft.name))
        source_of.update(dict.fromkeys(draft.sources, draft.name))
    return faults


def _taken(place: DepositPlace, target_of: Mapping[DepositPlace, str], source_of: Mapping[DepositPlace, str]) -> str:
    if place in target_of:
        return f"este depósito já é compartilhado na regra “{target_of[place]}”"
    return f"este depósito já é principal na regra “{source_of[place]}”" if place in source_of else ""


def _join(path: str, rest: str) -> str:
    return f"{path}.{rest}" if path else rest


def _read_place(item: Place, accounts: Collection[str]) -> DepositPlace:
    item.check_keys(required=("account", "deposit"))
    return _place_of(item, accounts)


def _place_of(item: Place, accounts: Collection[str]) -> DepositPlace:
    account = item["account"].text()
    if account and account not in accounts:
        item["account"].fault(f"conta desconhecida: “{account}”")
        account = ""
    return DepositPlace(account, item["deposit"].integer(1, MAX_ID))


def _read_target(item: Place, accounts: Collection[str]) -> TargetDraft:
    item.check_keys(required=("account", "deposit"), optional=("reserve", "percent", "max", "stop_at"))
    return TargetDraft(_place_of(item, accounts), _read_limits(item))


def _read_limits(item: Place) -> Limits:
    return Limits(
        reserve=item["reserve"].decimal(),
        percent=item["percent"].decimal(high=WHOLE),
        max=item["max"].decimal(),
        stop_at=item["stop_at"].decimal(),
    )


def read_override(item: Place, accounts: Collection[str]) -> OverrideDraft:
    """The exception at this place of a document. Faults go to the place's list."""
    item.check_keys(required=("sku",), optional=("target", "reserve", "percent", "max", "stop_at", "ignore"))
    target = item["target"]
    return OverrideDraft(
        sku=item["sku"].text(SKU_LENGTH),
        target=None if target.is_absent else _read_place(target, accounts),
        limits=_read_limits(item),
        is_ignored=item["ignore"].flag(),
    )


def _check_roles(group: Place, draft: GroupDraft) -> None:
    _check_repetitions(group["sources"], draft.sources, "este depósito já está entre os principais")
    placed = [target.place for target in draft.targets]
    _check_repetitions(group["targets"], placed, "este depósito já está entre os compartilhados")
    for item, place in zip(group["targets"].items(), placed, strict=False):
        if place.is_whole and place in draft.sources:
            item.fault("um depósito não pode ser principal e compartilhado ao mesmo tempo")


def _check_mode(group: Place, draft: GroupDraft) -> None:
    if isinstance(group["targets"].value, list | tuple) and not draft.targets:
        group["targets"].fault("escolha pelo menos um depósito compartilhado")
    if draft.mode == SUM:
        if not draft.sources:
            group["sources"].fault("escolha pelo menos um depósito principal")
        if draft.seed is not None:
            group["seed"].fault("só existe no modo espelho (“mirror”)")
        _check_repetitions(group["write_back"], draft.write_back, "este depósito já está nesta lista")
        for item, place in zip(group["write_back"].items(), draft.write_back, strict=False):
            # A source that could not be read may be the one that is meant.
            if place.is_whole and place not in draft.sources and all(source.is_whole for source in draft.sources):
                item.fault("este depósito não está entre os principais")
    elif draft.mode == MIRROR:
        if draft.sources:
            group["sources"].fault("o modo espelho (“mirror”) não tem depósitos principais")
        if draft.write_back:
            group["write_back"].fault("só existe no modo soma (“sum”)")
        if draft.seed is None:
            group["seed"].fault("obrigatório no modo espelho: o depósito de onde sai o saldo inicial")
        elif draft.seed.is_whole and draft.seed not in [target.place for target in draft.targets]:
            group["seed"].fault("este depósito não está entre os compartilhados")


def _check_overrides(group: Place, draft: GroupDraft) -> None:
    placed = {target.place for target in draft.targets}
    seen: set[tuple[str, DepositPlace | None]] = set()
    for item, override in zip(group["overrides"].items(), draft.overrides, strict=False):
        if override.target is not None and override.target.is_whole and override.target not in placed:
            item["target"].fault("este depósito não está entre os compartilhados")
        if override.sku and (override.sku, override.target) in seen:
            item.fault(f"já há uma exceção para o SKU “{override.sku}” neste depósito")
        seen.add((override.sku, override.target))


def _check_repetitions(items: Place, places: Iterable[DepositPlace], message: str) -> None:
    seen: set[DepositPlace] = set()
    for item, place in zip(items.items(), places, strict=False):
        if place.is_whole and place in seen:
            item.fault(message)
        seen.add(place)
