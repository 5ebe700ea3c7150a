"""The tables, as a list of migrations that only ever grows.

`MIGRATIONS[n]` brings a data directory from schema version n to n + 1. A released entry is never
edited: a change is a new entry.
"""

_ACCOUNTS = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE api_key (
    id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, hint TEXT NOT NULL, entity TEXT NOT NULL,
    label TEXT NOT NULL DEFAULT '', created_at REAL NOT NULL, revoked_at REAL);
CREATE TABLE project (
    id INTEGER PRIMARY KEY, entity TEXT NOT NULL, name TEXT NOT NULL, description TEXT,
    access TEXT, views TEXT, run_counter INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL, updated_at REAL NOT NULL, UNIQUE (entity, name));
"""

_SWEEPS = """
CREATE TABLE sweep (
    id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    name TEXT NOT NULL UNIQUE, display_name TEXT, description TEXT, config TEXT NOT NULL,
    state TEXT NOT NULL, controller TEXT, scheduler TEXT, prior_runs_filters TEXT,
    next_index INTEGER NOT NULL DEFAULT 0, exhausted INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL, updated_at REAL NOT NULL, heartbeat_at REAL);
CREATE INDEX sweep_of_project ON sweep (project_id);
CREATE TABLE agent (
    id INTEGER PRIMARY KEY, sweep_id INTEGER NOT NULL REFERENCES sweep ON DELETE CASCADE,
    name TEXT NOT NULL UNIQUE, host TEXT NOT NULL, state TEXT NOT NULL,
    created_at REAL NOT NULL, heartbeat_at REAL NOT NULL);
CREATE INDEX agent_of_sweep ON agent (sweep_id);
-- One row per grid point (or per proposal of random and bayes), which keeps its run id for life.
CREATE TABLE point (
    id INTEGER PRIMARY KEY, sweep_id INTEGER NOT NULL REFERENCES sweep ON DELETE CASCADE,
    run_name TEXT NOT NULL, config TEXT NOT NULL, digest TEXT NOT NULL, display_name TEXT,
    status TEXT NOT NULL CHECK (status IN ('open', 'claimed', 'done')),
    attempts INTEGER NOT NULL DEFAULT 0, preemptions INTEGER NOT NULL DEFAULT 0,
    agent_id INTEGER REFERENCES agent ON DELETE SET NULL,
    claimed_at REAL, seen_at REAL, gone_at REAL, lease_until REAL,
    UNIQUE (sweep_id, run_name));
CREATE INDEX point_by_status ON point (sweep_id, status);
CREATE INDEX point_by_digest ON point (sweep_id, digest);
CREATE INDEX point_by_agent ON point (agent_id, status);
CREATE INDEX point_by_run ON point (run_name);
"""

_RUNS = """
CREATE TABLE run (
    id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    name TEXT NOT NULL, sweep_id INTEGER REFERENCES sweep ON DELETE SET NULL,
    agent_id INTEGER REFERENCES agent ON DELETE SET NULL,
    state TEXT NOT NULL, display_name TEXT NOT NULL, description TEXT, notes TEXT,
    group_name TEXT, job_type TEXT, commit_hash TEXT, host TEXT, program TEXT, repo TEXT,
    config TEXT NOT NULL DEFAULT '{}', summary TEXT NOT NULL DEFAULT '{}',
    system_metrics TEXT NOT NULL DEFAULT '{}', tags TEXT NOT NULL DEFAULT '[]',
    exit_code INTEGER, stop_requested TEXT, preempting INTEGER NOT NULL DEFAULT 0,
    initialised INTEGER NOT NULL DEFAULT 0,
    history_lines INTEGER NOT NULL DEFAULT 0, event_lines INTEGER NOT NULL DEFAULT 0,
    log_lines INTEGER NOT NULL DEFAULT 0, revision INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL, updated_at REAL NOT NULL, heartbeat_at REAL NOT NULL,
    finished_at REAL, UNIQUE (project_id, name));
-- Runs from before the sweep began: grid leaves their points out, bayes learns from them.
CREATE TABLE prior_run (
    sweep_id INTEGER NOT NULL REFERENCES sweep ON DELETE CASCADE,
    run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, digest TEXT NOT NULL,
    PRIMARY KEY (sweep_id, run_id)) WITHOUT ROWID;
CREATE INDEX run_of_sweep ON run (sweep_id);
CREATE INDEX run_by_state ON run (state, heartbeat_at);
CREATE INDEX run_of_agent ON run (agent_id);
-- The three line streams of a run: 'history', 'events' and 'output'. A line is addressed by its
-- number, so that a repeated part changes nothing.
CREATE TABLE stream_line (
    run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, stream TEXT NOT NULL,
    number INTEGER NOT NULL, step INTEGER, content TEXT NOT NULL,
    PRIMARY KEY (run_id, stream, number)) WITHOUT ROWID;
CREATE INDEX stream_line_by_step ON stream_line (run_id, stream, step);
CREATE TABLE run_file (
    id INTEGER PRIMARY KEY, run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    name TEXT NOT NULL, size INTEGER NOT NULL, md5 TEXT NOT NULL, blob TEXT NOT NULL,
    mimetype TEXT, updated_at REAL NOT NULL, UNIQUE (run_id, name));
CREATE TABLE alert (
    id INTEGER PRIMARY KEY, run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    title TEXT NOT NULL, text TEXT NOT NULL, severity TEXT NOT NULL, created_at REAL NOT NULL);
CREATE INDEX alert_of_run ON alert (run_id);
"""

_ARTIFACTS = """
CREATE TABLE artifact_type (
    id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    name TEXT NOT NULL, description TEXT, created_at REAL NOT NULL, UNIQUE (project_id, name));
CREATE TABLE collection (
    id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    type_id INTEGER NOT NULL REFERENCES artifact_type ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('SEQUENCE', 'PORTFOLIO')), name TEXT NOT NULL,
    description TEXT, client_id TEXT, created_at REAL NOT NULL, updated_at REAL NOT NULL,
    UNIQUE (project_id, name));
CREATE INDEX collection_of_type ON collection (type_id);
CREATE TABLE artifact (
    id INTEGER PRIMARY KEY,
    sequence_id INTEGER NOT NULL REFERENCES collection ON DELETE CASCADE,
    version_index INTEGER, state TEXT NOT NULL, digest TEXT NOT NULL, digest_algorithm TEXT,
    client_id TEXT, description TEXT, metadata TEXT, labels TEXT, history_step INTEGER,
    ttl_seconds INTEGER, size INTEGER NOT NULL DEFAULT 0, file_count INTEGER NOT NULL DEFAULT 0,
    run_id INTEGER REFERENCES run ON DELETE SET NULL, pending_aliases TEXT NOT NULL DEFAULT '[]',
    created_at REAL NOT NULL, updated_at REAL NOT NULL);
CREATE INDEX artifact_of_sequence ON artifact (sequence_id, digest);
CREATE INDEX artifact_by_client ON artifact (client_id);
CREATE INDEX artifact_of_run ON artifact (run_id);
CREATE TABLE membership (
    id INTEGER PRIMARY KEY, collection_id INTEGER NOT NULL REFERENCES collection ON DELETE CASCADE,
    artifact_id INTEGER NOT NULL REFERENCES artifact ON DELETE CASCADE,
    version_index INTEGER NOT NULL, created_at REAL NOT NULL,
    UNIQUE (collection_id, version_index), UNIQUE (collection_id, artifact_id));
CREATE INDEX membership_of_artifact ON membership (artifact_id);
CREATE TABLE alias (
    id INTEGER PRIMARY KEY, collection_id INTEGER NOT NULL REFERENCES collection ON DELETE CASCADE,
    artifact_id INTEGER NOT NULL REFERENCES artifact ON DELETE CASCADE, alias TEXT NOT NULL,
    UNIQUE (collection_id, alias));
CREATE INDEX alias_of_artifact ON alias (artifact_id);
CREATE TABLE tag (
    id INTEGER PRIMARY KEY, owner TEXT NOT NULL, owner_id INTEGER NOT NULL, name TEXT NOT NULL,
    UNIQUE (owner, owner_id, name));
CREATE TABLE manifest (
    id INTEGER PRIMARY KEY, artifact_id INTEGER NOT NULL REFERENCES artifact ON DELETE CASCADE,
    name TEXT NOT NULL, kind TEXT NOT NULL, digest TEXT NOT NULL, blob TEXT,
    size INTEGER NOT NULL DEFAULT 0, UNIQUE (artifact_id, name));
-- What was uploaded for an artifact; which files it consists of is said by its manifest.
CREATE TABLE artifact_upload (
    id INTEGER PRIMARY KEY, artifact_id INTEGER NOT NULL REFERENCES artifact ON DELETE CASCADE,
    name TEXT NOT NULL, md5 TEXT NOT NULL, blob TEXT, size INTEGER NOT NULL DEFAULT 0,
    UNIQUE (artifact_id, name));
CREATE TABLE artifact_file (
    id INTEGER PRIMARY KEY, artifact_id INTEGER NOT NULL REFERENCES artifact ON DELETE CASCADE,
    name TEXT NOT NULL, md5 TEXT NOT NULL, size INTEGER NOT NULL, blob TEXT, reference TEXT,
    UNIQUE (artifact_id, name));
-- Content-addressed within one entity: this is how a file is found again without an upload.
CREATE TABLE blob (
    entity TEXT NOT NULL, md5 TEXT NOT NULL, blob TEXT NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY (entity, md5)) WITHOUT ROWID;
CREATE TABLE artifact_use (
    run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    artifact_id INTEGER NOT NULL REFERENCES artifact ON DELETE CASCADE, used_as TEXT,
    PRIMARY KEY (run_id, artifact_id)) WITHOUT ROWID;
CREATE INDEX use_of_artifact ON artifact_use (artifact_id);
"""

# Runs and versions made by several processes at once, versions given as a change to another, and
# runs that logged a content which was a version already.
_SHARED_WORK = """
CREATE TABLE shared_line (
    run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, stream TEXT NOT NULL,
    writer TEXT NOT NULL, writer_offset INTEGER NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (run_id, stream, writer, writer_offset)) WITHOUT ROWID;
CREATE TABLE artifact_again (
    run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    artifact_id INTEGER NOT NULL REFERENCES artifact ON DELETE CASCADE,
    PRIMARY KEY (run_id, artifact_id)) WITHOUT ROWID;
ALTER TABLE artifact ADD COLUMN distributed_id TEXT;
ALTER TABLE manifest ADD COLUMN base_id INTEGER;
"""

# A point's digest once depended on the form of its numbers (1.0 or 1), a prior run's on its nulls.
_DIGESTS_OF_VALUES = """
UPDATE point SET digest = point_digest(config);
UPDATE prior_run SET digest = prior_digest(
    (SELECT config FROM run WHERE run.id = run_id),
    (SELECT config FROM sweep WHERE sweep.id = sweep_id));
"""

# Ids are never used again: caches, signed addresses, agents and the ledger of `sync` outlive rows.
IDENTIFIED = (
    "project",
    "sweep",
    "agent",
    "point",
    "run",
    "run_file",
    "artifact_type",
    "collection",
    "artifact",
    "membership",
    "manifest",
    "artifact_upload",
)
_IDENTITIES = (
    "CREATE TABLE identity (kind TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;"
    + "".join(
        f"INSERT INTO identity SELECT '{kind}', ifnull(max(id), 0) FROM {kind};"
        for kind in IDENTIFIED
    )
)

# Runs that a person has deleted on a page and may still bring back.
_DELETED_RUNS = """
CREATE TABLE deleted_run (
    run_id INTEGER PRIMARY KEY REFERENCES run ON DELETE CASCADE, due_at REAL NOT NULL);
"""

# Lines go after their run, in slices: a million of them would hold the database for seconds. The
# constraint is dropped as https://sqlite.org/lang_altertable.html describes, without a copy.
_LINES_OUTLIVE_RUNS = """
CREATE TABLE gone_run (run_id INTEGER PRIMARY KEY);
CREATE TRIGGER run_is_gone AFTER DELETE ON run
    BEGIN INSERT OR IGNORE INTO gone_run VALUES (old.id); END;
PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET sql = replace(sql, ' REFERENCES run ON DELETE CASCADE', '')
    WHERE type = 'table' AND name = 'stream_line';
PRAGMA writable_schema=RESET;
"""

MIGRATIONS: tuple[str, ...] = (
    _ACCOUNTS + _SWEEPS + _RUNS + _ARTIFACTS,
    _SHARED_WORK,
    _DIGESTS_OF_VALUES,
    _IDENTITIES,
    _DELETED_RUNS,
    _LINES_OUTLIVE_RUNS,
)
