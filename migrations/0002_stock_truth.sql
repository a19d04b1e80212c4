-- Unknown outcomes: what settled them, or the balance that left them undecided, and who decided.
ALTER TABLE stock_write ADD COLUMN evidence TEXT;
ALTER TABLE stock_write ADD COLUMN found BIGINT;
ALTER TABLE stock_write ADD COLUMN found_at BIGINT;
ALTER TABLE stock_write ADD COLUMN found_until BIGINT;
ALTER TABLE stock_write ADD COLUMN decided_by TEXT REFERENCES users (id) ON DELETE SET NULL;
ALTER TABLE stock_write ADD COLUMN decided_at BIGINT;
CREATE INDEX IF NOT EXISTS stock_write_undecided ON stock_write (organization_id, id) WHERE evidence = 'smaller_pool';
-- A movement that corrects an earlier one, once it is known what became of this write.
ALTER TABLE movement ADD COLUMN write_id TEXT;
-- What the last look left open in a cell, so that a number can be derived from the books alone.
ALTER TABLE cell ADD COLUMN put_off BIGINT;
ALTER TABLE cell ADD COLUMN put_off_until BIGINT;
ALTER TABLE cell ADD COLUMN doubt BIGINT;
-- The page of one SKU.
CREATE INDEX IF NOT EXISTS event_sku ON event (organization_id, sku, id);
CREATE INDEX IF NOT EXISTS pool_sku ON pool (organization_id, sku);
-- Undoing: which run undoes what, and which writes an item of it takes back.
ALTER TABLE run ADD COLUMN undoes TEXT;
ALTER TABLE run ADD COLUMN undoes_run_id TEXT REFERENCES run (id) ON DELETE SET NULL;
ALTER TABLE stock_write ADD COLUMN undo_item_id TEXT;
CREATE INDEX IF NOT EXISTS stock_write_item ON stock_write (item_id);
CREATE INDEX IF NOT EXISTS stock_write_undo ON stock_write (undo_item_id) WHERE undo_item_id IS NOT NULL;
-- Guards: what a run would lower, and who decided about it.
ALTER TABLE run ADD COLUMN guard TEXT;
ALTER TABLE run ADD COLUMN decision TEXT;
ALTER TABLE run ADD COLUMN decided_by TEXT REFERENCES users (id) ON DELETE SET NULL;
ALTER TABLE run ADD COLUMN decided_at BIGINT;
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
-- Cells whose product or deposit left the pool: their history stays, their books are over.
ALTER TABLE cell ADD COLUMN left_at BIGINT;
-- What an item of a run moved, for its page.
CREATE INDEX IF NOT EXISTS movement_item ON movement (item_id);
-- Reservations have a settle window of their own.
ALTER TABLE cell ADD COLUMN reserved_at BIGINT;
ALTER TABLE cell ADD COLUMN reserved_before BIGINT;
-- What a SKU looks like, so that look-alikes are found without reading every product; filled in by the next refresh.
ALTER TABLE product ADD COLUMN sku_key TEXT;
CREATE INDEX IF NOT EXISTS product_sku_key ON product (organization_id, sku_key);
