"""The history: what was synchronized, by whom, from what to what. Only reads; nothing here is ever erased or rewritten.

Pages are cut by run id (UUIDv7: newest first is by descending id), so that what arrives meanwhile moves no page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from peewee import JOIN, SQL, Case, ModelSelect, NodeList, fn

from ids import id_at
from models import Account, Deposit, Event, ItemDeposit, Movement, Organization, Run, RunItem, StockWrite, User
from services import labels
from services.explanations import Derivation, derivation
from services.overview import iso

PAGE = 50
TYPES = ("webhook", "cron", "manual")
# What the filter offers, and the codes that each word stands for.
SITUATIONS: Mapping[str, tuple[str, ...]] = {
    "ok": ("ok",),
    "running": ("queued", "running"),
    "partial": ("partial",),
    "failed": ("failed",),
    "held": ("held",),
    "skipped": ("skipped",),
    "problema": ("partial", "failed"),
}
ITEMS_ON_A_ROW = 3
CELLS_ON_A_LINE = 4
ITEMS_ON_A_PAGE = 100


@dataclass(frozen=True, slots=True)
class Filters:
    """What the address of the history asks for; everything that is no filter is left out, never an error."""

    type: str = ""
    account: str = ""
    status: str = ""
    text: str = ""
    since: date | None = None
    until: date | None = None

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Filters:
        type_, status = query.get("tipo", ""), query.get("situacao", "")
        return cls(
            type=type_ if type_ in TYPES else "",
            account=query.get("conta", "")[:80],
            status=status if status in SITUATIONS else "",
            text=query.get("q", "").strip()[:100],
            since=_date(query.get("de", "")),
            until=_date(query.get("ate", "")),
        )

    def query(self, **changes: str | None) -> str:
        """The same filters as a query string, with changes."""
        values = {
            "tipo": self.type,
            "conta": self.account,
            "situacao": self.status,
            "q": self.text,
            "de": self.since.isoformat() if self.since else "",
            "ate": self.until.isoformat() if self.until else "",
            **changes,
        }
        return urlencode({name: value for name, value in values.items() if value})

    @property
    def is_empty(self) -> bool:
        return self == Filters()


@dataclass(frozen=True, slots=True)
class Line:
    """A product of a run with the deposits that changed, and how many more of them there are."""

    item: RunItem
    cells: tuple[ItemDeposit, ...]
    more: int


@dataclass(frozen=True, slots=True)
class Row:
    """A run in the list: its first products, and how many more there are."""

    run: Run
    lines: tuple[Line, ...]
    count: int

    @property
    def more(self) -> int:
        return self.count - len(self.lines)

    @property
    def version(self) -> tuple[object, ...]:
        """What the line shows of things that still change."""
        return (
            self.run.id,
            self.run.status,
            self.run.considered,
            self.run.unchanged,
            self.count,
            *((line.item.id, line.item.status, line.item.error, line.more) for line in self.lines),
            *((cell.id, cell.after) for line in self.lines for cell in line.cells),
        )


@dataclass(frozen=True, slots=True)
class Page:
    rows: tuple[Row, ...]
    following: str | None


@dataclass(frozen=True, slots=True)
class Detail:
    """One item of a run with all that is known of it."""

    item: RunItem
    cells: tuple[ItemDeposit, ...]
    movements: tuple[Movement, ...]
    writes: tuple[StockWrite, ...]
    derivation: Derivation | None

    def writes_of(self, deposit_id: str) -> list[StockWrite]:
        return [write for write in self.writes if write.deposit_id == deposit_id]


def list_runs(organization: Organization, filters: Filters, before: str | None = None, limit: int = PAGE) -> Page:
    """A page of the history, newest first, of what is older than the run `before`."""
    query = _filtered(organization, filters)
    if before:
        query = query.where(Run.id < before)
    found = list(query.order_by(Run.id.desc()).limit(limit + 1))
    runs = found[:limit]
    return Page(rows=tuple(rows_of(runs)), following=runs[-1].id if len(found) > limit else None)


def rows_of(runs: Sequence[Run]) -> list[Row]:
    """The runs as lines, with three queries for all of them together."""
    ids = [run.id for run in runs]
    if not ids:
        return []
    counts = dict(
        RunItem.select(RunItem.run, fn.COUNT(RunItem.id)).where(RunItem.run.in_(ids)).group_by(RunItem.run).tuples()
    )
    place = fn.ROW_NUMBER().over(partition_by=[RunItem.run], order_by=[_interest(), RunItem.id])
    numbered = RunItem.select(RunItem.id, place.alias("place")).where(RunItem.run.in_(ids))
    items: dict[str, list[RunItem]] = {}
    firsts = (
        RunItem.select(RunItem)
        .join(numbered, JOIN.INNER, on=(RunItem.id == numbered.c.id))
        .where(numbered.c.place <= ITEMS_ON_A_ROW)
        .order_by(numbered.c.place)
    )
    for item in firsts:
        items.setdefault(item.run_id, []).append(item)
    cells = _cells_of([item.id for some in items.values() for item in some])
    return [
        Row(
            run=run,
            lines=tuple(_line(item, cells.get(item.id, [])) for item in items.get(run.id, [])),
            count=counts.get(run.id, 0),
        )
        for run in runs
    ]


def _line(item: RunItem, cells: Sequence[ItemDeposit]) -> Line:
    changed = [cell for cell in cells if cell.before != cell.after]
    return Line(item=item, cells=tuple(changed[:CELLS_ON_A_LINE]), more=max(0, len(changed) - CELLS_ON_A_LINE))


def items_page(run: Run, after: str | None = None, limit: int = ITEMS_ON_A_PAGE) -> tuple[list[Detail], str | None]:
    """The items of a run with their details, in order, and where the next page begins.

    Those that are held have none yet: services/held.py tells of them.
    """
    query = RunItem.select().where(RunItem.run == run, RunItem.status != "held")
    if after:
        query = query.where(RunItem.id > after)
    found = list(query.order_by(RunItem.id).limit(limit + 1))
    items = found[:limit]
    return details_of(items), items[-1].id if len(found) > limit else None


def details_of(items: Sequence[RunItem]) -> list[Detail]:
    ids = [item.id for item in items]
    cells = _cells_of(ids)
    movements = _grouped(
        Movement.select(Movement, Event)
        .join(Event, JOIN.LEFT_OUTER)
        .where(Movement.item.in_(ids))
        .order_by(Movement.id)
    )
    writes = _grouped(
        StockWrite.select(StockWrite, Account, Deposit, User)
        .join(Account)
        .switch(StockWrite)
        .join(Deposit)
        .switch(StockWrite)
        .join(User, JOIN.LEFT_OUTER, on=(StockWrite.decided_by == User.id))
        .where(StockWrite.item.in_(ids))
        .order_by(StockWrite.id)
    )
    return [
        Detail(
            item=item,
            cells=tuple(cells.get(item.id, ())),
            movements=tuple(movements.get(item.id, ())),
            writes=tuple(writes.get(item.id, ())),
            derivation=derivation(item.explanation),
        )
        for item in items
    ]


def tally(run: Run) -> dict[str, int]:
    """How many items of the run are in each status."""
    rows = (
        RunItem.select(RunItem.status, fn.COUNT(RunItem.id)).where(RunItem.run == run).group_by(RunItem.status).tuples()
    )
    return dict(rows)


def history_json(organization: Organization, limit: int) -> list[dict[str, Any]]:
    """The answer of `history --json`: newest first."""
    runs = list(_filtered(organization, Filters()).order_by(Run.id.desc()).limit(limit))
    items: dict[str, list[RunItem]] = {}
    ids = [run.id for run in runs]
    for item in RunItem.select().where(RunItem.run.in_(ids)).order_by(RunItem.id):
        items.setdefault(item.run_id, []).append(item)
    cells = _cells_of([item.id for some in items.values() for item in some])
    return [
        {
            "id": run.id,
            "at": iso(run.created_at),
            "type": run.type,
            "account": run.account.key if run.account else None,
            "status": run.status,
            "products": len({item.sku for item in items.get(run.id, ())}),
            "items": [
                {
                    "sku": item.sku,
                    "status": item.status,
                    "error": item.error,
                    "deposits": [
                        {
                            "account": cell.account.key,
                            "deposit": cell.deposit.bling_id,
                            "before": number(cell.before),
                            "after": number(cell.after),
                        }
                        for cell in cells.get(item.id, ())
                    ],
                }
                for item in items.get(run.id, ())
            ],
        }
        for run in runs
    ]


def number(quantity: Decimal | None) -> int | float | None:
    """A JSON number: whole where the quantity is whole."""
    if quantity is None:
        return None
    return int(quantity) if quantity == quantity.to_integral_value() else float(quantity)


def origin_of(run: Run) -> str:
    """What set the run going, in words; '' when its type already says all."""
    if run.type == "webhook" and run.event is not None:
        return labels.label(run.event.kind, "event_kind").text
    if run.type == "manual" and run.user is not None:
        return f"por {run.user.name}"
    if run.type == "cron":
        return "Conferência periódica"
    return ""


def situation_name(code: str) -> str:
    """What the filter calls this situation."""
    return "Com problema" if code == "problema" else labels.STATUSES[code].text


def _filtered(organization: Organization, filters: Filters) -> ModelSelect:
    query = (
        Run.select(Run, Account, Event, User)
        .join(Account, JOIN.LEFT_OUTER)
        .switch(Run)
        .join(Event, JOIN.LEFT_OUTER)
        .switch(Run)
        .join(User, JOIN.LEFT_OUTER, on=(Run.user == User.id))
        .where(Run.organization == organization)
    )
    if filters.type:
        query = query.where(Run.type == filters.type)
    if filters.status:
        query = query.where(Run.status.in_(SITUATIONS[filters.status]))
    if filters.since:
        query = query.where(Run.id >= id_at(_midnight(filters.since)))
    if filters.until:
        query = query.where(Run.id < id_at(_midnight(filters.until + timedelta(days=1))))
    if filters.account:
        query = query.where(_touches_account(organization, filters.account))
    if filters.text:
        query = query.where(Run.id.in_(_runs_with(organization, filters.text)))
    return query


def _touches_account(organization: Organization, key: str) -> Any:
    """Runs that began in the account or changed a deposit of it."""
    account = Account.select(Account.id).where(Account.organization == organization, Account.key == key)
    touched = (
        RunItem.select(RunItem.run)
        .join(ItemDeposit)
        .where(RunItem.organization == organization, ItemDeposit.account.in_(account))
    )
    return Run.account.in_(account) | Run.id.in_(touched)


def _runs_with(organization: Organization, text: str) -> ModelSelect:
    pattern = pattern_of(text)
    return RunItem.select(RunItem.run).where(
        RunItem.organization == organization,
        like(RunItem.sku, pattern) | like(RunItem.product_name, pattern),
    )


def pattern_of(text: str) -> str:
    """The pattern for `like` of whatever holds this text anywhere, its signs taken as they are."""
    return f"%{text.replace('!', '!!').replace('%', '!%').replace('_', '!_')}%"


def like(column: Any, pattern: str) -> Any:
    """Whether the column fits the pattern, capital or small. SQLite's LOWER leaves É alone: as typed fits, too."""
    lowered = NodeList((fn.LOWER(column), SQL("LIKE"), pattern.lower(), SQL("ESCAPE '!'")))
    typed = NodeList((column, SQL("LIKE"), pattern, SQL("ESCAPE '!'")))
    return NodeList((SQL("("), lowered, SQL("OR"), typed, SQL(")")))


def _interest() -> Any:
    """Items with something to tell first: a full check has hundreds that were right already."""
    return Case(None, [((RunItem.status.in_(("unchanged", "skipped", "missing"))), 1)], 0)


def _cells_of(item_ids: Sequence[str]) -> dict[str, list[ItemDeposit]]:
    """The deposits of each item; what others moved first, then what we wrote."""
    if not item_ids:
        return {}
    query = (
        ItemDeposit.select(ItemDeposit, Account, Deposit)
        .join(Account)
        .switch(ItemDeposit)
        .join(Deposit)
        .where(ItemDeposit.item.in_(item_ids))
        .order_by(ItemDeposit.role, Account.name, Deposit.name)
    )
    return _grouped(query)


def _grouped(rows: Iterable[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row.item_id, []).append(row)
    return found


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=labels.ZONE)
