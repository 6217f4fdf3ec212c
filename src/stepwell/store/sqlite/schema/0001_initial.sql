-- Which of these files have been applied.
CREATE TABLE stepwell_schema (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    digest TEXT -- of what was applied
);

-- Where runs of one kind wait. Lanes are never taken away, so a worker may keep them in memory.
CREATE TABLE stepwell_lanes (
    id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    workflow TEXT NOT NULL,
    version TEXT NOT NULL, -- '': the function without a version; '*': not known before the first claim
    UNIQUE (queue, workflow, version)
);

-- Narrow, because every change of a status writes the whole row. Ids grow with time, so their order is that of creation.
CREATE TABLE stepwell_runs (
    id TEXT NOT NULL PRIMARY KEY,
    status TEXT NOT NULL,
    lane INTEGER NOT NULL,
    workflow TEXT NOT NULL,
    version TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    head INTEGER NOT NULL DEFAULT 0, -- of its lane: 0 for new runs, 1 for those that have begun, 2 for suspects
    due REAL, -- waits until then; NULL: for nothing but a worker, or for somebody to act
    worker TEXT,
    claim INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 1,
    news INTEGER NOT NULL DEFAULT 0, -- the number of the newest signal that ever came
    deaf INTEGER NOT NULL DEFAULT 0, -- sleeps out the delay of a retry, and no signal wakes it
    generation INTEGER NOT NULL DEFAULT 0,
    timeout REAL,
    deadline_at REAL,
    created_at REAL NOT NULL,
    available_at REAL NOT NULL,
    started_at REAL,
    begun_at REAL, -- first claimed since it went on as new
    claimed_at REAL, -- the last time: its body was executed from the first line
    claimed_by TEXT, -- by this worker, which need not have it any more
    finished_at REAL,
    key TEXT,
    tags TEXT,
    parent_id TEXT,
    awaited_as TEXT, -- the key of the parent's step that waits for the end of this run; NULL: none does
    forked_from TEXT,
    schedule TEXT,
    scheduled_at REAL,
    preview TEXT NOT NULL, -- the first 120 characters of the input
    progress TEXT,
    output TEXT,
    error TEXT
) WITHOUT ROWID;

-- The order of the claim. What is in here can be claimed now.
CREATE INDEX stepwell_runs_ready ON stepwell_runs (lane, head, priority DESC, id)
    WHERE status = 'pending' AND worker IS NULL AND due IS NULL;
CREATE INDEX stepwell_runs_due ON stepwell_runs (due)
    WHERE worker IS NULL AND due IS NOT NULL AND status IN ('pending', 'sleeping');
CREATE INDEX stepwell_runs_deadline ON stepwell_runs (deadline_at)
    WHERE deadline_at IS NOT NULL AND status IN ('pending', 'running', 'sleeping');
CREATE INDEX stepwell_runs_owned ON stepwell_runs (worker) WHERE worker IS NOT NULL;
CREATE UNIQUE INDEX stepwell_runs_key ON stepwell_runs (workflow, key) WHERE key IS NOT NULL;
CREATE INDEX stepwell_runs_status ON stepwell_runs (status, id);
-- In each status, those that ended first: what was kept long enough is found without a look at what was not.
CREATE INDEX stepwell_runs_finished ON stepwell_runs (status, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX stepwell_runs_workflow ON stepwell_runs (workflow, id);
CREATE INDEX stepwell_runs_schedule ON stepwell_runs (workflow, schedule, scheduled_at) WHERE schedule IS NOT NULL;
CREATE INDEX stepwell_runs_parent ON stepwell_runs (parent_id) WHERE parent_id IS NOT NULL;

-- Apart from the run, so that an input of a megabyte is not written again with each change of a status.
CREATE TABLE stepwell_inputs (
    run TEXT NOT NULL PRIMARY KEY,
    input TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE stepwell_tags (
    tag TEXT NOT NULL,
    run TEXT NOT NULL,
    PRIMARY KEY (tag, run)
) WITHOUT ROWID;

-- What came to pass for a key of a run: written once, delivered in the order of seq.
CREATE TABLE stepwell_outcomes (
    run TEXT NOT NULL,
    key TEXT NOT NULL,
    seq INTEGER NOT NULL,
    asked INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    ok INTEGER NOT NULL,
    value TEXT,
    at REAL NOT NULL,
    mark INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    started_at REAL NOT NULL,
    python INTEGER NOT NULL,
    child TEXT, -- the run that the step has started
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

-- Attempts that did not settle their step.
CREATE TABLE stepwell_attempts (
    run TEXT NOT NULL,
    key TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    asked INTEGER NOT NULL,
    canceled INTEGER NOT NULL,
    error TEXT,
    started_at REAL NOT NULL,
    finished_at REAL NOT NULL,
    due REAL,
    void INTEGER NOT NULL DEFAULT 0, -- taken back by a retry: shown, and counts no more
    PRIMARY KEY (run, key, attempt)
) WITHOUT ROWID;

-- Attempts that take long, for those who look. Of no meaning once the attempt is recorded, or the claim is over.
CREATE TABLE stepwell_started (
    run TEXT NOT NULL,
    key TEXT NOT NULL,
    claim INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    started_at REAL NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

-- What was sent to a run, read or not: which of them the body has read follows from its outcomes.
CREATE TABLE stepwell_signals (
    run TEXT NOT NULL,
    number INTEGER NOT NULL,
    id TEXT NOT NULL, -- by which a second sending of the same is known
    name TEXT NOT NULL,
    payload TEXT NOT NULL,
    sent_at REAL NOT NULL,
    PRIMARY KEY (run, number),
    UNIQUE (run, id)
) WITHOUT ROWID;

CREATE TABLE stepwell_logs (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    after INTEGER NOT NULL,
    scope TEXT NOT NULL,
    n INTEGER NOT NULL,
    at REAL NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    fields TEXT NOT NULL,
    step TEXT,
    UNIQUE (run, after, scope, n)
);

CREATE TABLE stepwell_events (
    id INTEGER PRIMARY KEY,
    run TEXT, -- NULL: of a workflow, a queue, a schedule or a worker
    subject TEXT NOT NULL, -- of a signal, its name; else what it was done to
    at REAL NOT NULL,
    action TEXT NOT NULL,
    actor TEXT
);
CREATE INDEX stepwell_events_run ON stepwell_events (run) WHERE run IS NOT NULL;
CREATE INDEX stepwell_events_subject ON stepwell_events (subject) WHERE run IS NULL;

CREATE TABLE stepwell_definitions (
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    timeout REAL,
    takes_version INTEGER NOT NULL,
    input_schema TEXT NOT NULL,
    output_schema TEXT NOT NULL,
    retry TEXT NOT NULL,
    published_at REAL NOT NULL,
    PRIMARY KEY (name, version)
) WITHOUT ROWID;

CREATE TABLE stepwell_workers (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    queues TEXT, -- NULL: all
    concurrency INTEGER NOT NULL,
    lease REAL NOT NULL,
    serves TEXT NOT NULL,
    declares TEXT, -- what it says of schedules: a digest by workflow
    running INTEGER NOT NULL DEFAULT 0,
    parked INTEGER NOT NULL DEFAULT 0,
    beat INTEGER NOT NULL DEFAULT 0,
    draining INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0,
    socket TEXT,
    started_at REAL NOT NULL,
    beat_at REAL NOT NULL
) WITHOUT ROWID;

-- Runs that somebody else than their worker has acted on.
CREATE TABLE stepwell_notices (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    worker TEXT NOT NULL,
    run TEXT NOT NULL
);
CREATE INDEX stepwell_notices_worker ON stepwell_notices (worker, id);

-- Workflows and queues that are paused as a whole.
CREATE TABLE stepwell_halts (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;

-- What the releases that were started last say of their schedules, and how far each has come. No run refers to it: what is deleted of
-- runs or of records makes no slot fire again.
CREATE TABLE stepwell_schedules (
    workflow TEXT NOT NULL,
    name TEXT NOT NULL,
    release INTEGER NOT NULL, -- the greatest holds
    digest TEXT NOT NULL, -- of all that it says of the workflow
    expression TEXT NOT NULL,
    timezone TEXT NOT NULL,
    overlap TEXT NOT NULL,
    catch_up TEXT NOT NULL,
    jitter REAL,
    input TEXT, -- NULL: a function computes it
    version TEXT NOT NULL, -- of its runs; '': the function without a version
    declared INTEGER NOT NULL, -- whether the release names it
    next_at REAL, -- the first slot that nothing was made of yet
    waiting_at REAL, -- a slot that waits for the end of the last run
    last_at REAL,
    last_run TEXT,
    paused_at REAL,
    paused_by TEXT,
    changed INTEGER NOT NULL, -- when something else was done to it than that it fired, by a count of such deeds
    PRIMARY KEY (workflow, name)
) WITHOUT ROWID;
CREATE INDEX stepwell_schedules_changed ON stepwell_schedules (changed);

-- The number that the newest release was given, in one row. Numbers are never given again, also when nothing is left of what their
-- releases have said.
CREATE TABLE stepwell_releases (
    id INTEGER PRIMARY KEY,
    number INTEGER NOT NULL
);

-- What has become of slots, for those who ask why.
CREATE TABLE stepwell_slots (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    workflow TEXT NOT NULL,
    name TEXT NOT NULL,
    slot REAL NOT NULL,
    until REAL NOT NULL,
    count INTEGER,
    outcome TEXT NOT NULL,
    reason TEXT,
    run TEXT,
    actor TEXT,
    at REAL NOT NULL
);
CREATE INDEX stepwell_slots_schedule ON stepwell_slots (workflow, name, id);
