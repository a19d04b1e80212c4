"""What this program asks of one Bling account: one method per question, answered in core.values.

The rule it guards: a product that is missing from an answer about balances is unknown until all three filters of
`filtroSaldoEstoque` were asked, because Bling's default leaves sold-out products out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from bling.breaker import Breaker, NoBreaker
from bling.errors import AuthExpired, UnexpectedAnswer
from bling.pacing import BLING_TIME_ZONE, Errand, Pacer
from bling.payloads import (
    encode_movement,
    parse_balances,
    parse_company,
    parse_created_id,
    parse_deposits,
    parse_products,
)
from bling.transport import Caller, Transport
from core.values import Company, Deposit, MovementOrder, Product, ProductBalance, ProductSituation

T = TypeVar("T")

PAGE_SIZE = 100
MAX_IDS = 100
# Servers and proxies cut request lines at 4 KB and up; with path and filter this stays below.
MAX_IDS_CHARS = 3600
_IDS = "idsProdutos[]"
_IDS_ENCODED_CHARS = len("idsProdutos%5B%5D=&")

_FIRST_PAGE = (("pagina", 1), ("limite", PAGE_SIZE))
# Values of `criterio`. A listing of all knows the situations active and inactive only (so says the description):
# which products are deleted, only the listing of the deleted tells.
_DELETED, _ALL = 4, 5

POSITIVE, ZERO, NEGATIVE = 1, 0, 2
_FILTERS = (POSITIVE, ZERO, NEGATIVE)
# Bling refuses date filters of more than a year; the day is for the difference of the clocks.
_MAX_LOOK_BACK = timedelta(days=364)


class AccessTokens(Protocol):
    """What the client needs of a bling.tokens.TokenSource."""

    def access_token(self) -> str: ...

    def token_refused(self, access_token: str) -> str: ...


@dataclass(frozen=True, slots=True)
class BalancesResult:
    """`absent` ids were in no answer, twice: their balance is unknown.

    `filters` says under which filter each product was found; as the next call's hints they save attempts.
    """

    found: dict[int, ProductBalance]
    absent: set[int]
    filters: dict[int, int]


class BlingClient:
    """One account. Every method may raise the errors of bling/errors.py."""

    def __init__(
        self,
        transport: Transport,
        tokens: AccessTokens,
        pacer: Pacer,
        account_id: str,
        *,
        utcnow: Callable[[], datetime],
        errand: Errand = Errand.LIVE,
        breaker: Breaker | None = None,
    ) -> None:
        self._transport = transport
        self._tokens = tokens
        self._pacer = pacer
        self._account_id = account_id
        self._utcnow = utcnow
        self._errand = errand
        self._breaker = breaker or NoBreaker()

    def get_company(self) -> Company:
        return self._read("/empresas/me/dados-basicos", [], parse_company)

    def list_deposits(self) -> list[Deposit]:
        """All deposits, switched off ones included."""

        known: dict[int, Deposit] = {}
        for situation in (1, 0):
            for deposit in self._pages("/depositos", [("situacao", situation)], parse_deposits):
                known.setdefault(deposit.id, deposit)
        return list(known.values())

    def list_products(self, changed_since: datetime | None = None) -> Iterator[Product]:
        """All products (variations, inactive and deleted ones included, services not), each once.

        With `changed_since` only those changed since then; beyond the year that Bling allows, all.
        """
        query: list[tuple[str, str | int]] = [("tipo", "T")]
        if changed_since and self._utcnow() - changed_since < _MAX_LOOK_BACK:
            local = changed_since.astimezone(BLING_TIME_ZONE)
            query.append(("dataAlteracaoInicial", local.strftime("%Y-%m-%d %H:%M:%S")))
        deleted = {product.id: _as_deleted(product) for product in self._product_pages(_DELETED, query)}
        for product in self._product_pages(_ALL, query):
            yield deleted.pop(product.id, product)
        yield from deleted.values()

    def get_products(self, ids: Collection[int]) -> dict[int, Product]:
        """The products that Bling knows among `ids`; one that is missing does not exist or is a service."""
        found = self._find_products(_ALL, ids)
        is_clear = {id_ for id_, product in found.items() if product.situation is ProductSituation.ACTIVE}
        for product in self._find_products(_DELETED, set(ids) - is_clear).values():
            found[product.id] = _as_deleted(product)
        return found

    def get_balances(self, ids: Collection[int], hints: Mapping[int, int] | None = None) -> BalancesResult:
        """The balances of these products, in as few calls as possible.

        1. Each id is asked for under its hinted filter first (by default the positive one), then under the others.
        2. An id found under none may just have moved from one filter to another: all three are asked once more.
        3. Only then it is absent. A call that has room takes along ids that need the same filter later.
        """
        result = BalancesResult({}, set(), {})
        missing = set(ids)
        for _ in range(2):
            self._ask_all_filters(missing, hints or {}, result)
            missing -= result.found.keys()
        result.absent.update(missing)
        return result

    def create_movement(self, order: MovementOrder, before_leaving: Callable[[], None] | None = None) -> int:
        """Create one stock movement and return Bling's id of it.

        Leaves once. Only a 401, which certainly applied nothing, is followed by one more try with a new token.
        Of this package's errors, only WriteOutcomeUnknown leaves a doubt. `before_leaving` is called right before
        each try leaves, after all waiting; what it raises stops the request.
        """
        body = encode_movement(order)
        return self._authorized(
            lambda caller: self._transport.write(caller, "/estoques", body, parse_created_id, before_leaving)
        )

    def _ask_all_filters(self, ids: Iterable[int], hints: Mapping[int, int], result: BalancesResult) -> None:
        to_ask = {id_: _order_of_filters(hints.get(id_)) for id_ in sorted(ids)}
        while to_ask:
            # The filter that most ids want next; ties go to the usual order.
            wanted = Counter(filters[0] for filters in to_ask.values())
            chosen = max(_FILTERS, key=lambda filter_: wanted[filter_])
            first = [id_ for id_, filters in to_ask.items() if filters[0] == chosen]
            later = [id_ for id_, filters in to_ask.items() if filters[0] != chosen and chosen in filters]
            batch = _take_batch([*first, *later])
            query = [("filtroSaldoEstoque", chosen), *((_IDS, id_) for id_ in batch)]
            for balance in self._read("/estoques/saldos", query, parse_balances):
                if balance.product_id in batch:
                    result.found[balance.product_id] = balance
                    result.filters[balance.product_id] = chosen
            for id_ in batch:
                to_ask[id_].remove(chosen)
                if id_ in result.found or not to_ask[id_]:
                    del to_ask[id_]

    def _product_pages(self, criterion: int, query: list[tuple[str, str | int]]) -> Iterator[Product]:
        return self._pages("/produtos", [("criterio", criterion), *query], parse_products)

    def _find_products(self, criterion: int, ids: Collection[int]) -> dict[int, Product]:
        found: dict[int, Product] = {}
        waiting = sorted(set(ids))
        while waiting:
            batch = _take_batch(waiting)
            waiting = waiting[len(batch) :]
            query: list[tuple[str, str | int]] = [("criterio", criterion), ("tipo", "T"), *_FIRST_PAGE]
            page = self._read("/produtos", [*query, *((_IDS, id_) for id_ in batch)], parse_products)
            found.update((id_, product) for id_, product in page.items() if product and id_ in batch)
        return found

    def _pages(
        self, path: str, query: list[tuple[str, str | int]], parse: Callable[[object], Mapping[int, T | None]]
    ) -> Iterator[T]:
        """The entries of all pages, each once; Bling names no total, so a page that is not full is the last."""
        seen: set[int] = set()
        number = 1
        while True:
            page = self._read(path, [*query, ("pagina", number), ("limite", PAGE_SIZE)], parse)
            fresh = page.keys() - seen
            yield from (entry for id_, entry in page.items() if entry is not None and id_ in fresh)
            if len(page) < PAGE_SIZE:
                return
            if not fresh:
                raise UnexpectedAnswer(f"GET {path}", f"page {number} repeats what came before")
            seen |= fresh
            number += 1

    def _read(self, path: str, query: Iterable[tuple[str, str | int]], parse: Callable[[object], T]) -> T:
        query = list(query)
        return self._authorized(lambda caller: self._transport.read(caller, path, query, parse))

    def _authorized(self, call: Callable[[Caller], T]) -> T:
        token = self._tokens.access_token()
        try:
            return call(Caller(self._account_id, token, self._pacer, self._errand, self._breaker))
        except AuthExpired:
            token = self._tokens.token_refused(token)
        return call(Caller(self._account_id, token, self._pacer, self._errand, self._breaker))


def _as_deleted(product: Product) -> Product:
    """What the listing of deleted products says of one; that it is active there contradicts it, and then it lives."""
    if product.situation is ProductSituation.ACTIVE:
        return product
    return replace(product, situation=ProductSituation.DELETED)


def _order_of_filters(hint: int | None) -> list[int]:
    return sorted(_FILTERS, key=lambda filter_: filter_ != hint)


def _take_batch(ids: list[int]) -> list[int]:
    """As many of the first ids as one call takes."""
    batch: list[int] = []
    chars = 0
    for id_ in ids[:MAX_IDS]:
        chars += _IDS_ENCODED_CHARS + len(str(id_))
        if batch and chars > MAX_IDS_CHARS:
            break
        batch.append(id_)
    return batch
