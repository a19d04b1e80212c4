-- EstoqueUni: the complete current schema, one text for SQLite and PostgreSQL.
--
-- Conventions. Ids are UUIDv7 in 32 hexadecimal characters (sorting by id is sorting by time).
-- Times are BIGINT milliseconds since 1970 in UTC. Quantities are BIGINT millionths of a unit, exact.
-- Booleans are INTEGER 0/1. Every row of a merchant carries organization_id: nothing crosses between them.
-- Bling's own ids are BIGINT and unique only inside one account.

-- One merchant.
CREATE TABLE IF NOT EXISTS organization (
    id TEXT NOT NULL PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    reconcile_every_minutes INTEGER NOT NULL CHECK (reconcile_every_minutes BETWEEN 1 AND 10080),
    next_reconcile_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- People who sign in. An e-mail belongs to one organization.
CREATE TABLE IF NOT EXISTS users (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
    email TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('owner', 'operator', 'reader')),
    password_hash TEXT NOT NULL,
    session_version INTEGER NOT NULL,
    last_login_at BIGINT,
    created_at BIGINT NOT NULL
);

-- One Bling company of the merchant. Secrets are Fernet tokens bound to the row's id.
-- refresh_lease: one refresh of the rotating token at a time over all processes.
-- imported_digest: what a setup file last brought, so that repeating it never restores old tokens.
CREATE TABLE IF NOT EXISTS account (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('connected', 'paused', 'reconnect', 'disconnected')),
    state_reason TEXT,
    company_id TEXT,
    company_name TEXT,
    company_cnpj TEXT,
    webhook_key TEXT UNIQUE,
    client_id TEXT,
    client_secret_sealed TEXT,
    access_token_sealed TEXT,
    refresh_token_sealed TEXT,
    token_expires_at BIGINT,
    token_lifetime_s INTEGER,
    refresh_lease TEXT,
    refresh_lease_until BIGINT,
    imported_digest TEXT,
    last_event_at BIGINT,
    last_error TEXT,
    last_error_at BIGINT,
    catalog_at BIGINT,
    created_at BIGINT NOT NULL,
    UNIQUE (organization_id, key)
);
-- A company is connected once in the whole installation; a disconnected row lets go of it.
CREATE UNIQUE INDEX IF NOT EXISTS account_company ON account (company_id) WHERE state <> 'disconnected';

-- A started consent: single use, bound to the session and the organization that started it.
CREATE TABLE IF NOT EXISTS oauth_state (
    state_digest TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    session_digest TEXT NOT NULL,
    account_id TEXT REFERENCES account (id) ON DELETE CASCADE,
    account_name TEXT NOT NULL,
    client_id TEXT,
    client_secret_sealed TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);

CREATE TABLE IF NOT EXISTS deposit (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    bling_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    is_default INTEGER NOT NULL CHECK (is_default IN (0, 1)),
    ignores_balance INTEGER NOT NULL CHECK (ignores_balance IN (0, 1)),
    UNIQUE (account_id, bling_id)
);

-- The catalogue of each account. balance_filter: the filtroSaldoEstoque that last found it (a hint that saves calls).
-- last_event_id: the newest product event applied, so that an older one that comes late changes nothing.
-- sku_key: what the SKU looks like (core/lookalikes.py), so that look-alikes are found without reading every product.
CREATE TABLE IF NOT EXISTS product (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    bling_id BIGINT NOT NULL,
    sku TEXT NOT NULL,
    name TEXT NOT NULL,
    format TEXT NOT NULL CHECK (format IN ('simple', 'parent', 'composition')),
    situation TEXT NOT NULL CHECK (situation IN ('active', 'inactive', 'deleted')),
    parent_bling_id BIGINT,
    balance_filter INTEGER NOT NULL CHECK (balance_filter IN (0, 1, 2)),
    last_event_id TEXT,
    sku_key TEXT,
    UNIQUE (account_id, bling_id)
);
CREATE INDEX IF NOT EXISTS product_sku_key ON product (organization_id, sku_key);
CREATE INDEX IF NOT EXISTS product_sku ON product (organization_id, sku);
CREATE INDEX IF NOT EXISTS product_account_sku ON product (account_id, sku);

-- One stock rule: these deposits are sources, those are targets.
CREATE TABLE IF NOT EXISTS stock_group (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('sum', 'mirror')),
    balance TEXT NOT NULL CHECK (balance IN ('physical', 'virtual')),
    target_movements TEXT NOT NULL CHECK (target_movements IN ('write_back', 'overwrite')),
    seed_deposit_id TEXT REFERENCES deposit (id),
    guard_min_skus INTEGER NOT NULL CHECK (guard_min_skus >= 0),
    guard_percent BIGINT NOT NULL CHECK (guard_percent BETWEEN 0 AND 100000000),
    is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    activated_at BIGINT,
    activated_by TEXT REFERENCES users (id) ON DELETE SET NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (organization_id, key)
);

-- A deposit's place in a rule. write_back_position: order of preference for movements made on targets.
CREATE TABLE IF NOT EXISTS group_deposit (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
    group_id TEXT NOT NULL REFERENCES stock_group (id) ON DELETE CASCADE,
    deposit_id TEXT NOT NULL REFERENCES deposit (id),
    role TEXT NOT NULL CHECK (role IN ('source', 'target')),
    position INTEGER NOT NULL,
    write_back_position INTEGER,
    reserve BIGINT,
    percent BIGINT,
    max BIGINT,
    stop_at BIGINT,
    UNIQUE (group_id, deposit_id)
);

-- Exceptions for one SKU, in every target of the group (deposit_id NULL) or in one.
CREATE TABLE IF NOT EXISTS sku_override (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
    group_id TEXT NOT NULL REFERENCES stock_group (id) ON DELETE CASCADE,
    sku TEXT NOT NULL,
    deposit_id TEXT REFERENCES deposit (id),
    reserve BIGINT,
    percent BIGINT,
    max BIGINT,
    stop_at BIGINT,
    is_ignored INTEGER NOT NULL CHECK (is_ignored IN (0, 1))
);
CREATE INDEX IF NOT EXISTS sku_override_sku ON sku_override (group_id, sku);

-- The books, per group and SKU. owed: movements on targets that no source has taken yet (mode sum).
-- level: the pool itself (mode mirror). available: A as last worked out, with what led to it.
CREATE TABLE IF NOT EXISTS pool (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
    group_id TEXT NOT NULL REFERENCES stock_group (id) ON DELETE CASCADE,
    sku TEXT NOT NULL,
    owed BIGINT NOT NULL,
    level BIGINT,
    available BIGINT,
    problem TEXT,
    settled_at BIGINT,
    UNIQUE (group_id, sku)
);
CREATE INDEX IF NOT EXISTS pool_sku ON pool (organization_id, sku);

-- The books, per (product, deposit) of a group. accounted: the physical balance already explained.
-- changed_at: its last known change, ours or somebody else's; the settle window counts from it.
-- put_off, put_off_until: a difference seen by the last look that may be an old balance, and when it is looked at again.
-- doubt: what the last look took off the pool for it, or for a write of unknown outcome; never positive.
-- reserved_at, reserved_before: when the reservations last changed, and what they were before.
-- left_at: since when its product or deposit is out of the pool. The row stays for its history; what its books say is
-- over, and when it comes back it starts with the balance found then.
CREATE TABLE IF NOT EXISTS cell (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
    pool_id TEXT NOT NULL REFERENCES pool (id) ON DELETE CASCADE,
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    product_id TEXT NOT NULL REFERENCES product (id),
    deposit_id TEXT NOT NULL REFERENCES deposit (id),
    accounted BIGINT NOT NULL,
    reserved BIGINT NOT NULL,
    baseline BIGINT NOT NULL,
    baseline_at BIGINT NOT NULL,
    read_at BIGINT NOT NULL,
    changed_at BIGINT,
    problem TEXT,
    put_off BIGINT,
    put_off_until BIGINT,
    doubt BIGINT,
    left_at BIGINT,
    reserved_at BIGINT,
    reserved_before BIGINT,
    UNIQUE (pool_id, product_id, deposit_id)
);
CREATE INDEX IF NOT EXISTS cell_place ON cell (product_id, deposit_id);

-- What Bling said, exactly as it came. dedup_key: scope, company and event id, or a digest of an unreadable body.
CREATE TABLE IF NOT EXISTS event (
    id TEXT NOT NULL PRIMARY KEY,
    dedup_key TEXT NOT NULL UNIQUE,
    organization_id TEXT REFERENCES organization (id) ON DELETE CASCADE,
    account_id TEXT REFERENCES account (id) ON DELETE CASCADE,
    company_id TEXT,
    bling_event_id TEXT,
    kind TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'processed', 'echo', 'kept', 'ignored', 'unreadable', 'failed')),
    reason TEXT,
    received_at BIGINT NOT NULL,
    happened_at BIGINT,
    sku TEXT,
    product_bling_id BIGINT,
    deposit_bling_id BIGINT,
    quantity BIGINT,
    physical_after BIGINT,
    virtual_after BIGINT,
    attempts INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS event_pending ON event (organization_id, id) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS event_pending_sku ON event (organization_id, sku) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS event_account ON event (account_id, id);
CREATE INDEX IF NOT EXISTS event_sku ON event (organization_id, sku, id);

-- SKUs to be settled: rows, not queue entries. version grows with every mark, so a SKU that becomes dirty
-- while it is being settled is settled again. needs_look: something other than a judgeable event asked for it.
CREATE TABLE IF NOT EXISTS dirty_sku (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
    sku TEXT NOT NULL,
    version INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    needs_look INTEGER NOT NULL CHECK (needs_look IN (0, 1)),
    marked_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    attempts INTEGER NOT NULL,
    lease TEXT,
    lease_until BIGINT,
    UNIQUE (organization_id, sku)
);
CREATE INDEX IF NOT EXISTS dirty_sku_due ON dirty_sku (organization_id, priority, due_at);

-- One synchronization: what a webhook, the clock or a person set going. cursor: how far a full check has come.
-- Of the SKUs considered: unchanged; unannounced, which differed though no event had told; unread, in part at least.
-- undoes: what a run that undoes was asked to take back (JSON); undoes_run_id: the run, where it was one.
-- guard: the groups of which it would lower too much, as it was counted; decision: approved, discarded or superseded.
CREATE TABLE IF NOT EXISTS run (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
    type TEXT NOT NULL CHECK (type IN ('webhook', 'cron', 'manual')),
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'ok', 'partial', 'failed', 'held', 'skipped')),
    scope TEXT NOT NULL CHECK (scope IN ('all', 'skus')),
    account_id TEXT REFERENCES account (id) ON DELETE SET NULL,
    event_id TEXT REFERENCES event (id) ON DELETE SET NULL,
    user_id TEXT REFERENCES users (id) ON DELETE SET NULL,
    reason TEXT,
    cursor TEXT,
    considered INTEGER NOT NULL,
    unchanged INTEGER NOT NULL,
    unannounced INTEGER NOT NULL,
    unread INTEGER NOT NULL,
    total INTEGER,
    lease TEXT,
    lease_until BIGINT,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    undoes TEXT,
    undoes_run_id TEXT REFERENCES run (id) ON DELETE SET NULL,
    guard TEXT,
    decision TEXT,
    decided_by TEXT REFERENCES users (id) ON DELETE SET NULL,
    decided_at BIGINT
);
CREATE INDEX IF NOT EXISTS run_history ON run (organization_id, id);
CREATE INDEX IF NOT EXISTS run_open ON run (organization_id, type) WHERE finished_at IS NULL;

-- What a run did with one SKU of one group. explanation: the derivation of the number, as it was decided.
CREATE TABLE IF NOT EXISTS run_item (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
    run_id TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    group_id TEXT REFERENCES stock_group (id) ON DELETE SET NULL,
    sku TEXT NOT NULL,
    product_name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'ok', 'unchanged', 'partial', 'retry', 'failed',
                                           'skipped', 'missing', 'dup', 'held', 'review')),
    error TEXT,
    available BIGINT,
    explanation TEXT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX IF NOT EXISTS run_item_run ON run_item (run_id, id);
CREATE INDEX IF NOT EXISTS run_item_sku ON run_item (organization_id, sku, id);
CREATE INDEX IF NOT EXISTS run_item_open ON run_item (organization_id, sku) WHERE finished_at IS NULL;

-- Before and after, per deposit that a run item touched. movement: others' doing; written: ours.
CREATE TABLE IF NOT EXISTS item_deposit (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
    item_id TEXT NOT NULL REFERENCES run_item (id) ON DELETE CASCADE,
    cell_id TEXT REFERENCES cell (id) ON DELETE SET NULL,
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    deposit_id TEXT NOT NULL REFERENCES deposit (id),
    role TEXT NOT NULL CHECK (role IN ('source', 'target')),
    before BIGINT NOT NULL,
    movement BIGINT NOT NULL,
    written BIGINT NOT NULL,
    after BIGINT NOT NULL,
    wanted BIGINT,
    error TEXT,
    UNIQUE (item_id, deposit_id)
);

-- What a run would lower, as it was read before anything was marked to be settled: what whoever decides gets to see.
CREATE TABLE IF NOT EXISTS item_drop (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
    item_id TEXT NOT NULL REFERENCES run_item (id) ON DELETE CASCADE,
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    deposit_id TEXT NOT NULL REFERENCES deposit (id),
    before BIGINT NOT NULL,
    after BIGINT NOT NULL,
    is_zeroed INTEGER NOT NULL CHECK (is_zeroed IN (0, 1)),
    read_at BIGINT NOT NULL,
    UNIQUE (item_id, deposit_id)
);

-- A change of a balance that we did not make, as it was booked. evidence: the chain of events, or the level alone.
-- write_id: it corrects an earlier one, once it was known what became of this write.
CREATE TABLE IF NOT EXISTS movement (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
    cell_id TEXT NOT NULL REFERENCES cell (id) ON DELETE CASCADE,
    item_id TEXT REFERENCES run_item (id) ON DELETE SET NULL,
    event_id TEXT REFERENCES event (id) ON DELETE SET NULL,
    quantity BIGINT NOT NULL,
    before BIGINT NOT NULL,
    after BIGINT NOT NULL,
    evidence TEXT NOT NULL CHECK (evidence IN ('chain', 'level')),
    booked_at BIGINT NOT NULL,
    write_id TEXT
);
CREATE INDEX IF NOT EXISTS movement_cell ON movement (cell_id, id);
CREATE INDEX IF NOT EXISTS movement_item ON movement (item_id);

-- One POST /estoques of ours: the intent is committed before the call leaves.
-- evidence: what settled an outcome that was not known. found: the balance that left it undecided, for the person who
-- decides (decided_by, decided_at); asked for at found_at, told by found_until. undo_item_id: the run_item that undoes
-- this write, or did.
CREATE TABLE IF NOT EXISTS stock_write (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
    cell_id TEXT NOT NULL REFERENCES cell (id) ON DELETE CASCADE,
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    product_id TEXT NOT NULL REFERENCES product (id),
    deposit_id TEXT NOT NULL REFERENCES deposit (id),
    item_id TEXT REFERENCES run_item (id) ON DELETE SET NULL,
    purpose TEXT NOT NULL CHECK (purpose IN ('target', 'write_back')),
    quantity BIGINT NOT NULL CHECK (quantity <> 0),
    before BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('planned', 'sending', 'confirmed', 'rejected', 'unknown', 'cancelled')),
    note TEXT,
    lease TEXT NOT NULL,
    bling_id BIGINT,
    error TEXT,
    attempts INTEGER NOT NULL,
    is_echoed INTEGER NOT NULL CHECK (is_echoed IN (0, 1)),
    planned_at BIGINT NOT NULL,
    sent_at BIGINT,
    ended_at BIGINT,
    evidence TEXT,
    found BIGINT,
    found_at BIGINT,
    found_until BIGINT,
    decided_by TEXT REFERENCES users (id) ON DELETE SET NULL,
    decided_at BIGINT,
    undo_item_id TEXT
);
-- At most one open write per place: the index says so, not only a lock.
CREATE UNIQUE INDEX IF NOT EXISTS stock_write_open ON stock_write (product_id, deposit_id)
    WHERE state IN ('planned', 'sending', 'unknown');
CREATE INDEX IF NOT EXISTS stock_write_cell ON stock_write (cell_id, id);
CREATE INDEX IF NOT EXISTS stock_write_item ON stock_write (item_id);
CREATE INDEX IF NOT EXISTS stock_write_undo ON stock_write (undo_item_id) WHERE undo_item_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS stock_write_undecided ON stock_write (organization_id, id) WHERE evidence = 'smaller_pool';
CREATE INDEX IF NOT EXISTS stock_write_state ON stock_write (organization_id, state)
    WHERE state IN ('planned', 'sending', 'unknown');

-- Which numbered migrations have run.
CREATE TABLE IF NOT EXISTS schema_migration (
    version INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at BIGINT NOT NULL
);
