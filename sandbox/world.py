"""The state of the sandbox in memory, its lock, clock and identifiers, and the file that outlives a crash.

Every reader holds `lock`; every writer works inside `change()`, which commits before it lets go.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, TypeVar

from .errors import SandboxError
from .records import (
    Account,
    App,
    Cell,
    Code,
    Delivery,
    Deposit,
    Grant,
    Movement,
    Order,
    Product,
    Record,
)
from .settings import Settings
from .store import Store

#: The first identifier of each kind; products and deposits of Bling have eleven digits.
FIRST_IDS = {
    "product": 16_201_000_000,
    "deposit": 14_886_000_000,
    "order": 22_400_000_000,
    "movement": 31_000_000_000,
    "grant": 1,
    "delivery": 1,
}
# Brasília has had no daylight saving time since 2019.
BRASILIA_S = -3 * 3600
KEPT_DELIVERIES = 20_000
KEPT_MOVEMENTS = 50_000

R = TypeVar("R", bound=Record)


@dataclass
class Counter(Record):
    """The last identifier given out of one kind, so that none is used again after a restart."""

    KIND: ClassVar[str] = "counter"
    key: str
    value: int


class World:
    def __init__(
        self,
        path: str | Path | None = None,
        clock: Callable[[], float] = time.time,
        seed: int | None = None,
        read_only: bool = False,
    ) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.random = random.Random(seed)  # noqa: S311 - a simulation repeats itself
        self.settings = Settings()
        self.apps: dict[str, App] = {}
        self.accounts: dict[str, Account] = {}
        self.deposits: dict[int, Deposit] = {}
        self.products: dict[int, Product] = {}
        # The compositions among them, by account: every movement asks which ones it changes.
        self.compositions: dict[str, set[int]] = {}
        self.cells: dict[tuple[int, int], Cell] = {}
        self.orders: dict[int, Order] = {}
        self.movements: dict[int, Movement] = {}
        self.codes: dict[str, Code] = {}
        self.grants: dict[int, Grant] = {}
        self.deliveries: dict[int, Delivery] = {}
        self.counters: dict[str, Counter] = {}
        self.after_change: list[Callable[[], None]] = []
        self._depth = 0
        self._changed: dict[tuple[str, str], Record] = {}
        self._removed: dict[tuple[str, str], None] = {}
        self._store = Store(path, read_only) if path is not None else None
        if self._store is not None:
            self._load(self._store)

    def now(self) -> float:
        return self.clock()

    @contextmanager
    def change(self) -> Iterator[None]:
        """Hold the lock; at the outermost end commit what was put and removed, then wake who waits for it."""
        with self.lock:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                is_outermost = self._depth == 0
                if is_outermost:
                    self._commit()
        if is_outermost:
            for wake in self.after_change:
                wake()

    def put(self, record: Record) -> None:
        key = (record.KIND, record.key)  # type: ignore[attr-defined]
        self._removed.pop(key, None)
        self._changed[key] = record

    def drop(self, record: Record) -> None:
        key = (record.KIND, record.key)  # type: ignore[attr-defined]
        self._changed.pop(key, None)
        self._removed[key] = None

    def next_id(self, kind: str) -> int:
        counter = self.counters.get(kind)
        if counter is None:
            counter = self.counters[kind] = Counter(kind, FIRST_IDS[kind])
        # Rows of one kind are shared with strangers in the real server, so its identifiers have gaps.
        step = self.random.randrange(3, 98) if FIRST_IDS[kind] > 1 else 1
        counter.value += step
        self.put(counter)
        return counter.value

    def random_hex(self, length: int) -> str:
        return f"{self.random.getrandbits(length * 4):0{length}x}"

    def account(self, key: str | Account) -> Account:
        if isinstance(key, Account):
            return key
        account = self.accounts.get(key)
        if account is None:
            raise SandboxError(f"Conta desconhecida: {key!s:.40}.")
        return account

    def app(self, client_id: str | None = None) -> App:
        """The app by its client id, or the only (else the first shared) one."""
        if client_id is not None:
            if client_id not in self.apps:
                raise SandboxError(f"Aplicativo desconhecido: {client_id:.60}.")
            return self.apps[client_id]
        shared = [app for app in self.apps.values() if app.kind == "shared"]
        if not shared:
            raise SandboxError("Nenhum aplicativo compartilhado está cadastrado.")
        return shared[0]

    def deposits_of(self, account: str) -> list[Deposit]:
        return [d for d in self.deposits.values() if d.account == account]

    def products_of(self, account: str) -> list[Product]:
        return [p for p in self.products.values() if p.account == account]

    def keep_product(self, product: Product) -> None:
        self.products[product.id] = product
        if product.format == "E":
            self.compositions.setdefault(product.account, set()).add(product.id)
        self.put(product)

    def remove_product(self, product: Product) -> None:
        del self.products[product.id]
        self.compositions.get(product.account, set()).discard(product.id)
        self.drop(product)

    def close(self) -> None:
        with self.lock:
            if self._store is not None:
                self._store.close()
                self._store = None

    def _commit(self) -> None:
        self._prune()
        if self._store is not None and (self._changed or self._removed):
            self._store.save(list(self._changed.values()), list(self._removed))
        self._changed.clear()
        self._removed.clear()

    def _prune(self) -> None:
        # A tenth more than is kept, so that the walk over all of them is rare.
        if len(self.deliveries) > KEPT_DELIVERIES * 1.1:
            for delivery in list(self.deliveries.values())[:-KEPT_DELIVERIES]:
                if not delivery.is_open:
                    del self.deliveries[delivery.id]
                    self.drop(delivery)
        if len(self.movements) > KEPT_MOVEMENTS * 1.1:
            for movement in list(self.movements.values())[:-KEPT_MOVEMENTS]:
                del self.movements[movement.id]
                self.drop(movement)

    def _load(self, store: Store) -> None:
        self.apps = {r.client_id: r for r in _read(store, App)}
        self.accounts = {r.key: r for r in _read(store, Account)}
        self.deposits = {r.id: r for r in _read(store, Deposit)}
        for product in _read(store, Product):
            self.keep_product(product)
        self._changed.clear()
        self.cells = {(r.product_id, r.deposit_id): r for r in _read(store, Cell)}
        self.orders = {r.id: r for r in _read(store, Order)}
        self.movements = {r.id: r for r in _read(store, Movement)}
        self.codes = {r.code: r for r in _read(store, Code)}
        self.grants = {r.id: r for r in _read(store, Grant)}
        self.deliveries = {r.id: r for r in _read(store, Delivery)}
        self.counters = {r.key: r for r in _read(store, Counter)}


def _read(store: Store, kind: type[R]) -> Iterator[R]:
    return (kind.from_doc(doc) for doc in store.all(kind.KIND))


def iso(moment: float) -> str:
    """UTC with a Z, as in Bling's webhooks."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
