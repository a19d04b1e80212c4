"""What the sandbox remembers: one dataclass per kind of record, each turning into a JSON document and back.

Times are seconds since the epoch; quantities are Decimals, kept as text in the documents.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from decimal import Decimal
from typing import Any, ClassVar, Self

ZERO = Decimal(0)


@dataclass
class Record:
    """Base: Decimals travel as text, everything else is JSON already."""

    KIND: ClassVar[str]

    def to_doc(self) -> dict[str, Any]:
        doc: dict[str, Any] = _texts(asdict(self))
        return doc

    @classmethod
    def from_doc(cls, doc: dict[str, Any]) -> Self:
        decimals = {f.name for f in fields(cls) if f.type == "Decimal"}
        known = {f.name for f in fields(cls)}
        return cls(**{k: Decimal(v) if k in decimals else v for k, v in doc.items() if k in known})


@dataclass
class App(Record):
    """An application registered with Bling; its client secret also signs its webhooks."""

    KIND: ClassVar[str] = "app"
    client_id: str
    client_secret: str
    name: str
    redirect_uri: str
    webhook_url: str
    kind: str = "shared"  # "shared" serves any account, "own" only its owner's
    owner: str | None = None
    scopes: list[str] = field(default_factory=list)
    approved: bool = False
    version: int = 1

    @property
    def key(self) -> str:
        return self.client_id


@dataclass
class Account(Record):
    """One Bling company."""

    KIND: ClassVar[str] = "account"
    key: str
    name: str
    company_id: str
    cnpj: str
    email: str
    since: str
    next_order: int = 1
    # "<client_id> <resource>" of webhooks that Bling switched off after three days of failures.
    switched_off: list[str] = field(default_factory=list)


@dataclass
class Deposit(Record):
    KIND: ClassVar[str] = "deposit"
    id: int
    account: str
    name: str
    situation: int = 1
    is_default: bool = False
    ignores_balance: bool = False

    @property
    def key(self) -> str:
        return str(self.id)


@dataclass
class Component:
    product_id: int
    quantity: Decimal


@dataclass
class Product(Record):
    KIND: ClassVar[str] = "product"
    id: int
    account: str
    sku: str
    name: str
    price: Decimal
    created_at: float
    updated_at: float
    kind: str = "P"  # P product, S service
    format: str = "S"  # S simple, V with variations, E composition
    situation: str = "A"  # A active, I inactive, E deleted
    unit: str = "UN"
    gtin: str = ""
    parent_id: int | None = None
    variation: str = ""
    components: list[Component] = field(default_factory=list)

    @property
    def key(self) -> str:
        return str(self.id)

    @property
    def holds_stock(self) -> bool:
        return self.kind == "P" and self.format == "S"

    @classmethod
    def from_doc(cls, doc: dict[str, Any]) -> Self:
        product = super().from_doc(doc)
        product.components = [Component(c["product_id"], Decimal(c["quantity"])) for c in doc["components"]]
        return product


@dataclass
class Cell(Record):
    """The stock of one product in one deposit, with what it was a while ago."""

    KIND: ClassVar[str] = "cell"
    product_id: int
    deposit_id: int
    physical: Decimal = ZERO
    reserved: Decimal = ZERO

    def __post_init__(self) -> None:
        self.past: list[tuple[float, Decimal, Decimal]] = []

    @property
    def key(self) -> str:
        return f"{self.product_id}/{self.deposit_id}"

    def remember(self, now: float, keep_s: float) -> None:
        """Note the values that hold until `now`; call it before changing them."""
        self.past.append((now, self.physical, self.reserved))
        if self.past[0][0] < now - keep_s:
            self.past = [entry for entry in self.past if entry[0] >= now - keep_s]

    def as_of(self, moment: float) -> tuple[Decimal, Decimal]:
        """Physical and reserved quantity that held at `moment`, as far back as is remembered."""
        for until, physical, reserved in self.past:
            if moment < until:
                return physical, reserved
        return self.physical, self.reserved


@dataclass
class OrderItem:
    product_id: int
    deposit_id: int
    quantity: Decimal
    price: Decimal


@dataclass
class Order(Record):
    KIND: ClassVar[str] = "order"
    id: int
    account: str
    number: int
    state: str  # open, posted, cancelled, deleted
    created_at: float
    updated_at: float
    items: list[OrderItem] = field(default_factory=list)

    @property
    def key(self) -> str:
        return str(self.id)

    @property
    def total(self) -> Decimal:
        return sum((item.quantity * item.price for item in self.items), ZERO)

    @classmethod
    def from_doc(cls, doc: dict[str, Any]) -> Self:
        order = super().from_doc(doc)
        order.items = [
            OrderItem(i["product_id"], i["deposit_id"], Decimal(i["quantity"]), Decimal(i["price"]))
            for i in doc["items"]
        ]
        return order


@dataclass
class Movement(Record):
    """One physical movement; `origin` is api, screen or order."""

    KIND: ClassVar[str] = "movement"
    id: int
    account: str
    product_id: int
    sku: str
    deposit_id: int
    operation: str
    quantity: Decimal
    before: Decimal
    after: Decimal
    at: float
    origin: str
    note: str = ""
    client_id: str | None = None
    deleted: bool = False

    @property
    def key(self) -> str:
        return str(self.id)


@dataclass
class Code(Record):
    """An authorization code on its way from the consent page to the token endpoint."""

    KIND: ClassVar[str] = "code"
    code: str
    client_id: str
    account: str
    expires_at: float
    grant_id: int | None = None

    @property
    def key(self) -> str:
        return self.code


@dataclass
class Grant(Record):
    """An account's authorization of an app: the live tokens, and the rotated ones that betray a second use."""

    KIND: ClassVar[str] = "grant"
    id: int
    client_id: str
    account: str
    created_at: float
    access_token: str = ""
    access_expires_at: float = 0.0
    refresh_token: str = ""
    refresh_expires_at: float = 0.0
    old_access: dict[str, float] = field(default_factory=dict)
    old_refresh: list[str] = field(default_factory=list)
    revoked: str = ""  # why it ended, empty while it lives

    @property
    def key(self) -> str:
        return str(self.id)


@dataclass
class Delivery(Record):
    """One webhook on its way to one app. `copy` 2 is the second sending of a duplicated event."""

    KIND: ClassVar[str] = "delivery"
    id: int
    event_id: str
    event: str
    account: str
    client_id: str
    body: str
    created_at: float
    due_at: float
    state: str = "queued"  # queued, retry, delivered, lost, given_up, off
    copy: int = 1
    fault: str = ""
    attempts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def key(self) -> str:
        return str(self.id)

    @property
    def is_open(self) -> bool:
        return self.state in ("queued", "retry")


@dataclass
class RequestEntry:
    """One line of the request log; bodies and tokens are not kept, the stock write's fields are."""

    id: int
    at: float
    method: str
    path: str
    query: str
    account: str | None
    client_id: str | None
    status: int  # 0 when the connection was cut
    ms: int
    fault: str = ""
    error: str = ""
    body: str = ""


def _texts(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return {k: _texts(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_texts(v) for v in value]
    return value
