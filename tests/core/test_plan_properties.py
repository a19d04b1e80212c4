"""What holds for every plan, whatever the state; and for every story, once it has come to rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from core.facts import ZERO, BalanceKind, Mode, OpenWrite, Purpose, Role, Seen, TargetMovements
from core.plan import CellInput, PoolInput, plan_pool
from core.rules import TargetRule, apply, pool_decimals
from tests.core.strategies import ACCOUNTS, NOON, WINDOW, Deposit, World, changed, pools, rules, small

D = Decimal


def cell_of(pool: PoolInput, key: str) -> CellInput:
    return next(cell for cell in pool.cells if cell.key == key)


def calm(pool: PoolInput) -> PoolInput:
    """The same pool with nothing doubtful: every cell shows what its books say, or what it shows is its baseline."""
    cells = [
        replace(cell, seen=Seen(cell.book.accounted, cell.book.reserved, NOON), events=(), open_write=None)
        for cell in pool.cells
        if cell.book is not None
    ]
    return replace(pool, cells=cells)


class TestEveryPlan:
    @given(pools(), st.randoms(use_true_random=False))
    def test_is_the_same_in_whatever_order_the_cells_come(self, pool: PoolInput, random: object) -> None:
        shuffled = list(pool.cells)
        random.shuffle(shuffled)  # type: ignore[attr-defined]

        assert plan_pool(replace(pool, cells=shuffled)) == plan_pool(pool)

    @given(pools())
    def test_writes_targets_and_sources_that_take_movements_each_at_most_once(self, pool: PoolInput) -> None:
        plan = plan_pool(pool)

        chosen = {cell.key for cell in pool.cells if cell.write_back_position is not None}
        for wish in plan.wishes:
            cell = cell_of(pool, wish.key)
            assert (cell.role is Role.TARGET) == (wish.purpose is Purpose.TARGET)
            assert cell.role is Role.TARGET or not chosen or cell.key in chosen
            assert wish.quantity != 0
        assert len({wish.key for wish in plan.wishes}) == len(plan.wishes)

    @given(pools())
    def test_writes_what_the_rule_says(self, pool: PoolInput) -> None:
        plan = plan_pool(pool)

        virtual = pool.balance is BalanceKind.VIRTUAL
        known = {key: (look.accounted, look.reserved if virtual else ZERO) for key, look in plan.looks.items()} | {
            cell.key: (cell.book.accounted, cell.book.reserved if virtual else ZERO)
            for cell in pool.cells
            if cell.seen is None and cell.book is not None
        }
        for key, wanted in plan.wanted.items():
            assert plan.available is not None
            rule = cell_of(pool, key).rule or TargetRule()
            assert wanted - known[key][1] in {apply(rule, plan.available, 0), apply(rule, plan.available, 3)}
        for wish in plan.wishes:
            assert wish.before == known[wish.key][0]
            assert wish.purpose is Purpose.WRITE_BACK or wish.before + wish.quantity == plan.wanted[wish.key]

    @given(pools())
    def test_writes_or_holds_every_target_that_should_change(self, pool: PoolInput) -> None:
        plan = plan_pool(pool)

        wished = {wish.key for wish in plan.wishes}
        for key, wanted in plan.wanted.items():
            cell = cell_of(pool, key)
            accounted = plan.looks[key].accounted if key in plan.looks else cell.book.accounted  # type: ignore[union-attr]
            assert (key in wished or key in plan.held) == (wanted != accounted)
            assert not (key in wished and key in plan.held)

    @given(pools())
    def test_writes_only_where_the_balance_was_read_and_is_not_in_doubt(self, pool: PoolInput) -> None:
        plan = plan_pool(pool)

        for wish in plan.wishes:
            cell = cell_of(pool, wish.key)
            assert cell.seen is not None
            assert cell.open_write is None
            assert not cell.refused
            assert plan.looks[wish.key].put_off is None

    @given(pools())
    def test_orders_write_backs_before_decreases_before_increases(self, pool: PoolInput) -> None:
        order = [(wish.purpose is Purpose.TARGET, wish.quantity > 0) for wish in plan_pool(pool).wishes]

        ranks = [0 if not is_target else 2 if raises else 1 for is_target, raises in order]
        assert ranks == sorted(ranks)

    @given(pools(movements=TargetMovements.WRITE_BACK))
    def test_neither_loses_nor_invents_a_unit_of_what_was_moved(self, pool: PoolInput) -> None:
        plan = plan_pool(pool)

        moved = sum((look.movement for key, look in plan.looks.items() if cell_of(pool, key).role is Role.TARGET), ZERO)
        taken = sum((wish.quantity for wish in plan.wishes if wish.purpose is Purpose.WRITE_BACK), ZERO)
        if pool.mode is Mode.SUM:
            assert plan.owed + taken == pool.owed + moved
        elif pool.level is not None and plan.level is not None:
            assert plan.level + plan.owed == pool.level + pool.owed + moved

    @given(pools(mode=Mode.SUM))
    def test_sends_no_source_below_zero_while_another_that_may_take_it_has_some_left(self, pool: PoolInput) -> None:
        plan = plan_pool(pool)

        taken = {wish.key: wish.quantity for wish in plan.wishes if wish.purpose is Purpose.WRITE_BACK}
        chosen = [cell for cell in pool.cells if cell.write_back_position is not None]
        takers = chosen or [cell for cell in pool.cells if cell.role is Role.SOURCE]
        after = {
            cell.key: plan.looks[cell.key].accounted + taken.get(cell.key, ZERO)
            for cell in takers
            if cell.key in plan.looks and not cell.refused
        }
        if any(quantity < 0 and after[key] < 0 for key, quantity in taken.items()):
            assert all(left <= 0 for left in after.values())

    @given(pools(mode=Mode.SUM), st.data())
    def test_raises_nothing_while_a_source_cannot_be_read(self, pool: PoolInput, data: st.DataObject) -> None:
        sources = [cell.key for cell in pool.cells if cell.role is Role.SOURCE]
        if not sources:
            return
        away = data.draw(st.sampled_from(sources))

        plan = plan_pool(changed(pool, away, seen=None))

        assert away in plan.missing
        assert not [wish for wish in plan.wishes if wish.purpose is Purpose.TARGET and wish.quantity > 0]

    @given(pools(), st.data())
    def test_takes_the_last_known_value_for_what_cannot_be_read(self, pool: PoolInput, data: st.DataObject) -> None:
        quiet = calm(pool)
        if not quiet.cells:
            return
        away = data.draw(st.sampled_from([cell.key for cell in quiet.cells]))

        read, unread = plan_pool(quiet), plan_pool(changed(quiet, away, seen=None))

        assert unread.available == read.available
        assert unread.wanted == read.wanted
        assert {w.key: w for w in unread.wishes if w.purpose is Purpose.TARGET}.items() <= {
            w.key: w for w in read.wishes
        }.items()

    @given(pools(mode=Mode.SUM), st.data())
    def test_is_empty_while_a_source_was_never_read(self, pool: PoolInput, data: st.DataObject) -> None:
        sources = [cell.key for cell in pool.cells if cell.role is Role.SOURCE]
        if not sources:
            return

        unread = changed(pool, data.draw(st.sampled_from(sources)), seen=None, book=None)

        plan = plan_pool(replace(unread, is_begun=False))

        assert (plan.wishes, plan.available, plan.wanted) == ((), None, {})

    @given(pools(), st.data())
    def test_is_only_lowered_once_begun_while_something_was_never_read(
        self, pool: PoolInput, data: st.DataObject
    ) -> None:
        if not pool.cells:
            return
        joiner = data.draw(st.sampled_from(list(pool.cells)))
        if joiner.role is Role.TARGET and pool.balance is BalanceKind.PHYSICAL:
            return

        plan = plan_pool(replace(changed(pool, joiner.key, seen=None, book=None), is_begun=True))

        assert joiner.key in plan.missing
        assert all(wish.quantity < 0 for wish in plan.wishes if wish.purpose is Purpose.TARGET)

    @given(pools())
    def test_is_never_raised_while_a_source_cannot_be_counted(self, pool: PoolInput) -> None:
        plan = plan_pool(replace(pool, uncounted={"principal 9": "duplicate"}))

        assert plan.missing["principal 9"] == "duplicate"
        assert all(wish.quantity < 0 for wish in plan.wishes if wish.purpose is Purpose.TARGET)

    @given(pools())
    def test_counts_what_is_perhaps_owed_downwards(self, pool: PoolInput) -> None:
        certain, doubtful = plan_pool(replace(pool, perhaps_owed=ZERO)), plan_pool(replace(pool, perhaps_owed=D(-3)))

        if certain.available is not None:
            assert doubtful.available == certain.available - 3
        assert doubtful.owed == certain.owed

    @given(pools())
    def test_starts_no_books_from_a_balance_that_may_be_old(self, pool: PoolInput) -> None:
        plan = plan_pool(pool)

        for cell in pool.cells:
            if cell.key in plan.joins_at:
                assert cell.book is None
                assert cell.key not in plan.looks
                assert cell.key not in {wish.key for wish in plan.wishes}
                assert plan.must_look
                assert plan.again_at is not None
                assert plan.again_at <= plan.joins_at[cell.key]

    @given(pools(), st.data())
    def test_counts_a_balance_that_is_put_off_downwards_only(self, pool: PoolInput, data: st.DataObject) -> None:
        plan = plan_pool(pool)
        put_off = [key for key, look in plan.looks.items() if look.put_off is not None]
        if not put_off or plan.available is None:
            return
        key = data.draw(st.sampled_from(put_off))
        book = cell_of(pool, key).book
        assert book is not None

        certain = plan_pool(changed(pool, key, seen=Seen(book.accounted, book.reserved, NOON), events=()))

        assert certain.available is not None
        assert plan.available <= certain.available
        assert key not in {wish.key for wish in plan.wishes}

    @given(pools(), small.filter(bool), st.data())
    def test_leaves_a_cell_with_a_write_in_doubt_alone(
        self, pool: PoolInput, quantity: Decimal, data: st.DataObject
    ) -> None:
        if not pool.cells:
            return
        cell = data.draw(st.sampled_from(list(pool.cells)))
        purpose = Purpose.TARGET if cell.role is Role.TARGET else Purpose.WRITE_BACK

        plan = plan_pool(changed(pool, cell.key, open_write=OpenWrite(quantity, purpose)))

        assert cell.key not in {wish.key for wish in plan.wishes}
        if cell.key in plan.looks:
            assert plan.looks[cell.key].movement == 0


@dataclass(frozen=True)
class Step:
    """One thing that happens: a movement, an order, a pause, a lost event that arrives, or a worker that settles."""

    kind: str
    key: str
    quantity: Decimal
    tell: str
    seconds: float
    unread: frozenset[str]
    answers: tuple[tuple[str, str], ...]

    def happen(self, world: World) -> None:
        if self.kind == "move":
            world.move(self.key, self.quantity, tell=self.tell, is_count=self.seconds > 9)
        elif self.kind == "order":
            world.reserve(self.key, abs(self.quantity))
        elif self.kind == "post":
            world.post(self.key, min(world.deposits[self.key].reserved, abs(self.quantity)))
        elif self.kind == "cancel":
            world.reserve(self.key, -min(world.deposits[self.key].reserved, abs(self.quantity)))
        elif self.kind == "wait":
            world.wait(self.seconds)
        elif self.kind == "deliver":
            world.deliver(self.key)
        elif self.kind == "resolve":
            world.resolve(self.key)
        else:
            meanwhile = {self.key: self.quantity} if self.kind == "race" else {}
            world.settle(self.unread, self.seconds * 0.99, meanwhile, dict(self.answers), self.tell)
        world.wait(0.05)


KINDS = ("move", "move", "move", "order", "post", "cancel", "wait", "deliver", "resolve", "settle", "settle", "race")
CALM_KINDS = ("move", "move", "order", "post", "cancel", "wait", "settle")


@st.composite
def worlds(
    draw: st.DrawFn,
    mode: Mode,
    *,
    plain: bool = False,
    balance: BalanceKind | None = None,
    movements: TargetMovements = TargetMovements.WRITE_BACK,
) -> World:
    deposits: dict[str, Deposit] = {}
    rule = st.just(TargetRule()) if plain else rules
    for n in range(draw(st.integers(1, 2)) if mode is Mode.SUM else 0):
        taker = draw(st.sampled_from([None, 0, 1]))
        deposits[f"principal {n}"] = Deposit(Role.SOURCE, n, draw(small), ACCOUNTS[n], write_back_position=taker)
    for n in range(draw(st.integers(1, 3))):
        deposits[f"compartilhado {n}"] = Deposit(Role.TARGET, n, draw(small), ACCOUNTS[n], rule=draw(rule))
    seed = "compartilhado 0" if mode is Mode.MIRROR else None
    world = World(mode, balance or draw(st.sampled_from(BalanceKind)), deposits, movements, seed)
    world.settle()
    world.wait(WINDOW.total_seconds())
    return world


@st.composite
def stories(draw: st.DrawFn, world: World, kinds: Sequence[str] = KINDS) -> list[Step]:
    keys = st.sampled_from(sorted(world.deposits))
    adverse = kinds is KINDS
    return draw(
        st.lists(
            st.builds(
                Step,
                kind=st.sampled_from(kinds),
                key=keys,
                quantity=st.integers(-5, 5).map(D) | st.just(D("-0.5")),
                tell=st.sampled_from(["now", "now", "later", "never"] if adverse else ["now"]),
                seconds=st.sampled_from([0, 0.5, 3, 10] if adverse else [0]),
                unread=st.frozensets(keys, max_size=1) if adverse else st.just(frozenset()),
                answers=(
                    st.lists(
                        st.tuples(keys, st.sampled_from(["refused", "not_applied", "lost", "lost_before"])), max_size=2
                    ).map(tuple)
                    if adverse
                    else st.just(())
                ),
            ),
            max_size=12,
        )
    )


def shown(world: World, deposit: Deposit) -> Decimal:
    return deposit.physical - (deposit.reserved if world.balance is BalanceKind.VIRTUAL else ZERO)


def assert_targets_obey(world: World, pool: Decimal) -> None:
    virtual = world.balance is BalanceKind.VIRTUAL
    parts = [deposit.physical for deposit in world.deposits.values() if deposit.role is Role.SOURCE]
    parts += [deposit.reserved for deposit in world.deposits.values() if virtual]
    decimals = pool_decimals([*parts, world.level or ZERO])
    for deposit in world.deposits.values():
        if deposit.role is Role.TARGET:
            assert shown(world, deposit) == apply(deposit.rule or TargetRule(), pool, decimals)


def reserved_in(world: World) -> Decimal:
    if world.balance is BalanceKind.PHYSICAL:
        return ZERO
    return sum((deposit.reserved for deposit in world.deposits.values()), ZERO)


class TestEveryStory:
    """Lost, late and doubled events, stale readings, accounts that are away, refused and doubtful writes included."""

    @given(worlds(Mode.SUM), st.data())
    def test_leaves_in_the_sources_what_they_had_and_every_movement_since(
        self, world: World, data: st.DataObject
    ) -> None:
        had = world.physical(Role.SOURCE)

        for step in data.draw(stories(world)):
            step.happen(world)
        world.come_to_rest()

        assert world.owed == 0
        assert world.physical(Role.SOURCE) == had + world.moved
        assert_targets_obey(world, had + world.moved - reserved_in(world))

    @given(worlds(Mode.MIRROR), st.data())
    def test_leaves_a_mirror_at_its_seed_and_every_movement_since(self, world: World, data: st.DataObject) -> None:
        had = world.level
        assert had is not None
        assert had == world.deposits["compartilhado 0"].baseline

        for step in data.draw(stories(world)):
            step.happen(world)
        world.come_to_rest()

        assert world.level == had + world.moved
        assert_targets_obey(world, had + world.moved - reserved_in(world))

    @given(st.sampled_from(Mode), st.data())
    def test_leaves_out_of_the_pool_what_moved_on_targets_that_are_overwritten(
        self, mode: Mode, data: st.DataObject
    ) -> None:
        world = data.draw(worlds(mode, movements=TargetMovements.OVERWRITE))
        had = world.level if mode is Mode.MIRROR else world.physical(Role.SOURCE)
        assert had is not None

        for step in data.draw(stories(world)):
            step.happen(world)
        world.come_to_rest()

        moved = sum((world.booked[key] for key, one in world.deposits.items() if one.role is Role.SOURCE), ZERO)
        assert (world.level if mode is Mode.MIRROR else world.physical(Role.SOURCE)) == had + moved
        assert world.owed == 0
        assert_targets_obey(world, had + moved - reserved_in(world))

    @given(st.sampled_from(Mode).flatmap(worlds), st.data())
    def test_books_for_each_cell_exactly_what_others_moved_there(self, world: World, data: st.DataObject) -> None:
        for step in data.draw(stories(world)):
            step.happen(world)
        world.come_to_rest()

        assert sum(world.booked.values(), ZERO) == world.moved
        for deposit in world.deposits.values():
            assert deposit.book is not None
            assert deposit.book.accounted == deposit.physical

    @given(st.sampled_from(Mode).flatmap(worlds), st.data())
    def test_ends_and_settling_once_more_changes_nothing(self, world: World, data: st.DataObject) -> None:
        for step in data.draw(stories(world)):
            step.happen(world)
        world.come_to_rest()
        before = {key: deposit.physical for key, deposit in world.deposits.items()}

        plan = world.settle()

        assert (plan.wishes, plan.held, plan.again_at, plan.has_news) == ((), {}, None, False)
        assert {key: deposit.physical for key, deposit in world.deposits.items()} == before

    @given(worlds(Mode.SUM, plain=True, balance=BalanceKind.PHYSICAL), st.data())
    def test_never_writes_a_source_except_to_give_it_what_targets_moved(
        self, world: World, data: st.DataObject
    ) -> None:
        for step in data.draw(stories(world)):
            step.happen(world)
            for deposit in world.deposits.values():
                if deposit.role is Role.SOURCE:
                    assert deposit.open_write is None or deposit.open_write.purpose is Purpose.WRITE_BACK


class TestACalmStory:
    """Every event comes and every reading is fresh: one settling is enough, whatever happened before it."""

    @given(st.sampled_from(Mode).flatmap(worlds), st.data())
    def test_is_right_after_one_settling(self, world: World, data: st.DataObject) -> None:
        had = world.level if world.mode is Mode.MIRROR else world.physical(Role.SOURCE)
        assert had is not None
        for step in data.draw(stories(world, CALM_KINDS)):
            step.happen(world)

        world.settle()

        assert_targets_obey(world, had + world.moved - reserved_in(world))
        assert world.mode is Mode.MIRROR or world.physical(Role.SOURCE) == had + world.moved

    @given(st.sampled_from(Mode).flatmap(worlds), st.data())
    def test_never_takes_an_event_of_our_own_write_for_a_movement(self, world: World, data: st.DataObject) -> None:
        for step in data.draw(stories(world, CALM_KINDS)):
            step.happen(world)
        world.settle()
        before = dict(world.booked)

        plan = world.settle()

        assert world.booked == before
        assert plan.wishes == ()
        assert plan.again_at is None

    @given(worlds(Mode.SUM, plain=True, balance=BalanceKind.VIRTUAL), small.map(abs), st.data())
    def test_counts_an_order_once_from_its_opening_to_its_end(
        self, world: World, ordered: Decimal, data: st.DataObject
    ) -> None:
        had = world.physical(Role.SOURCE)
        key = data.draw(st.sampled_from(sorted(world.deposits)))

        world.reserve(key, ordered)
        opened = world.settle().available
        world.wait(0.5)
        is_posted = data.draw(st.booleans())
        if is_posted:
            world.post(key, ordered)
        else:
            world.reserve(key, -ordered)
        ended = world.settle().available

        assert opened == had - ordered
        assert ended == (had - ordered if is_posted else had)
        world.come_to_rest()
        assert world.physical(Role.SOURCE) == (had - ordered if is_posted else had)
