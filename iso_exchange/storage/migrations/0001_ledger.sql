-- The ledger. Text that is compared or sorted is COLLATE "C": order by code point on any server.
-- entries, documents and transfers are append-only: triggers refuse everything but INSERT.

CREATE TABLE meta (
    key   text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);
COMMENT ON TABLE meta IS 'What this ledger is: origin, created_with.';

CREATE TABLE tree_state (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch    bigint NOT NULL CHECK (epoch >= 0),
    size     bigint NOT NULL CHECK (size >= 0),
    root     bytea  NOT NULL CHECK (octet_length(root) = 32)
) WITH (fillfactor = 10);
COMMENT ON TABLE tree_state IS 'Head of the log; every commit compares and swaps it.';

-- The root of the empty tree is SHA-256 of nothing (RFC 6962, 2.1).
INSERT INTO tree_state (epoch, size, root) VALUES (
    0, 0, '\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
);

CREATE TABLE published (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    size       bigint NOT NULL CHECK (size >= 0),
    checkpoint bytea  NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE published IS 'Last signed checkpoint that readers may have seen.';

CREATE TABLE entries (
    index       bigint PRIMARY KEY CHECK (index >= 0),
    kind        text    NOT NULL COLLATE "C" CHECK (kind <> ''),
    time_us     bigint  NOT NULL,
    leaf        bytea   NOT NULL CHECK (octet_length(leaf) <= 32768),
    leaf_hash   bytea   NOT NULL CHECK (octet_length(leaf_hash) = 32),
    envelope    bytea,
    salt        bytea   NOT NULL CHECK (octet_length(salt) IN (0, 32)),
    owners      text[]  NOT NULL,
    principal   text    NOT NULL COLLATE "C",
    request_id  text    NOT NULL COLLATE "C",
    body_sha256 bytea   NOT NULL CHECK (octet_length(body_sha256) = 32),
    reply       bytea   NOT NULL,
    documents   bytea[] NOT NULL,
    CONSTRAINT entries_request UNIQUE (principal, request_id)
);
COMMENT ON COLUMN entries.envelope IS 'NULL when it equals the leaf (public kinds).';
-- Signed bytes hardly compress: do not try.
ALTER TABLE entries ALTER COLUMN leaf SET STORAGE EXTERNAL;
ALTER TABLE entries ALTER COLUMN envelope SET STORAGE EXTERNAL;

CREATE TABLE documents (
    sha256 bytea   PRIMARY KEY CHECK (octet_length(sha256) = 32),
    kind   text    NOT NULL COLLATE "C" CHECK (kind <> ''),
    public boolean NOT NULL,
    owners text[]  NOT NULL,
    body   bytea   NOT NULL
);
CREATE INDEX documents_kind ON documents (kind, sha256);

-- numeric(38, 0): sums over a grid's lifetime outgrow bigint in TFLOP.
CREATE TABLE transfers (
    entry_index    bigint         NOT NULL CHECK (entry_index >= 0),
    position       integer        NOT NULL CHECK (position >= 0),
    transfer_id    text           NOT NULL COLLATE "C" CHECK (transfer_id <> ''),
    asset          text           NOT NULL COLLATE "C" CHECK (asset <> ''),
    debit          text           NOT NULL COLLATE "C",
    credit         text           NOT NULL COLLATE "C",
    amount         numeric(38, 0) NOT NULL CHECK (amount >= 0),
    applied        numeric(38, 0) NOT NULL CHECK (applied >= 0),
    phase          text           NOT NULL COLLATE "C" CHECK (phase <> ''),
    code           text           NOT NULL COLLATE "C" CHECK (code <> ''),
    pending_id     text           NOT NULL COLLATE "C",
    reason         text           NOT NULL COLLATE "C",
    contract_id    text           NOT NULL COLLATE "C",
    interval_start bigint         NOT NULL,
    quantity       numeric(38, 0) NOT NULL,
    price          bigint         NOT NULL,
    corrects       text           NOT NULL COLLATE "C",
    PRIMARY KEY (entry_index, position),
    CONSTRAINT transfers_id UNIQUE (transfer_id)
);
CREATE INDEX transfers_debit ON transfers (debit, entry_index, position);
CREATE INDEX transfers_credit ON transfers (credit, entry_index, position);

CREATE TABLE balances (
    asset          text           NOT NULL COLLATE "C" CHECK (asset <> ''),
    account        text           NOT NULL COLLATE "C",
    posted         numeric(38, 0) NOT NULL,
    pending_debit  numeric(38, 0) NOT NULL CHECK (pending_debit >= 0),
    pending_credit numeric(38, 0) NOT NULL CHECK (pending_credit >= 0),
    PRIMARY KEY (asset, account)
) WITH (fillfactor = 50); -- room for updates in place: no index holds an amount
CREATE INDEX balances_account ON balances (account, asset);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER documents_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON documents
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transfers_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON transfers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- ALWAYS: session_replication_role = replica does not switch them off.
ALTER TABLE entries ENABLE ALWAYS TRIGGER entries_append_only;
ALTER TABLE documents ENABLE ALWAYS TRIGGER documents_append_only;
ALTER TABLE transfers ENABLE ALWAYS TRIGGER transfers_append_only;
