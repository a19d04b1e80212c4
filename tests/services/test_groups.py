"""Stock rules in the database: what is kept, what begins anew, how a wording is named."""

from __future__ import annotations

import threading
import time
from decimal import Decimal

import pytest

import db
from core.group_draft import GroupDraft
from models import Cell, GroupDeposit, SkuOverride, StockGroup, StockWrite
from services import group_pages, groups
from services.overrides import OverrideForm, save_override
from tests.factories import Shop, make_write

pytestmark = pytest.mark.usefixtures("database", "redis")


@pytest.fixture
def shop() -> Shop:
    return Shop()


def save(shop: Shop, **changes: object) -> groups.Saved:
    draft = groups.draft_of(shop.group)
    values = {name: getattr(draft, name) for name in GroupDraft.__slots__} | changes
    deposits = groups.deposits_of(shop.organization)
    return groups.save_group(shop.organization, GroupDraft(**values), deposits, StockGroup.get_by_id(shop.group.id))


def test_saving_what_is_there_changes_nothing(shop: Shop) -> None:
    before = list(GroupDeposit.select().dicts())

    saved = save(shop)

    assert (saved.is_new, saved.is_changed, saved.decides_anew) == (False, False, False)
    assert list(GroupDeposit.select().dicts()) == before


def test_a_new_name_decides_nothing_anew(shop: Shop) -> None:
    saved = save(shop, name="Outro nome", guard_percent=Decimal(50))

    assert (saved.is_changed, saved.decides_anew) == (True, False)


def test_books_of_deposits_that_stay_are_kept(shop: Shop) -> None:
    pool = shop.pool(shop.skus[0])
    cell = shop.cell(pool, "matriz", "Geral", 10)

    saved = save(shop, targets=groups.draft_of(shop.group).targets[:1])

    assert saved.decides_anew
    assert Cell.get_by_id(cell.id).accounted == 10


def test_a_deposit_that_changes_its_role_begins_anew(shop: Shop) -> None:
    pool = shop.pool(shop.skus[0])
    cell = shop.cell(pool, "matriz", "Loja virtual", 10)
    draft = groups.draft_of(shop.group)
    moved = draft.targets[0].place

    save(shop, sources=(*draft.sources, moved), targets=draft.targets[1:])

    assert Cell.get_by_id(cell.id).left_at is not None
    roles = {(m.deposit.account.key, m.deposit.name): m.role for m in GroupDeposit.select()}
    assert roles["matriz", "Loja virtual"] == "source"


def test_an_active_rule_keeps_its_mode(shop: Shop) -> None:
    with pytest.raises(groups.GroupRefused, match="Desative a regra"):
        save(shop, mode="mirror")


def test_exceptions_are_added_changed_and_removed(shop: Shop) -> None:
    rows = [("A", None, Decimal(1)), ("B", shop.deposits["filial", "Loja virtual"], Decimal(2))]
    for sku, deposit, most in rows:
        SkuOverride.create(organization=shop.organization, group=shop.group, sku=sku, deposit=deposit, max=most)
    first, second = groups.draft_of(shop.group).overrides
    kept = SkuOverride.get(SkuOverride.sku == "B").id

    changed = type(second)(second.sku, second.target, second.limits, True)
    save(shop, overrides=(changed, type(first)("C", None, first.limits, False)))

    assert [(row.sku, row.max, row.is_ignored) for row in SkuOverride.select().order_by(SkuOverride.sku)] == [
        ("B", 2, True),
        ("C", 1, False),
    ]
    assert SkuOverride.get(SkuOverride.sku == "B").id == kept


def test_an_exception_made_while_somebody_saves_the_form_is_kept(shop: Shop) -> None:
    answers: list[object] = []

    def save_the_form() -> None:
        with db.connection():
            form = group_pages.form_for(StockGroup.get_by_id(shop.group.id))
            answers.append(group_pages.save_form(shop.organization, form, shop.owner, shop.group))

    saving = threading.Thread(target=save_the_form)
    with db.database.atomic():
        typed = OverrideForm({"sku": shop.skus[0], "max": "4"})
        assert save_override(shop.group, typed, shop.owner) is not None
        saving.start()
        time.sleep(0.5)
    saving.join()

    assert answers
    assert answers[0] is not None
    assert SkuOverride.get().max == 4


def test_a_wording_has_one_name_whatever_order_its_exceptions_have(shop: Shop) -> None:
    for sku, deposit in (("B", None), ("A", shop.deposits["filial", "Loja virtual"]), ("A", None)):
        SkuOverride.create(organization=shop.organization, group=shop.group, sku=sku, deposit=deposit, is_ignored=True)
    draft = groups.draft_of(shop.group)
    values = {name: getattr(draft, name) for name in GroupDraft.__slots__}
    same = GroupDraft(**{**values, "overrides": draft.overrides[::-1], "name": "Outro", "is_active": False})
    other = GroupDraft(**{**values, "overrides": draft.overrides[1:]})

    assert groups.fingerprint(draft) == groups.fingerprint(same)
    assert groups.fingerprint(draft) != groups.fingerprint(other)


def test_deactivating_takes_back_only_what_was_not_sent(shop: Shop) -> None:
    pool = shop.pool(shop.skus[0])
    writes = [
        make_write(shop.cell(pool, "filial", "Loja virtual"), 3, state="planned"),
        make_write(shop.cell(pool, "matriz", "Loja virtual"), 3, state="sending"),
    ]

    groups.deactivate_group(shop.group)

    assert not StockGroup.get().is_active
    assert [StockWrite.get_by_id(write.id).state for write in writes] == ["cancelled", "sending"]


def test_only_a_rule_that_is_off_can_be_deleted(shop: Shop) -> None:
    shop.pool(shop.skus[0])
    with pytest.raises(groups.GroupRefused, match="está ativa"):
        groups.delete_group(shop.group)

    groups.deactivate_group(shop.group)
    groups.delete_group(shop.group)

    assert not StockGroup.select().exists()
    assert not GroupDeposit.select().exists()
