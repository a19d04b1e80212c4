"""What waits in review, on both databases: found by its index, of one organization, and only while it matters."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from playhouse.test_utils import assert_query_count

from clock import utcnow
from core.readings import Reading
from db import database
from models import Cell, StockGroup, StockWrite
from services import review
from services.doctor import examine_cause
from services.doctor_causes import Filters
from services.problems import problems_of
from tests.factories import Shop, make_item, make_run, make_undecided, make_write


@pytest.fixture
def shop(database: object) -> Shop:
    return Shop()


def doubt(shop: Shop, sku: str = "CANECA-01", quantity: int = 3) -> StockWrite:
    pool = shop.pool(sku, available=Decimal(9))
    shop.cell(pool, "matriz", "Geral", 9)
    return make_undecided(shop.cell(pool, "filial", "Loja virtual", 9), quantity, 10)


def codes(shop: Shop) -> list[str]:
    return [problem.code for problem in problems_of(shop.organization, utcnow())]


def test_what_waits_is_counted_listed_and_named(shop: Shop) -> None:
    other = Shop()
    doubt(other)
    first, second = doubt(shop, "CAM-AZ-P"), doubt(shop, "CANECA-01", -2)
    make_undecided(Cell.get_by_id(second.cell_id), 1, 30)
    make_write(Cell.get_by_id(second.cell_id), 1, evidence="chain")

    page = review.list_waiting(shop.organization)

    assert (page.total, page.following) == (3, None)
    assert [one.sku for one in page.reviews] == ["CANECA-01", "CANECA-01", "CAM-AZ-P"]
    assert page.reviews[-1].write == first
    assert review.count_waiting(shop.organization) == 3
    assert review.count_waiting(shop.organization, "CANECA-01") == 2
    assert review.skus_waiting(shop.organization) == ["CAM-AZ-P", "CANECA-01"]
    assert [one.sku for one in review.list_waiting(shop.organization, "CAM-AZ-P").reviews] == ["CAM-AZ-P"]


def test_a_page_of_many_costs_as_much_as_a_page_of_one(shop: Shop) -> None:
    for sku in shop.skus:
        doubt(shop, sku)

    with assert_query_count(2):
        page = review.list_waiting(shop.organization)
        for one in page.reviews:
            assert (one.place, one.role, one.is_undo, one.standing) == (
                "Filial · Loja virtual",
                "target",
                False,
                "waiting",
            )
            assert one.name


def test_both_readings_with_what_they_mean_for_pool_and_targets(shop: Shop) -> None:
    write = doubt(shop)
    found = review.find_review(shop.organization, write.id)
    assert found is not None

    dossier = review.dossier_of(found)

    assert (
        found.taken
        == dossier.applied.reading
        == Reading(True, True, Decimal(9), Decimal(3), Decimal(-2), Decimal(10), Decimal(0))
    )
    assert (dossier.applied.available, dossier.not_applied.available) == (9, 12)
    assert [(one.place, one.now, one.then) for one in dossier.applied.offers] == [("Filial · Loja virtual", 9, 9)]
    assert [(one.place, one.now, one.then) for one in dossier.not_applied.offers] == [("Filial · Loja virtual", 9, 12)]


def test_it_is_asked_only_while_the_answer_matters(shop: Shop) -> None:
    write = doubt(shop)
    assert codes(shop) == ["unknown_write"]
    assert examine_cause(shop.organization, Filters(cause="unknown_write"), None).count == 1

    for change, undo in (
        (Cell.update(left_at=utcnow()), Cell.update(left_at=None)),
        (Cell.update(baseline_at=write.ended_at + timedelta(seconds=1)), Cell.update(baseline_at=write.planned_at)),
        (StockGroup.update(is_active=0), StockGroup.update(is_active=1)),
    ):
        change.execute()
        assert review.count_waiting(shop.organization) == 0
        assert codes(shop) == []
        assert examine_cause(shop.organization, Filters(cause="unknown_write"), None).count == 0
        undo.execute()
        assert review.count_waiting(shop.organization) == 1


def test_an_item_in_review_is_no_problem_once_it_was_decided(shop: Shop) -> None:
    write = doubt(shop)
    make_item(make_run(shop.organization, status="partial"), "CANECA-01", status="review", error="unknown_write")

    StockWrite.update(evidence="event").where(StockWrite.id == write.id).execute()

    assert problems_of(shop.organization, utcnow()) == ()


def test_the_few_rows_are_found_by_their_index(shop: Shop, database_kind: str) -> None:
    doubt(shop)
    query = StockWrite.select(StockWrite.id).where((StockWrite.organization == shop.organization.id) & review.UNDECIDED)
    words, values = query.sql()
    with database.atomic():
        if database_kind == "postgres":
            # A table of one row is always read whole.
            database.execute_sql("SET LOCAL enable_seqscan = off")
            database.execute_sql("SET LOCAL enable_bitmapscan = off")
        explain = "EXPLAIN QUERY PLAN" if database_kind == "sqlite" else "EXPLAIN"
        plan = " ".join(str(row) for row in database.execute_sql(f"{explain} {words}", values))

    assert "stock_write_undecided" in plan
