"""What must hold (DESIGN.md, "What must hold once everything has settled"), judged from Bling's own truth.

The pool of a SKU is what the sources held at activation plus all that others did since, told by the world itself as it
happened; the rule is worked out here once more, not by the engine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import ROUND_DOWN, Decimal
from typing import Any

from core.quantity import from_millionths
from models import StockWrite
from services import writes
from tests.stateful.simulation.plot import Place, Rule
from tests.stateful.simulation.wire import Request
from tests.stateful.simulation.world import Moved, World

ZERO, WHOLE = Decimal(0), Decimal(100)
#: A plan is carried out under a lease that outlives its readings by no more than this: one account may be read long
#: after another, by a worker that is slow.
BLIND_S = 60
#: What is read may be as old as this, and clocks differ.
STALE_MS = 3500
#: From reading the balances to the plan it takes a worker that stops now and then no longer than this.
PLANNED_MS = 30_000

#: Writes with the pool and the product they are of, whatever SKU the product has by now.
WRITES_SQL = (
    "stock_write w JOIN cell c ON c.id = w.cell_id JOIN pool o ON o.id = c.pool_id"
    " JOIN product p ON p.id = w.product_id JOIN deposit d ON d.id = w.deposit_id"
)
#: An event of the write's size that is this close to the call is taken for its own.
PROMPT_MS = 300
#: The event of a movement is dated so close to it.
TOLD_MS = 50


class Oracle:
    """Watches every write as it arrives, and judges the world when it has come to rest."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.broken: list[str] = []
        self.reviews = 0
        self.writes = 0
        self._read_ok_ms: dict[str, int] = {}
        #: Whether Bling applied a write, by its id.
        self._applied: dict[str, bool] = {}
        self._called_ms: dict[str, int] = {}
        #: SKUs with a write that a movement of the same size, during the call, was taken for.
        self.untellable: set[str] = set()
        self._newest = 0
        world.watchers.append(self.see)

    def see(self, request: Request) -> None:
        """Judge one call by what is true at this moment."""
        world = self.world
        if request.is_write:
            self.writes += 1
            self._judge_write(request)
            return
        if request.outcome == "200" and "/estoques/saldos" in request.target:
            self._read_ok_ms[request.account] = world.clock.ms
        what = request.target.partition("?")[0].rpartition("/")[2]
        world.happened.append(f"GET {request.account} {what} {request.outcome}")

    def _judge_write(self, request: Request) -> None:
        world = self.world
        body = json.loads(request.body, parse_float=Decimal)
        place = world.places[body["deposito"]["id"]]
        sku = world.bling.world.products[body["produto"]["id"]].sku
        operation, quantity = body["operacao"], Decimal(body["quantidade"])
        self._note_truth(body)
        words = f"{sku} {place[0]}/{place[1]}: write {operation} {quantity:f} {request.outcome}"
        world.happened.append(words)
        plot = world.plot
        takes_write_backs = plot.mode == "sum" and plot.target_movements == "write_back"
        if place not in plot.targets and not (takes_write_backs and place in plot.sources):
            self.broken.append(f"{words}: nothing may be written there")
        if operation not in ("E", "S"):
            self.broken.append(f"{words}: a write that is not relative")
        # A product that goes by another SKU is a pool of its own.
        if place in plot.targets and operation == "E" and sku in plot.skus:
            self._judge_raise(words, body, sku)

    def _note_truth(self, body: dict[str, Any]) -> None:
        """What only Bling knows: whether this call left a movement behind."""
        newest = next(reversed(self.world.bling.world.movements), 0)
        rows = self._rows(
            "SELECT w.id FROM stock_write w JOIN deposit d ON d.id = w.deposit_id JOIN product p ON p.id = w.product_id"
            " WHERE d.bling_id = ? AND p.bling_id = ? AND w.state IN ('sending', 'unknown')",
            body["deposito"]["id"],
            body["produto"]["id"],
        )
        for (write_id,) in rows:
            is_ours = newest > self._newest and self.world.bling.world.movements[newest].origin == "api"
            self._applied[write_id] = is_ours
            self._called_ms[write_id] = self.world.clock.ms
        self._newest = newest

    def decide(self) -> bool:
        """A person looks into Bling and says what became of each write that nothing settled. False: there is none."""
        waiting = self._rows("SELECT id FROM stock_write WHERE evidence = 'smaller_pool' ORDER BY id")
        for (write_id,) in waiting:
            writes.settle_undecided(StockWrite.get_by_id(write_id), self._applied.get(write_id, False), None)
        return bool(waiting)

    def _judge_raise(self, words: str, body: dict[str, Any], sku: str) -> None:
        """A target may be raised only by a plan that has read all sources: one that is down was read by none."""
        world = self.world
        planned = world.books.connection.execute(
            "SELECT w.planned_at FROM stock_write w JOIN deposit d ON d.id = w.deposit_id JOIN product p"
            " ON p.id = w.product_id WHERE d.bling_id = ? AND p.bling_id = ? AND w.state IN ('sending', 'unknown')",
            (body["deposito"]["id"], body["produto"]["id"]),
        ).fetchone()
        if planned is None:
            self.broken.append(f"{words}: the books know of no open write there")
            return
        planned_ms = planned[0] - world.clock.skew_ms
        for account, _ in self._sources(sku):
            down_ms = world.down_since_ms.get(account)
            read_ms = self._read_ok_ms.get(account, 0)
            if down_ms is not None and down_ms < planned_ms and read_ms < planned_ms - BLIND_S * 1000:
                self.broken.append(f"{words}: raised although {account} cannot be read")

    def judge(self) -> None:
        """All promises about a world at rest."""
        self._judge_judgements()
        self._judge_questions()
        for sku in self.world.plot.skus:
            if sku in self.untellable:
                continue
            in_doubt = self._in_doubt(sku)
            if in_doubt:
                self.reviews += 1
                self._judge_doubtful(sku)
            else:
                self._judge_sums(sku)
                self._judge_books(sku)
        self._judge_rest()

    def has_refusals(self) -> bool:
        """Whether Bling refused writes, which are not tried again before a person asks for it."""
        return bool(self._rows("SELECT 1 FROM cell WHERE problem = 'rejected' LIMIT 1"))

    def _in_doubt(self, sku: str) -> bool:
        rows = self._rows(
            "SELECT 1 FROM stock_write w JOIN product p ON p.id = w.product_id"
            " WHERE p.sku = ? AND (w.state IN ('sending', 'unknown') OR w.evidence = 'smaller_pool')",
            sku,
        )
        return bool(rows)

    def shown(self, sku: str) -> dict[Place, Decimal]:
        """The physical balance that each target must have."""
        world, plot = self.world, self.world.plot
        pool, places = world.pools[sku], world.members(sku, plot.places)
        reserved = dict.fromkeys(places, ZERO)
        if plot.balance == "virtual":
            reserved = {place: world.reserved(sku, place) for place in places}
        available = pool - sum(reserved.values(), ZERO)
        parts = [pool, *reserved.values(), *(world.physical(sku, place) for place in self._sources(sku))]
        decimals = 0 if all(part == part.to_integral_value() for part in parts) else 3
        return {
            place: ruled(rule, available, decimals) + reserved[place]
            for place, rule in zip(plot.targets, plot.rules, strict=True)
            if place in places
        }

    def _sources(self, sku: str) -> list[Place]:
        return self.world.members(sku, self.world.plot.sources)

    def _judge_judgements(self) -> None:
        """What was settled without an answer is what Bling knows, unless it waits for a person."""
        rows = self._rows(
            "SELECT w.id, w.state, w.evidence, o.sku, p.bling_id, d.bling_id, w.quantity, w.planned_at, w.sent_at,"
            " w.ended_at, w.found_until"
            f" FROM {WRITES_SQL} WHERE w.evidence NOT IN ('smaller_pool', 'either') ORDER BY w.id"
        )
        for write_id, state, evidence, sku, product, deposit, millionths, *moments in rows:
            if self._applied.get(write_id, False) == (state == "confirmed"):
                continue
            quantity, (planned_ms, sent_ms, ended_ms, found_ms) = from_millionths(millionths), moments
            called_ms = self._called_ms.get(write_id, sent_ms)
            within_ms = ended_ms - sent_ms + PROMPT_MS
            if evidence == "event" and self._has_twin((product, deposit), quantity, called_ms, within_ms):
                self.untellable.add(sku)
                continue
            if evidence in ("level", "chain") and self._is_hidden((product, deposit), planned_ms, ended_ms, found_ms):
                self.untellable.add(sku)
                continue
            words = f"{quantity:f} settled as {state} by {evidence}"
            self.broken.append(f"{sku}: a write of {words}, which is not what happened")

    def _judge_questions(self) -> None:
        """A person is asked only where others moved something there between the plan of the write and the look."""
        rows = self._rows(
            "SELECT o.sku, p.bling_id, d.bling_id, w.quantity, w.sent_at, w.sent_at - w.planned_at,"
            f" w.found_at - w.sent_at FROM {WRITES_SQL} WHERE w.evidence = 'smaller_pool' ORDER BY w.id"
        )
        for sku, product, deposit, millionths, sent_ms, waited_ms, found_ms in rows:
            since_ms, until_ms = sent_ms - waited_ms - PLANNED_MS, sent_ms + (found_ms or 0) + STALE_MS
            if not any(since_ms <= moved.ms <= until_ms for moved in self._moved((product, deposit))):
                self.broken.append(
                    f"{sku}: a write of {from_millionths(millionths):f} in review, and nobody moved anything"
                )

    def _has_twin(self, spot: tuple[int, int], quantity: Decimal, at_ms: int, within_ms: int) -> bool:
        """Whether somebody else moved exactly as much there at that time: nobody can tell the two apart."""
        return any(moved.quantity == quantity and abs(moved.ms - at_ms) <= within_ms for moved in self._moved(spot))

    def _is_hidden(self, spot: tuple[int, int], planned_ms: int, ended_ms: int, found_ms: int | None) -> bool:
        """Whether somebody else moved something there of which no event ever came, from the balance that the write was
        planned from to the one that was found, or to the first event after the call where that settled it.
        """
        rows = self._rows(
            "SELECT physical_after, bling_event_id FROM event"
            " WHERE product_bling_id = ? AND deposit_bling_id = ? AND physical_after IS NOT NULL",
            *spot,
        )
        told = [(from_millionths(after), int(event_id.replace("-", "")[:12], 16)) for after, event_id in rows]
        if found_ms is None:
            found_ms = min((ms for _, ms in told if ms > ended_ms), default=ended_ms)
        return any(
            planned_ms - PLANNED_MS <= moved.ms <= found_ms + PROMPT_MS
            and not any(after == moved.after and abs(ms - moved.ms) < TOLD_MS for after, ms in told)
            for moved in self._moved(spot)
        )

    def _moved(self, spot: tuple[int, int]) -> Iterator[Moved]:
        return (moved for moved in self.world.moved if moved.spot == spot)

    def _judge_sums(self, sku: str) -> None:
        world, plot = self.world, self.world.plot
        if plot.mode == "sum":
            held = sum((world.physical(sku, place) for place in self._sources(sku)), ZERO)
            if held != world.pools[sku]:
                self.broken.append(f"{sku}: the sources hold {held:f}, but it should be {world.pools[sku]:f}")
        for place, expected in self.shown(sku).items():
            is_ = world.physical(sku, place)
            if is_ != expected:
                self.broken.append(f"{sku} {place[0]}/{place[1]}: {is_:f} there, but it should be {expected:f}")

    def _judge_doubtful(self, sku: str) -> None:
        for place, expected in self.shown(sku).items():
            is_ = self.world.physical(sku, place)
            if is_ > expected:
                self.broken.append(f"{sku} {place[0]}/{place[1]}: in doubt and {is_:f} there, more than {expected:f}")
        if self.world.plot.mode == "sum":
            held = sum((self.world.physical(sku, place) for place in self._sources(sku)), ZERO)
            if held > self.world.pools[sku]:
                more = f"more than {self.world.pools[sku]:f}"
                self.broken.append(f"{sku}: in doubt, and the sources hold {held:f}, {more}")

    def _judge_books(self, sku: str) -> None:
        rows = self._rows(
            "SELECT d.bling_id, c.baseline, c.accounted,"
            " (SELECT COALESCE(SUM(quantity), 0) FROM movement m WHERE m.cell_id = c.id"
            " AND m.booked_at > c.baseline_at),"
            " (SELECT COALESCE(SUM(quantity), 0) FROM stock_write w WHERE w.cell_id = c.id AND w.state = 'confirmed'"
            " AND w.ended_at > c.baseline_at)"
            " FROM cell c JOIN deposit d ON d.id = c.deposit_id JOIN product p ON p.id = c.product_id"
            " WHERE p.sku = ? AND c.left_at IS NULL ORDER BY c.id",
            sku,
        )
        if len(rows) != len(self.world.members(sku, self.world.plot.places)):
            self.broken.append(f"{sku}: {len(rows)} cells in the books")
        for bling_id, baseline, accounted, moved, written in rows:
            place = self.world.places[bling_id]
            where = f"{sku} {place[0]}/{place[1]}"
            if baseline + moved + written != accounted:
                sums = " + ".join(f"{from_millionths(part):f}" for part in (baseline, moved, written))
                self.broken.append(f"{where}: the books say {from_millionths(accounted):f}, but it is {sums}")
            true = self.world.physical(sku, place)
            if from_millionths(accounted) != true:
                self.broken.append(f"{where}: the books say {from_millionths(accounted):f}, Bling {true:f}")
        owed = self._rows("SELECT owed FROM pool WHERE sku = ? AND owed <> 0", sku)
        if owed:
            self.broken.append(f"{sku}: {from_millionths(owed[0][0]):f} still owed")

    def _judge_rest(self) -> None:
        open_items = self._rows("SELECT sku, status FROM run_item WHERE finished_at IS NULL ORDER BY id")
        if open_items:
            self.broken.append(f"open items of the history: {open_items}")
        failed = self._rows("SELECT kind, reason FROM event WHERE state IN ('failed', 'unreadable') ORDER BY id")
        if failed:
            self.broken.append(f"events that could not be dealt with: {failed}")
        open_writes = self._rows("SELECT state FROM stock_write WHERE state = 'planned'")
        if open_writes:
            self.broken.append(f"{len(open_writes)} writes planned and never sent")

    def _rows(self, sql: str, *params: Any) -> list[Any]:
        return self.world.books.connection.execute(sql, params).fetchall()


def ruled(rule: Rule, available: Decimal, decimals: int) -> Decimal:
    """What a target with this rule shows of so much (docs/sync-rules.md)."""
    if rule.stop_at is not None and available <= Decimal(rule.stop_at):
        return ZERO
    shown = max(ZERO, available - Decimal(rule.reserve or 0))
    if rule.percent not in (None, "100"):
        step = Decimal(1).scaleb(-decimals)
        shown = (shown * Decimal(rule.percent) / WHOLE).quantize(step, rounding=ROUND_DOWN)
    return shown if rule.max is None else min(Decimal(rule.max), shown)
