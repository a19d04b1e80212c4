"""Bling's webhooks as values: its published examples, and anything else that may be posted to us."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.events import (
    KEPT_KINDS,
    PRODUCT_KINDS,
    STOCK_KINDS,
    VIRTUAL_KIND,
    Envelope,
    InvalidEvent,
    StockPart,
    VirtualPart,
    parse_event,
    product_part,
    sortable_id,
    told_span,
    virtual_part,
)

D = Decimal
EXAMPLES: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "fixtures" / "bling" / "webhook-examples.json").read_text("utf-8")
)


def body(kind: str = "stock.created", **values: Any) -> str:
    """The published example of this kind with other values; `data__x__y` reaches inside, ... removes."""
    event = json.loads(json.dumps(EXAMPLES[kind]))
    for path, value in values.items():
        *parents, name = path.split("__")
        inner = event
        for parent in parents:
            inner = inner[parent]
        if value is ...:
            del inner[name]
        else:
            inner[name] = value
    return json.dumps(event)


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_it_reads_every_published_example(kind: str) -> None:
    raw = json.dumps(EXAMPLES[kind])

    event = parse_event(raw.encode())

    assert event == parse_event(raw)
    assert event.kind == kind
    assert event.event_id == EXAMPLES[kind]["eventId"]
    assert event.company_id == "d4475854366a36c86a37e792f9634a51"
    assert event.happened_at == datetime(2025, 1, 10, 12, 18, 46, tzinfo=UTC)
    assert kind in STOCK_KINDS | PRODUCT_KINDS | KEPT_KINDS | {VIRTUAL_KIND}
    assert (event.stock is not None) == (kind in STOCK_KINDS)
    assert (event.product_id is not None) == (kind in STOCK_KINDS | PRODUCT_KINDS | {VIRTUAL_KIND})


def test_the_published_examples_are_of_every_kind_we_know() -> None:
    assert set(EXAMPLES) == STOCK_KINDS | PRODUCT_KINDS | KEPT_KINDS | {VIRTUAL_KIND}


def test_it_reads_a_movement_and_the_balances_after_it() -> None:
    assert parse_event(body()).stock == StockPart(12345678, D(25), D("1250.75"), D("1250.75"))


@pytest.mark.parametrize(
    ("kind", "operation", "quantity"),
    [
        ("stock.created", "E", D(25)),
        ("stock.created", "S", D(-25)),
        ("stock.created", "B", None),
        ("stock.created", ["E"], None),
        ("stock.created", None, None),
        ("stock.updated", "E", None),
        ("stock.updated", "S", None),
    ],
)
def test_only_a_new_entry_or_exit_names_what_was_before(kind: str, operation: Any, quantity: Decimal | None) -> None:
    stock = parse_event(body(kind, data__operacao=operation, data__quantidade=25)).stock

    assert stock is not None
    assert stock.quantity == quantity


def test_a_deleted_movement_tells_only_the_balance() -> None:
    stock = parse_event(json.dumps(EXAMPLES["stock.deleted"])).stock

    assert stock is not None
    assert (stock.quantity, stock.physical_after) == (None, D("1250.75"))


def test_numbers_are_exact() -> None:
    raw = body(data__deposito__saldoFisico="?").replace('"?"', "0.30000000000000004")

    stock = parse_event(raw).stock

    assert stock is not None
    assert stock.physical_after == D("0.3")


@pytest.mark.parametrize("value", [..., None, "", "muito", True, [], {}, "NaN", "1_000", "-Infinity"])
def test_a_stock_event_without_a_balance_is_refused(value: Any) -> None:
    with pytest.raises(InvalidEvent) as refused:
        parse_event(body(data__deposito__saldoFisico=value))

    assert refused.value.reason == "no_balance"


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e99999999999999999999", "9" * 5000]
)
def test_a_number_beyond_all_measure_is_no_balance(number: str) -> None:
    raw = body(data__deposito__saldoFisico="?").replace('"?"', number)

    with pytest.raises(InvalidEvent) as refused:
        parse_event(raw)

    assert refused.value.reason in ("no_balance", "not_json")


def test_a_virtual_balance_or_a_quantity_that_cannot_be_read_is_unknown_not_zero() -> None:
    stock = parse_event(body(data__deposito__saldoVirtual=..., data__quantidade="muito")).stock

    assert stock == StockPart(12345678, None, D("1250.75"), None)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"data__produto": ...}, "no_product"),
        ({"data__produto": 7}, "no_product"),
        ({"data__produto__id": "7a"}, "no_product"),
        ({"data__produto__id": True}, "no_product"),
        ({"data__produto__id": 0}, "no_product"),
        ({"data__produto__id": 2**63}, "no_product"),
        ({"data__produto__id": "9" * 19}, "no_product"),
        ({"data__produto__id": "9" * 5000}, "no_product"),
        ({"data__produto__id": "1_0"}, "no_product"),
        ({"data__produto__id": 7.5}, "no_product"),
        ({"data__deposito": ...}, "no_deposit"),
        ({"data__deposito__id": None}, "no_deposit"),
        ({"data": None}, "no_product"),
        ({"data": [1]}, "no_product"),
    ],
)
def test_a_stock_event_must_say_whose_stock(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        parse_event(body(**values))

    assert refused.value.reason == reason


def test_an_id_may_come_as_text() -> None:
    assert parse_event(body(data__produto__id="77")).product_id == 77


@pytest.mark.parametrize("kind", sorted(PRODUCT_KINDS))
@pytest.mark.parametrize("data", [None, [], {}, {"id": None}, {"id": -1}])
def test_a_product_event_must_name_its_product(kind: str, data: Any) -> None:
    with pytest.raises(InvalidEvent) as refused:
        parse_event(body(kind, data=data))
    with pytest.raises(InvalidEvent):
        product_part(body(kind, data=data), kind)

    assert refused.value.reason == "no_product"


@pytest.mark.parametrize("name", ["eventId", "event", "companyId"])
@pytest.mark.parametrize("value", [..., None, "", "  ", 7, ["x"]])
def test_without_its_envelope_nothing_is_an_event(name: str, value: Any) -> None:
    with pytest.raises(InvalidEvent) as refused:
        parse_event(body(**{name: value}))

    assert refused.value.reason == "no_envelope"


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"[" * 100_000])
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidEvent) as refused:
        parse_event(raw)

    assert refused.value.reason == "not_json"


@pytest.mark.parametrize("raw", ["[]", "7", "null", '"evento"', "{}"])
def test_json_of_another_shape_is_refused(raw: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        parse_event(raw)

    assert refused.value.reason == "no_envelope"


def test_a_kind_that_nobody_knows_is_kept_under_its_own_name() -> None:
    event = parse_event(body(event="deposit.renamed", data=[1, 2]))

    assert (event.kind, event.product_id, event.stock) == ("deposit.renamed", None, None)


def test_a_kind_without_an_action_is_refused() -> None:
    with pytest.raises(InvalidEvent):
        parse_event(body(event="stock"))


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        ("2025-01-10T12:18:46Z", datetime(2025, 1, 10, 12, 18, 46, tzinfo=UTC)),
        ("2025-01-10T09:18:46-03:00", datetime(2025, 1, 10, 12, 18, 46, tzinfo=UTC)),
        ("2025-01-10 12:18:46", datetime(2025, 1, 10, 12, 18, 46, tzinfo=UTC)),
        ("ontem", None),
        ("", None),
        (None, None),
        (1736511526, None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-12:00", None),
        ("\ud800", None),
    ],
)
def test_a_date_is_a_moment_in_utc_or_unknown(date: Any, moment: datetime | None) -> None:
    assert parse_event(body(date=date)).happened_at == moment


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b", "\udfff"])
def test_what_no_database_can_store_is_replaced(text: str) -> None:
    event = parse_event(body("product.created", eventId=text, companyId=text, event="product.created"))
    product = product_part(body("product.created", data__codigo=text, data__nome=text), "product.created")

    for stored in (event.event_id, event.company_id, product.sku, product.name):
        assert stored is not None
        assert "\x00" not in stored
        assert stored.encode("utf-8")


class TestAVirtualEvent:
    def test_tells_both_balances_of_each_deposit(self) -> None:
        part = virtual_part(body(VIRTUAL_KIND))

        assert part == VirtualPart(False, {1: (D("75.25"), D(73)), 2: (D("75.5"), D("75.5"))})

    def test_leaves_out_what_it_does_not_tell_completely(self) -> None:
        listed = [{"id": 1, "saldoFisico": 5}, {"id": 2, "saldoVirtual": 5}, {"saldoFisico": 1, "saldoVirtual": 1}, 7]

        assert virtual_part(body(VIRTUAL_KIND, data__depositos=listed)).deposits == {}

    @pytest.mark.parametrize("values", [{"data__depositos": ...}, {"data__depositos": "?"}, {"data": None}])
    def test_without_balances_they_must_be_read(self, values: dict[str, Any]) -> None:
        assert virtual_part(body(VIRTUAL_KIND, **values)) == VirtualPart(True, {})

    def test_without_balances_of_a_simple_product_there_is_nothing_to_tell(self) -> None:
        part = virtual_part(body(VIRTUAL_KIND, data__depositos=[], data__vinculoComplexo=False))

        assert part == VirtualPart(False, {})

    def test_must_name_its_product(self) -> None:
        with pytest.raises(InvalidEvent):
            parse_event(body(VIRTUAL_KIND, data__produto=None))


class TestAProductEvent:
    def test_says_what_it_says(self) -> None:
        part = product_part(body("product.updated"), "product.updated")

        assert (part.product_id, part.sku, part.name) == (12345678, "COD-4587", "Copo do Bling")
        assert (part.format, part.situation, part.parent_id, part.is_deleted) == ("S", "A", 12345678, False)

    def test_of_a_deleted_product_says_nothing_but_that(self) -> None:
        part = product_part(json.dumps(EXAMPLES["product.deleted"]), "product.deleted")

        assert (part.product_id, part.is_deleted, part.sku, part.name) == (12345678, True, None, None)

    @pytest.mark.parametrize(
        ("sku", "read"), [(" 007 ", "007"), ("", ""), (7, "7"), (None, None), (True, None), ([], None)]
    )
    def test_keeps_the_sku_as_it_is_but_for_the_spaces_around_it(self, sku: Any, read: str | None) -> None:
        assert product_part(body("product.updated", data__codigo=sku), "product.updated").sku == read


wild_numbers = st.one_of(
    st.integers(),
    st.integers(min_value=10**30, max_value=10**60),
    st.floats(),
    st.sampled_from([10**400, float("nan"), float("inf"), -0.0]),
)
leaves = st.one_of(st.none(), st.booleans(), wild_numbers, st.text(st.characters(), max_size=8))
names = st.sampled_from(["id", "data", "produto", "deposito", "depositos", "saldoFisico", "saldoVirtual", "quantidade"])
wild_json = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def spoilt(draw: st.DrawFn) -> str:
    """A published example in which something, at any depth, is something else."""
    event = json.loads(json.dumps(draw(st.sampled_from(list(EXAMPLES.values())))))
    for _ in range(draw(st.integers(1, 3))):
        inner: Any = event
        while True:
            name = (
                draw(st.sampled_from(list(inner)))
                if isinstance(inner, dict)
                else draw(st.sampled_from(range(len(inner))))
            )
            if isinstance(inner[name], dict | list) and inner[name] and draw(st.booleans()):
                inner = inner[name]
                continue
            inner[name] = draw(wild_json)
            break
    return json.dumps(event)


def parse_everything(raw: bytes | str) -> None:
    """Whatever this is, it is an event or it is refused."""
    for parse in (parse_event, virtual_part, lambda text: product_part(text, "product.updated")):
        try:
            parsed = parse(raw)
        except InvalidEvent:
            continue
        assert is_storable(parsed)


def is_storable(parsed: object) -> bool:
    """Whether a database takes every text and number in it."""
    if isinstance(parsed, Envelope):
        texts = [parsed.event_id, parsed.kind, parsed.company_id]
        assert parsed.happened_at is None or parsed.happened_at.tzinfo is UTC
        assert parsed.product_id is None or 0 < parsed.product_id < 2**63
        if parsed.stock is not None:
            assert parsed.stock.physical_after.is_finite()
        return all("\x00" not in text and text.encode("utf-8") is not None for text in texts)
    return True


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_refused(raw: bytes) -> None:
    parse_everything(raw)


@given(wild_json.map(json.dumps))
def test_any_json_is_an_event_or_refused(raw: str) -> None:
    parse_everything(raw)
    parse_everything(raw.encode("utf-8", errors="surrogatepass"))


@given(spoilt())
def test_any_spoilt_event_is_an_event_or_refused(raw: str) -> None:
    parse_everything(raw)
    parse_everything(raw.encode("utf-8", errors="surrogatepass"))


@given(st.sampled_from("[{"), st.integers(1, 3000))
def test_any_depth_is_an_event_or_refused(bracket: str, depth: int) -> None:
    nested = "[" * depth + "]" * depth if bracket == "[" else '{"data":' * depth + "1" + "}" * depth
    parse_everything(nested)
    parse_everything(body(data__operacao="?").replace('"?"', nested))


@given(spoilt())
def test_what_was_read_once_is_read_again_from_what_was_stored(raw: str) -> None:
    posted = raw.encode("utf-8", errors="surrogatepass")
    try:
        event = parse_event(posted)
    except InvalidEvent:
        return

    stored = posted.decode("utf-8", errors="replace").replace("\x00", "\ufffd")
    assert parse_event(stored) == event


@pytest.mark.parametrize(
    ("event_id", "sortable"),
    [
        ("01945027-150e-72b4-e7cf-4943a042cd01", "01945027150e72b4e7cf4943a042cd01"),
        ("01945027150E72B4E7CF4943A042CD01", "01945027150e72b4e7cf4943a042cd01"),
        ("01945027-150e-42b4-a7cf-4943a042cd01", None),
        ("01945027-150e-72b4-e7cf-4943a042cd0", None),
        ("evento-7", None),
        ("", None),
        (None, None),
    ],
)
def test_only_ids_that_sort_by_time_are_compared(event_id: str | None, sortable: str | None) -> None:
    assert sortable_id(event_id) == sortable


class TestWhenAnEventHappened:
    """Between the two moments that its id or its date leave open."""

    @given(st.integers(0, 2**42), st.sampled_from(["8", "0", "f"]))
    def test_its_id_tells_the_millisecond_whatever_its_date_says(self, ms: int, variant: str) -> None:
        digits = f"{ms:012x}7{'0' * 3}{variant}{'0' * 15}"
        start, end = told_span(digits, datetime(2026, 3, 2, 12, tzinfo=UTC))

        assert start == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
        assert end == start + timedelta(milliseconds=1)

    @given(st.datetimes(timezones=st.just(UTC)).filter(lambda moment: moment.year < 9999))
    def test_its_date_tells_the_second_where_the_id_tells_nothing(self, moment: datetime) -> None:
        for nameless in (None, "evt-1"):
            start, end = told_span(nameless, moment)

            assert start is not None
            assert end == start + timedelta(seconds=1)
            assert start <= moment < end
            assert start.microsecond == 0

    def test_nothing_tells_it_where_neither_can_be_read(self) -> None:
        assert told_span(None, None) == (None, None)
        assert told_span(f"{'f' * 12}7{'0' * 19}", None) == (None, None)
        assert told_span(None, datetime.max.replace(tzinfo=UTC)) == (None, None)
