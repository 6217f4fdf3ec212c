CREATE SCHEMA IF NOT EXISTS stepwell;

-- Which of these files have been applied.
CREATE TABLE stepwell.schema (
    number integer PRIMARY KEY,
    name text NOT NULL,
    digest text -- of what was applied
);

-- By which a connection of somebody else's is known to lead here.
CREATE TABLE stepwell.identity (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid()
);
INSERT INTO stepwell.identity DEFAULT VALUES;

-- Where runs of one kind wait. Lanes are never taken away, so a worker may keep them in memory.
CREATE TABLE stepwell.lanes (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue text NOT NULL,
    workflow text NOT NULL,
    version text NOT NULL, -- '': the function without a version; '*': not known before the first claim
    UNIQUE (queue, workflow, version)
);

-- Narrow, because every change of a status writes the whole row. Ids grow with time, so their order is that of creation.
-- Texts that are sorted by are sorted by their bytes, as everywhere else here; instants are seconds since 1970.
CREATE TABLE stepwell.runs (
    id text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    lane integer NOT NULL,
    workflow text COLLATE "C" NOT NULL,
    version text NOT NULL,
    queue text NOT NULL,
    priority integer NOT NULL,
    head smallint NOT NULL DEFAULT 0, -- of its lane: 0 for new runs, 1 for those that have begun, 2 for suspects
    due float8, -- waits until then; NULL: for nothing but a worker, or for somebody to act
    worker text COLLATE "C",
    claim integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    attempt integer NOT NULL DEFAULT 1,
    news bigint NOT NULL DEFAULT 0, -- the number of the newest signal that ever came
    deaf boolean NOT NULL DEFAULT false, -- sleeps out the delay of a retry, and no signal wakes it
    generation integer NOT NULL DEFAULT 0,
    timeout float8,
    deadline_at float8,
    created_at float8 NOT NULL,
    available_at float8 NOT NULL,
    started_at float8,
    begun_at float8, -- first claimed since it went on as new
    claimed_at float8, -- the last time: its body was executed from the first line
    claimed_by text COLLATE "C", -- by this worker, which need not have it any more
    finished_at float8,
    key text COLLATE "C",
    tags text,
    parent_id text COLLATE "C",
    awaited_as text, -- the key of the parent's step that waits for the end of this run; NULL: none does
    forked_from text,
    schedule text,
    scheduled_at float8,
    preview text NOT NULL, -- the first 120 characters of the input
    progress text,
    output text,
    error text
) WITH (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

-- The order in which these are made matters. While a table is empty all its indexes cost the same, and of several that could answer,
-- PostgreSQL takes the one that was made last. Workers keep the plans that were made then, so the indexes that people's lists are read by
-- come first, then the one by which a run is found, then those that are asked by conditions of their own.
CREATE INDEX runs_workflow ON stepwell.runs (workflow, id);
CREATE INDEX runs_status ON stepwell.runs (status, id);
-- In each status, those that ended first: what was kept long enough is found without a look at what was not.
CREATE INDEX runs_finished ON stepwell.runs (status, finished_at) WHERE finished_at IS NOT NULL;

ALTER TABLE stepwell.runs ADD PRIMARY KEY (id);

CREATE INDEX runs_schedule ON stepwell.runs (workflow, schedule, scheduled_at) WHERE schedule IS NOT NULL;
CREATE UNIQUE INDEX runs_key ON stepwell.runs (workflow, key) WHERE key IS NOT NULL;
CREATE INDEX runs_parent ON stepwell.runs (parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX runs_owned ON stepwell.runs (worker, id) WHERE worker IS NOT NULL;
CREATE INDEX runs_deadline ON stepwell.runs (deadline_at)
    WHERE deadline_at IS NOT NULL AND status IN ('pending', 'running', 'sleeping');
CREATE INDEX runs_due ON stepwell.runs (due)
    WHERE worker IS NULL AND due IS NOT NULL AND status IN ('pending', 'sleeping');
-- The order of the claim. What is in here can be claimed now.
CREATE INDEX runs_ready ON stepwell.runs (lane, head, priority DESC, id)
    WHERE status = 'pending' AND worker IS NULL AND due IS NULL;

-- Apart from the run, so that an input of a kilobyte is not written again with each change of a status.
CREATE TABLE stepwell.inputs (
    run text COLLATE "C" PRIMARY KEY,
    input text NOT NULL
);

CREATE TABLE stepwell.tags (
    tag text COLLATE "C" NOT NULL,
    run text COLLATE "C" NOT NULL,
    PRIMARY KEY (tag, run)
);

-- What came to pass for a key of a run: written once, delivered in the order of seq.
CREATE TABLE stepwell.outcomes (
    run text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    seq integer NOT NULL,
    asked integer NOT NULL,
    kind smallint NOT NULL,
    ok boolean NOT NULL,
    value text,
    at float8 NOT NULL,
    mark bigint NOT NULL,
    attempt integer NOT NULL,
    started_at float8 NOT NULL,
    python integer NOT NULL,
    child text, -- the run that the step has started
    PRIMARY KEY (run, key)
);

-- Attempts that did not settle their step.
CREATE TABLE stepwell.attempts (
    run text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    attempt integer NOT NULL,
    asked integer NOT NULL,
    canceled boolean NOT NULL,
    error text,
    started_at float8 NOT NULL,
    finished_at float8 NOT NULL,
    due float8,
    void boolean NOT NULL DEFAULT false, -- taken back by a retry: shown, and counts no more
    PRIMARY KEY (run, key, attempt)
);

-- Attempts that take long, for those who look. Of no meaning once the attempt is recorded, or the claim is over.
CREATE TABLE stepwell.started (
    run text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    claim integer NOT NULL,
    attempt integer NOT NULL,
    started_at float8 NOT NULL,
    PRIMARY KEY (run, key)
);

-- What was sent to a run, read or not: which of them the body has read follows from its outcomes.
CREATE TABLE stepwell.signals (
    run text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    id text COLLATE "C" NOT NULL, -- by which a second sending of the same is known
    name text NOT NULL,
    payload text NOT NULL,
    sent_at float8 NOT NULL,
    PRIMARY KEY (run, number),
    UNIQUE (run, id)
);

CREATE TABLE stepwell.logs (
    run text COLLATE "C" NOT NULL,
    after integer NOT NULL,
    scope text COLLATE "C" NOT NULL,
    n integer NOT NULL,
    id bigint NOT NULL, -- when it was written, and which one of the batch it was: no sequence is asked for it
    at float8 NOT NULL,
    level text NOT NULL,
    message text NOT NULL,
    fields text NOT NULL,
    step text,
    PRIMARY KEY (run, after, scope, n)
);

CREATE TABLE stepwell.events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run text COLLATE "C", -- NULL: of a workflow, a queue, a schedule or a worker
    subject text NOT NULL, -- of a signal, its name; else what it was done to
    at float8 NOT NULL,
    action text NOT NULL,
    actor text
);
CREATE INDEX events_run ON stepwell.events (run, id) WHERE run IS NOT NULL;
CREATE INDEX events_subject ON stepwell.events (subject, id) WHERE run IS NULL;

CREATE TABLE stepwell.definitions (
    name text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    queue text NOT NULL,
    priority integer NOT NULL,
    timeout float8,
    takes_version boolean NOT NULL,
    input_schema text NOT NULL,
    output_schema text NOT NULL,
    retry text NOT NULL,
    published_at float8 NOT NULL,
    PRIMARY KEY (name, version)
);

-- Half empty pages: a beat is then written beside the one before, and touches no index.
CREATE TABLE stepwell.workers (
    id text COLLATE "C" PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    queues text, -- NULL: all
    concurrency integer NOT NULL,
    lease float8 NOT NULL,
    serves text NOT NULL,
    declares text, -- what it says of schedules: a digest by workflow
    running integer NOT NULL DEFAULT 0,
    parked integer NOT NULL DEFAULT 0,
    beat integer NOT NULL DEFAULT 0,
    draining boolean NOT NULL DEFAULT false,
    dead boolean NOT NULL DEFAULT false,
    socket text,
    started_at float8 NOT NULL,
    beat_at float8 NOT NULL
) WITH (fillfactor = 50);

-- Runs that somebody else than their worker has acted on. A number is given when the worker is told: those who write commit in any order.
CREATE TABLE stepwell.notices (
    worker text COLLATE "C" NOT NULL,
    run text COLLATE "C" NOT NULL,
    number bigint,
    PRIMARY KEY (worker, run)
);

-- Workflows and queues that are paused as a whole.
CREATE TABLE stepwell.halts (
    kind text NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (kind, name)
);

-- What the releases that were started last say of their schedules, and how far each has come. No run refers to it: what is deleted of
-- runs or of records makes no slot fire again. Half empty pages: a cursor that moves is written beside the one before, and touches no index.
CREATE TABLE stepwell.schedules (
    workflow text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    release integer NOT NULL, -- the greatest holds
    digest text NOT NULL, -- of all that it says of the workflow
    expression text NOT NULL,
    timezone text NOT NULL,
    overlap text NOT NULL,
    catch_up text NOT NULL,
    jitter float8,
    input text, -- NULL: a function computes it
    version text NOT NULL, -- of its runs; '': the function without a version
    declared boolean NOT NULL, -- whether the release names it
    next_at float8, -- the first slot that nothing was made of yet
    waiting_at float8, -- a slot that waits for the end of the last run
    last_at float8,
    last_run text COLLATE "C",
    paused_at float8,
    paused_by text,
    changed integer NOT NULL, -- when something else was done to it than that it fired, by a count of such deeds
    PRIMARY KEY (workflow, name)
) WITH (fillfactor = 50);
CREATE INDEX schedules_changed ON stepwell.schedules (changed);

-- The number that the newest release was given, in one row. Numbers are never given again, also when nothing is left of what their
-- releases have said.
CREATE TABLE stepwell.releases (
    id integer PRIMARY KEY,
    number integer NOT NULL
);

-- What has become of slots, for those who ask why.
CREATE TABLE stepwell.slots (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workflow text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    slot float8 NOT NULL,
    until float8 NOT NULL,
    count integer,
    outcome text NOT NULL,
    reason text,
    run text COLLATE "C",
    actor text,
    at float8 NOT NULL
);
CREATE INDEX slots_schedule ON stepwell.slots (workflow, name, id);
