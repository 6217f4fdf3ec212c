-- The statements of the store, in the order of a run's life, with the names, parameters and answers of SQLite's. Batches come as one
-- parameter, a JSON array of arrays. What is read in order to be changed is locked where it is read, several runs in the order of their ids.
--
-- The hot ones are planned once, whatever the tables hold then. So a condition on a run whose id is known is kept from the planner, which
-- would else prefer a partial index that was empty when it looked: in a LATERAL with OFFSET 0, or as an expression.

-- name: begin_to_write
-- There are many writers here.
SELECT 1
WHERE false;

-- name: lane
SELECT id
FROM stepwell.lanes
WHERE queue = :queue AND workflow = :workflow AND version = :version;

-- name: new_lane
INSERT INTO stepwell.lanes (queue, workflow, version)
VALUES (:queue, :workflow, :version)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: enqueue
-- A run whose key is taken, or that is there already, is left out.
INSERT INTO stepwell.runs (id, status, lane, workflow, version, queue, priority, head, due, timeout, deadline_at, created_at, available_at,
    key, tags, parent_id, schedule, scheduled_at, preview, awaited_as)
SELECT value ->> 0, 'pending', (value ->> 1)::integer, value ->> 2, value ->> 3, value ->> 4, (value ->> 5)::integer, 0,
    (value ->> 6)::float8, (value ->> 7)::float8, (value ->> 8)::float8, (value ->> 9)::float8, (value ->> 10)::float8, value ->> 11,
    value ->> 12, value ->> 13, value ->> 14, (value ->> 15)::float8, value ->> 16, value ->> 17
FROM jsonb_array_elements(:runs::jsonb)
ON CONFLICT DO NOTHING;

-- name: enqueue_inputs
INSERT INTO stepwell.inputs (run, input)
SELECT value ->> 0, value ->> 1
FROM jsonb_array_elements(:inputs::jsonb)
ON CONFLICT DO NOTHING;

-- name: enqueue_tags
INSERT INTO stepwell.tags (tag, run)
SELECT value ->> 0, value ->> 1
FROM jsonb_array_elements(:tags::jsonb)
ON CONFLICT DO NOTHING;

-- name: enqueue_events
-- Who has started these. The same again changes nothing.
INSERT INTO stepwell.events (run, subject, at, action, actor)
SELECT x.value ->> 0, x.value ->> 0, (x.value ->> 1)::float8, 'start', x.value ->> 2
FROM jsonb_array_elements(:events::jsonb) x
WHERE NOT EXISTS (SELECT 1 FROM stepwell.events e WHERE e.run = x.value ->> 0 AND e.action = 'start');

-- name: by_key
-- The runs that have these keys.
SELECT (x.place - 1)::integer, r.id
FROM (
    SELECT value ->> 0 AS workflow, value ->> 1 AS key, place
    FROM jsonb_array_elements(:keys::jsonb) WITH ORDINALITY batch (value, place)
    OFFSET 0
) x
CROSS JOIN LATERAL (
    SELECT id
    FROM stepwell.runs
    WHERE workflow = x.workflow AND key = x.key AND key IS NOT NULL
    OFFSET 0
) r;

-- name: definitions
SELECT name, version, queue, priority, timeout, takes_version, input_schema, output_schema, retry
FROM stepwell.definitions
ORDER BY name, version;

-- name: publish
INSERT INTO stepwell.definitions AS d
    (name, version, queue, priority, timeout, takes_version, input_schema, output_schema, retry, published_at)
VALUES (:name, :version, :queue, :priority, :timeout, :takes_version, :input_schema, :output_schema, :retry, :published_at)
ON CONFLICT (name, version) DO UPDATE SET
    queue = excluded.queue, priority = excluded.priority, timeout = excluded.timeout, takes_version = excluded.takes_version,
    input_schema = excluded.input_schema, output_schema = excluded.output_schema, retry = excluded.retry,
    published_at = excluded.published_at
WHERE excluded.published_at >= d.published_at;

-- name: register
INSERT INTO stepwell.workers (id, name, host, pid, queues, concurrency, lease, serves, socket, started_at, beat_at)
VALUES (:id, :name, :host, :pid, :queues, :concurrency, :lease, :serves, :socket, :started_at, :started_at)
ON CONFLICT (id) DO NOTHING;

-- name: beat
-- No row back: it was taken for dead.
UPDATE stepwell.workers
SET beat = beat + 1, beat_at = :now, running = :running, parked = :parked
WHERE id = :worker AND NOT dead
RETURNING draining;

-- name: peers
-- Those that were taken for dead stay until all their runs are with others: whoever began that may be gone, too.
SELECT id, beat, lease, dead, socket
FROM stepwell.workers
WHERE id <> :worker;

-- name: declare_dead
-- The lock waits for what the worker is writing. From then on it cannot claim, and its commits are refused.
UPDATE stepwell.workers
SET dead = true
WHERE id IN (SELECT id FROM stepwell.workers WHERE id = :worker AND beat = :beat FOR UPDATE);

-- name: leaving
-- What its claims and commits are writing is waited for, and no other begins.
SELECT id
FROM stepwell.workers
WHERE id = :worker
FOR UPDATE;

-- name: owned
SELECT id, workflow, status, crashes
FROM stepwell.runs
WHERE worker = :worker
ORDER BY id
LIMIT :limit
FOR NO KEY UPDATE;

-- name: take_back
-- Runs leave their worker: with it, or without.
UPDATE stepwell.runs r
SET status = x.value ->> 1, worker = NULL, crashes = (x.value ->> 2)::integer, head = (x.value ->> 3)::smallint,
    available_at = coalesce((x.value ->> 4)::float8, r.available_at), finished_at = (x.value ->> 5)::float8,
    error = coalesce(x.value ->> 6, r.error)
FROM jsonb_array_elements(:runs::jsonb) x
WHERE r.id = x.value ->> 0;

-- name: forget_worker
DELETE FROM stepwell.workers
WHERE id = :worker;

-- name: forget_notices
DELETE FROM stepwell.notices
WHERE worker = :worker AND (number <= :seen OR :seen >= 4611686018427387904);

-- name: look
-- Each part reads one entry of one index.
SELECT
    EXISTS (SELECT 1 FROM stepwell.runs WHERE status = 'pending' AND worker IS NULL AND due IS NULL) AS ready,
    (
        SELECT due
        FROM stepwell.runs
        WHERE worker IS NULL AND due IS NOT NULL AND status IN ('pending', 'sleeping')
        ORDER BY due
        LIMIT 1
    ) AS due,
    (
        SELECT deadline_at
        FROM stepwell.runs
        WHERE deadline_at IS NOT NULL AND status IN ('pending', 'running', 'sleeping')
        ORDER BY deadline_at
        LIMIT 1
    ) AS deadline,
    EXISTS (SELECT 1 FROM stepwell.notices WHERE worker = :worker) AS notices,
    (SELECT coalesce(max(changed), 0) FROM stepwell.schedules) AS schedules;

-- name: make_ready
-- The most overdue first.
UPDATE stepwell.runs
SET status = 'pending', available_at = due, due = NULL
WHERE id = ANY (ARRAY(
    SELECT id
    FROM stepwell.runs
    WHERE worker IS NULL AND due IS NOT NULL AND status IN ('pending', 'sleeping') AND due <= :now
    ORDER BY due
    LIMIT :limit
    FOR NO KEY UPDATE SKIP LOCKED
));

-- name: expired
SELECT id, workflow, timeout, worker
FROM stepwell.runs
WHERE deadline_at IS NOT NULL AND status IN ('pending', 'running', 'sleeping') AND deadline_at <= :now
ORDER BY deadline_at
LIMIT :limit
FOR NO KEY UPDATE SKIP LOCKED;

-- name: expire
UPDATE stepwell.runs r
SET status = 'failed', worker = NULL, due = NULL, finished_at = :now, error = x.value ->> 1
FROM jsonb_array_elements(:runs::jsonb) x
WHERE r.id = x.value ->> 0;

-- name: lock_schedules
-- Cursors do not move meanwhile, and deeds are counted one after the other.
LOCK TABLE stepwell.schedules IN EXCLUSIVE MODE;

-- name: last_deed
SELECT coalesce(max(changed), 0)
FROM stepwell.schedules;

-- name: new_release
INSERT INTO stepwell.releases AS r (id, number)
VALUES (1, 1)
ON CONFLICT (id) DO UPDATE SET number = r.number + 1
RETURNING number;

-- name: declares
UPDATE stepwell.workers
SET declares = :declares
WHERE id = :worker AND NOT dead;

-- name: others_declare
SELECT declares
FROM stepwell.workers
WHERE NOT dead AND id <> :worker AND declares IS NOT NULL;

-- name: known_schedules
SELECT workflow, name, release, digest, expression, timezone, overlap, catch_up, jitter, input, version, declared,
    (next_at * 1e6)::bigint, (waiting_at * 1e6)::bigint, paused_at IS NOT NULL, changed, (last_at * 1e6)::bigint
FROM stepwell.schedules
WHERE workflow = ANY (ARRAY(SELECT jsonb_array_elements_text(:workflows::jsonb)));

-- name: declare
INSERT INTO stepwell.schedules (workflow, name, release, digest, expression, timezone, overlap, catch_up, jitter, input, version,
    declared, next_at, waiting_at, changed)
SELECT value ->> 0, value ->> 1, (value ->> 2)::integer, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
    (value ->> 8)::float8, value ->> 9, value ->> 10, (value ->> 11)::boolean, (value ->> 12)::float8, (value ->> 13)::float8,
    (value ->> 14)::integer
FROM jsonb_array_elements(:schedules::jsonb)
ON CONFLICT (workflow, name) DO UPDATE SET
    release = excluded.release, digest = excluded.digest, expression = excluded.expression, timezone = excluded.timezone,
    overlap = excluded.overlap, catch_up = excluded.catch_up, jitter = excluded.jitter, input = excluded.input,
    version = excluded.version, declared = excluded.declared, next_at = excluded.next_at, waiting_at = excluded.waiting_at,
    changed = excluded.changed;

-- name: changed_schedules
SELECT workflow, name
FROM stepwell.schedules
WHERE changed > :deed
ORDER BY changed
LIMIT :limit;

-- name: cursors
SELECT s.workflow, s.name, s.digest, (s.next_at * 1e6)::bigint, (s.waiting_at * 1e6)::bigint, s.paused_at IS NOT NULL, s.last_run,
    coalesce(r.status || '' IN ('pending', 'running', 'sleeping', 'paused'), false), extract(epoch FROM clock_timestamp())::float8
FROM jsonb_array_elements(:keys::jsonb) x
CROSS JOIN LATERAL (
    SELECT *
    FROM stepwell.schedules
    WHERE workflow = x.value ->> 0 AND name = x.value ->> 1
    OFFSET 0
) s
LEFT JOIN LATERAL (SELECT status FROM stepwell.runs WHERE id = s.last_run OFFSET 0) r ON true;

-- name: lock_cursors
-- In one order: two who fire the same schedules wait for each other, and not both.
SELECT s.declared, s.next_at, s.waiting_at, s.paused_at
FROM (
    SELECT value ->> 0 AS workflow, value ->> 1 AS name
    FROM jsonb_array_elements(:keys::jsonb)
    ORDER BY 1, 2
) x
CROSS JOIN LATERAL (
    SELECT declared, next_at, waiting_at, paused_at
    FROM stepwell.schedules
    WHERE workflow = x.workflow AND name = x.name
    OFFSET 0
    FOR NO KEY UPDATE
) s;

-- name: move_cursors
-- All of them are there, and locked: so nothing is inserted. An UPDATE would be planned by how many schedules there are, and one that was
-- planned for a few would read all of them for each that moves.
INSERT INTO stepwell.schedules AS s (workflow, name, release, digest, expression, timezone, overlap, catch_up, version, declared, changed,
    next_at, waiting_at, last_at, last_run)
SELECT o.workflow, o.name, o.release, o.digest, o.expression, o.timezone, o.overlap, o.catch_up, o.version, o.declared, o.changed,
    (x.value ->> 5)::float8, (x.value ->> 6)::float8, coalesce((x.value ->> 7)::float8, o.last_at), coalesce(x.value ->> 8, o.last_run)
FROM jsonb_array_elements(:firings::jsonb) x
CROSS JOIN LATERAL (
    SELECT *
    FROM stepwell.schedules
    WHERE workflow = x.value ->> 0 AND name = x.value ->> 1 AND digest = x.value ->> 2
        AND next_at IS NOT DISTINCT FROM (x.value ->> 3)::float8 AND waiting_at IS NOT DISTINCT FROM (x.value ->> 4)::float8
        AND paused_at IS NULL
    OFFSET 0
) o
ON CONFLICT (workflow, name) DO UPDATE SET
    next_at = excluded.next_at, waiting_at = excluded.waiting_at, last_at = excluded.last_at, last_run = excluded.last_run
RETURNING s.workflow, s.name;

-- name: fail_inputs
UPDATE stepwell.runs r
SET status = 'failed', due = NULL, finished_at = :now, error = x.value ->> 1
FROM jsonb_array_elements(:runs::jsonb) x
WHERE r.id = x.value ->> 0;

-- name: add_slots
INSERT INTO stepwell.slots (workflow, name, slot, until, count, outcome, reason, run, actor, at)
SELECT value ->> 0, value ->> 1, (value ->> 2)::float8, (value ->> 3)::float8, (value ->> 4)::integer, value ->> 5, value ->> 6,
    value ->> 7, value ->> 8, :at
FROM jsonb_array_elements(:slots::jsonb);

-- name: supply
UPDATE stepwell.runs
SET preview = :preview
WHERE id = :run AND coalesce(worker, '') = :worker AND claim = :claim AND EXISTS (
    SELECT 1
    FROM stepwell.workers
    WHERE id = :worker AND NOT dead
);

-- name: supply_input
UPDATE stepwell.inputs
SET input = :input
WHERE run = :run;

-- name: schedules
SELECT *
FROM stepwell.schedules
WHERE (:workflow::text IS NULL OR workflow = :workflow::text) AND (:name::text IS NULL OR name = :name::text)
ORDER BY workflow, name;

-- name: pause_schedule
UPDATE stepwell.schedules
SET paused_at = :now, paused_by = :actor, waiting_at = NULL, changed = :changed
WHERE workflow = :workflow AND name = :name AND paused_at IS NULL;

-- name: resume_schedule
UPDATE stepwell.schedules
SET paused_at = NULL, paused_by = NULL, next_at = CASE WHEN declared THEN :next_at::float8 END, changed = :changed
WHERE workflow = :workflow AND name = :name AND digest = :digest AND next_at IS NOT DISTINCT FROM :seen::float8
    AND paused_at IS NOT NULL;

-- name: triggered
UPDATE stepwell.schedules
SET last_run = :run
WHERE workflow = :workflow AND name = :name;

-- name: made
-- Slots between these two that have had a run, and which. What was triggered is of no slot.
SELECT (slot * 1e6)::bigint, run
FROM stepwell.slots
WHERE workflow = :workflow AND name = :name AND slot BETWEEN :first AND :last AND run IS NOT NULL AND outcome <> 'triggered'
UNION
SELECT (r.scheduled_at * 1e6)::bigint, r.id
FROM stepwell.runs r
WHERE r.workflow = :workflow AND r.schedule = :name AND r.schedule IS NOT NULL AND r.scheduled_at BETWEEN :first AND :last
    AND NOT EXISTS (SELECT 1 FROM stepwell.events WHERE run = r.id AND action = 'trigger');

-- name: backfilled
INSERT INTO stepwell.events (run, subject, at, action, actor)
SELECT value, value, :at, 'backfill', :actor
FROM jsonb_array_elements_text(:runs::jsonb);

-- name: slots
SELECT *
FROM stepwell.slots
WHERE workflow = :workflow AND name = :name AND id < :before
ORDER BY id DESC
LIMIT :limit;

-- name: forget_slots
DELETE FROM stepwell.slots
WHERE id IN (
    SELECT o.id
    FROM jsonb_array_elements(:keys::jsonb) x
    CROSS JOIN LATERAL (
        SELECT id
        FROM stepwell.slots
        WHERE workflow = x.value ->> 0 AND name = x.value ->> 1
        ORDER BY id DESC
        OFFSET :keep
    ) o
);

-- name: notify
INSERT INTO stepwell.notices (worker, run)
SELECT DISTINCT value ->> 0, value ->> 1
FROM jsonb_array_elements(:notices::jsonb)
ORDER BY 1, 2
ON CONFLICT (worker, run) DO UPDATE SET number = NULL;

-- name: lanes
-- All of them, when there are more than are known: one may be committed after another that has a higher number.
SELECT id, queue, workflow, version
FROM stepwell.lanes
WHERE (SELECT count(*) FROM stepwell.lanes) > :known
ORDER BY id;

-- name: halts
SELECT kind, name
FROM stepwell.halts;

-- name: prospect
-- All that a claim wants to know first: whether the worker may claim, which nobody can change until the transaction ends; the lanes, when
-- there are more than are known; what is paused as a whole; and of each of these lanes, by head, the highest and the lowest priority of
-- what waits there and the newest of the lowest, as `heads` has it. Of the marks those of a head are taken out once, and not again for
-- each lane.
WITH me AS MATERIALIZED (
    SELECT id
    FROM stepwell.workers
    WHERE id = :worker AND NOT dead
    FOR KEY SHARE
),
marked AS MATERIALIZED (
    SELECT head, :marks::jsonb -> head AS marks
    FROM (VALUES (0), (1), (2)) heads (head)
)
SELECT
    EXISTS (SELECT 1 FROM me),
    (
        SELECT json_agg(json_build_array(id, queue, workflow, version))
        FROM stepwell.lanes
        WHERE (SELECT count(*) FROM stepwell.lanes) > :known
    )::text,
    (SELECT json_agg(json_build_array(kind, name)) FROM stepwell.halts)::text,
    (
        SELECT json_agg(json_build_array(l.head, l.lane, high.priority, low.priority, low.id))
        FROM (
            SELECT value::integer AS lane, head, (marks -> value ->> 0)::integer AS priority, marks -> value ->> 1 AS id
            FROM marked
            CROSS JOIN jsonb_array_elements_text(:lanes::jsonb)
            OFFSET 0
        ) l
        CROSS JOIN LATERAL (
            (
                SELECT priority
                FROM stepwell.runs
                WHERE status = 'pending' AND worker IS NULL AND due IS NULL AND lane = l.lane AND head = l.head
                    AND priority > coalesce(l.priority, -1::bigint << 32)
                ORDER BY lane, head, priority DESC, id
                LIMIT 1
            )
            UNION ALL
            (
                SELECT priority
                FROM stepwell.runs
                WHERE status = 'pending' AND worker IS NULL AND due IS NULL AND lane = l.lane AND head = l.head
                    AND priority = l.priority AND id > l.id
                ORDER BY lane, head, priority DESC, id
                LIMIT 1
            )
            UNION ALL
            (
                SELECT priority
                FROM stepwell.runs
                WHERE status = 'pending' AND worker IS NULL AND due IS NULL AND lane = l.lane AND head = l.head
                    AND priority < l.priority
                ORDER BY lane, head, priority DESC, id
                LIMIT 1
            )
            LIMIT 1
        ) high
        CROSS JOIN LATERAL (
            SELECT priority, id
            FROM stepwell.runs
            WHERE status = 'pending' AND worker IS NULL AND due IS NULL AND lane = l.lane AND head = l.head
            ORDER BY lane DESC, head DESC, priority, id DESC
            LIMIT 1
        ) low
    )::text;

-- name: heads
-- Of each of these lanes, the highest and the lowest priority of what waits there below a priority, and the newest of the lowest, where
-- there is something. Where there is a mark, nothing of its priority up to it is looked at: while somebody holds an old snapshot, that is
-- full of what has been claimed. What an index is asked for is ready before: to a planner that sees an empty table, an expression is dearer
-- than another index.
SELECT l.lane, high.priority, low.priority, low.id
FROM (
    SELECT value::integer AS lane, coalesce(:below::bigint, 1::bigint << 32) AS below, (:marks::jsonb -> value ->> 0)::integer AS priority,
        :marks::jsonb -> value ->> 1 AS id
    FROM jsonb_array_elements_text(:lanes::jsonb)
    OFFSET 0
) l
CROSS JOIN LATERAL (
    (
        SELECT priority
        FROM stepwell.runs
        WHERE status = 'pending' AND worker IS NULL AND due IS NULL AND lane = l.lane AND head = :head
            AND priority < l.below
            AND priority > coalesce(l.priority, -1::bigint << 32)
        ORDER BY lane, head, priority DESC, id
        LIMIT 1
    )
    UNION ALL
    (
        SELECT priority
        FROM stepwell.runs
        WHERE status = 'pending' AND worker IS NULL AND due IS NULL AND lane = l.lane AND head = :head
            AND priority < l.below
            AND priority = l.priority AND id > l.id
        ORDER BY lane, head, priority DESC, id
        LIMIT 1
    )
    UNION ALL
    (
        SELECT priority
        FROM stepwell.runs
        WHERE status = 'pending' AND worker IS NULL AND due IS NULL AND lane = l.lane AND head = :head
            AND priority < l.below
            AND priority < l.priority
        ORDER BY lane, head, priority DESC, id
        LIMIT 1
    )
    LIMIT 1
) high
CROSS JOIN LATERAL (
    SELECT priority, id
    FROM stepwell.runs
    WHERE status = 'pending' AND worker IS NULL AND due IS NULL AND lane = l.lane AND head = :head
    ORDER BY lane DESC, head DESC, priority, id DESC
    LIMIT 1
) low;

-- name: ready
-- The first of each of these lanes. The order of the index is that of the claim. What another worker is just claiming is passed over.
SELECT l.lane, r.id
FROM (
    SELECT (value ->> 0)::integer AS lane, value ->> 1 AS after
    FROM jsonb_array_elements(:lanes::jsonb)
    OFFSET 0
) l
CROSS JOIN LATERAL (
    SELECT id
    FROM stepwell.runs
    WHERE status = 'pending' AND worker IS NULL AND due IS NULL AND lane = l.lane AND head = :head AND priority = :priority AND id > l.after
    ORDER BY lane, head, priority DESC, id
    LIMIT :limit
    FOR NO KEY UPDATE SKIP LOCKED
) r;

-- name: pin
-- What was not known when the run was started.
UPDATE stepwell.runs r
SET lane = (x.value ->> 1)::integer, version = x.value ->> 2, timeout = coalesce(r.timeout, (x.value ->> 3)::float8),
    deadline_at = coalesce(r.deadline_at, r.available_at + (x.value ->> 3)::float8)
FROM jsonb_array_elements(:pins::jsonb) x
WHERE r.id = x.value ->> 0;

-- name: claim
UPDATE stepwell.runs
SET status = 'running', worker = :worker, claim = claim + 1, head = greatest(head, 1), error = NULL,
    started_at = coalesce(started_at, :now), begun_at = coalesce(begun_at, :now), claimed_at = :now, claimed_by = :worker
WHERE id = ANY (ARRAY(SELECT jsonb_array_elements_text(:runs::jsonb)))
    AND status || '' = 'pending' AND coalesce(worker, '') = '' AND coalesce(due, -1) = -1;

-- name: claimed
-- In the order in which they were chosen; those that are this worker's now.
SELECT r.id, r.claim, r.workflow, r.version, i.input, r.attempt, r.generation, (r.created_at * 1e6)::bigint, (r.begun_at * 1e6)::bigint,
    (r.scheduled_at * 1e6)::bigint, r.tags, r.crashes, r.news
FROM jsonb_array_elements_text(:runs::jsonb) WITH ORDINALITY x (id, place)
CROSS JOIN LATERAL (SELECT * FROM stepwell.runs WHERE id = x.id OFFSET 0) r
CROSS JOIN LATERAL (SELECT input FROM stepwell.inputs WHERE run = x.id OFFSET 0) i
WHERE :worker::text IS NULL OR (r.worker = :worker AND r.status = 'running')
ORDER BY x.place;

-- name: histories
-- As much as one answer may hold, by rows and by characters.
SELECT run, key, seq, asked, kind, ok, value, (at * 1e6)::bigint, mark, attempt, (started_at * 1e6)::bigint, python, child
FROM (
    SELECT *, sum(length(value)) OVER (ORDER BY run, seq) - length(value) AS before
    FROM (
        SELECT o.*
        FROM stepwell.outcomes o
        WHERE run = ANY (ARRAY(SELECT jsonb_array_elements_text(:runs::jsonb)))
        ORDER BY run, seq
        LIMIT :rows
    ) first
) measured
WHERE coalesce(before, 0) <= :characters
ORDER BY run, seq;

-- name: tried
SELECT run, key, max(attempt), (count(*) FILTER (WHERE NOT void AND NOT canceled))::integer,
    (max(CASE WHEN void THEN 0 ELSE coalesce(due, 0) END) * 1e6)::bigint, bool_or(NOT void)
FROM stepwell.attempts a
WHERE run = ANY (ARRAY(SELECT jsonb_array_elements_text(:runs::jsonb)))
    AND NOT (void AND key = :body)
    AND NOT EXISTS (SELECT 1 FROM stepwell.outcomes o WHERE o.run = a.run AND o.key = a.key)
GROUP BY run, key;

-- name: logged
SELECT x.id, l.after, (SELECT max(n) FROM stepwell.logs WHERE run = x.id AND after = l.after)
FROM jsonb_array_elements_text(:runs::jsonb) x (id)
CROSS JOIN LATERAL (
    SELECT after
    FROM stepwell.logs
    WHERE run = x.id AND after >= 0
    ORDER BY run DESC, after DESC
    LIMIT 1
) l;

-- name: unread
-- The signals of these runs for which no outcome stands yet.
SELECT x.id, s.number, s.name, s.payload, (s.sent_at * 1e6)::bigint
FROM jsonb_array_elements_text(:runs::jsonb) x (id)
CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_object_agg(mark, true), '{}') AS numbers
    FROM stepwell.outcomes
    WHERE run = x.id AND kind IN (4, 5)
    OFFSET 0
) answered
CROSS JOIN LATERAL (SELECT * FROM stepwell.signals WHERE run = x.id OFFSET 0) s
WHERE NOT answered.numbers ? s.number::text
ORDER BY x.id, s.number;

-- name: outcomes
SELECT run, key, seq, asked, kind, ok, value, (at * 1e6)::bigint, mark, attempt, (started_at * 1e6)::bigint, python, child
FROM stepwell.outcomes
WHERE run = :run AND seq > :after
ORDER BY seq
LIMIT :limit;

-- name: fence
-- How these runs stand. The worker first, so that nobody can declare it dead; then its runs, so that nobody can act on them.
WITH me AS MATERIALIZED (
    SELECT id
    FROM stepwell.workers
    WHERE id = :worker AND NOT dead
    FOR KEY SHARE
),
known AS MATERIALIZED (
    SELECT count(*) > 0 AS alive
    FROM me
)
SELECT r.id, r.claim, r.status, known.alive AND r.worker IS NOT DISTINCT FROM :worker, r.crashes, r.news, r.awaited_as IS NOT NULL
FROM known
CROSS JOIN LATERAL (
    SELECT found.*
    FROM jsonb_array_elements_text(:runs::jsonb) x (id)
    CROSS JOIN LATERAL (
        SELECT id, claim, status, worker, crashes, news, awaited_as
        FROM stepwell.runs
        WHERE id = x.id
        OFFSET 0
        FOR NO KEY UPDATE
    ) found
    WHERE known.alive IS NOT NULL
    OFFSET 0
) r;

-- name: record
INSERT INTO stepwell.outcomes (run, key, seq, asked, kind, ok, value, at, mark, attempt, started_at, python, child)
SELECT value ->> 0, value ->> 2, (value ->> 3)::integer, (value ->> 4)::integer, (value ->> 5)::smallint, (value ->> 6)::boolean,
    value ->> 7, (value ->> 8)::float8, (value ->> 9)::bigint, (value ->> 10)::integer, (value ->> 11)::float8, (value ->> 12)::integer,
    value ->> 13
FROM jsonb_array_elements(:outcomes::jsonb)
ON CONFLICT (run, key) DO NOTHING;

-- name: recorded
-- After a conflict: what is there already.
SELECT run, key, seq, asked, kind, ok, value, (at * 1e6)::bigint, mark, attempt, (started_at * 1e6)::bigint, python, child
FROM stepwell.outcomes
WHERE run = :run AND key = :key;

-- name: attempt
INSERT INTO stepwell.attempts (run, key, attempt, asked, canceled, error, started_at, finished_at, due)
SELECT value ->> 0, value ->> 2, (value ->> 3)::integer, (value ->> 4)::integer, (value ->> 5)::boolean, value ->> 6,
    (value ->> 7)::float8, (value ->> 8)::float8, (value ->> 9)::float8
FROM jsonb_array_elements(:attempts::jsonb)
ON CONFLICT (run, key, attempt) DO UPDATE SET
    asked = excluded.asked, canceled = excluded.canceled, error = excluded.error, started_at = excluded.started_at,
    finished_at = excluded.finished_at, due = excluded.due, void = false;

-- name: started
INSERT INTO stepwell.started (run, claim, key, attempt, started_at)
SELECT DISTINCT ON (value ->> 0, value ->> 2) value ->> 0, (value ->> 1)::integer, value ->> 2, (value ->> 3)::integer, (value ->> 4)::float8
FROM jsonb_array_elements(:started::jsonb) WITH ORDINALITY x (value, place)
ORDER BY value ->> 0, value ->> 2, place DESC
ON CONFLICT (run, key) DO UPDATE SET claim = excluded.claim, attempt = excluded.attempt, started_at = excluded.started_at;

-- name: log
INSERT INTO stepwell.logs (run, after, scope, n, id, at, level, message, fields, step)
SELECT value ->> 0, (value ->> 2)::integer, value ->> 3, (value ->> 4)::integer, (extract(epoch FROM clock_timestamp()) * 1e6)::bigint * 1024 + least(place, 1023),
    (value ->> 5)::float8, value ->> 6, value ->> 7, value ->> 8, value ->> 9
FROM jsonb_array_elements(:logs::jsonb) WITH ORDINALITY x (value, place)
ON CONFLICT (run, after, scope, n) DO NOTHING;

-- name: progress
UPDATE stepwell.runs r
SET progress = jsonb_build_object('done', x.value -> 2, 'total', x.value -> 3, 'message', x.value -> 4)::text
FROM jsonb_array_elements(:progress::jsonb) x
WHERE r.id = x.value ->> 0;

-- name: survived
-- A step was recorded: the run does not take its workers down any more.
UPDATE stepwell.runs
SET crashes = 0
WHERE id = ANY (ARRAY(SELECT jsonb_array_elements_text(:runs::jsonb)));

-- name: move
-- The new status was looked up in the table of transitions, in this transaction.
UPDATE stepwell.runs r
SET status = x.value ->> 1, worker = CASE WHEN (x.value ->> 2)::boolean THEN r.worker END,
    due = CASE WHEN (x.value ->> 9)::boolean THEN r.due ELSE (x.value ->> 3)::float8 END,
    output = coalesce(x.value ->> 4, r.output), error = coalesce(x.value ->> 5, r.error),
    attempt = coalesce((x.value ->> 6)::integer, r.attempt), finished_at = (x.value ->> 7)::float8,
    available_at = coalesce((x.value ->> 8)::float8, r.available_at), head = CASE WHEN r.crashes >= 2 THEN 2 ELSE 1 END,
    deaf = (x.value ->> 10)::boolean
FROM jsonb_array_elements(:moves::jsonb) x
WHERE r.id = x.value ->> 0;

-- name: renew
-- The run goes on as new.
UPDATE stepwell.runs
SET generation = generation + 1, attempt = 1, begun_at = NULL, crashes = 0, head = 1, preview = :preview, deadline_at = :now + timeout
WHERE id = :run;

-- name: renew_input
UPDATE stepwell.inputs
SET input = :input
WHERE run = :run;

-- name: forget_outcomes
DELETE FROM stepwell.outcomes
WHERE run = :run;

-- name: forget_attempts
DELETE FROM stepwell.attempts
WHERE run = :run;

-- name: forget_signals
DELETE FROM stepwell.signals
WHERE run = :run AND number = ANY (ARRAY(SELECT jsonb_array_elements_text(:numbers::jsonb)::bigint));

-- name: notices
-- Those that have been numbered, by `tell`.
SELECT n.number, n.run, r.claim, r.status, r.worker IS NOT DISTINCT FROM :worker
FROM stepwell.notices n
LEFT JOIN LATERAL (SELECT claim, status, worker FROM stepwell.runs WHERE id = n.run OFFSET 0) r ON true
WHERE n.worker = :worker AND n.number > :seen
ORDER BY n.run;

-- name: news
-- The newest number of each of these runs, and its signals after the number that comes with it.
SELECT r.id, r.news, s.number, s.name, s.payload, (s.sent_at * 1e6)::bigint
FROM jsonb_array_elements(:runs::jsonb) x
CROSS JOIN LATERAL (SELECT id, news FROM stepwell.runs WHERE id = x.value ->> 0 OFFSET 0) r
LEFT JOIN LATERAL (
    SELECT *
    FROM stepwell.signals
    WHERE run = x.value ->> 0 AND number > (x.value ->> 1)::bigint
    ORDER BY number
    OFFSET 0
) s ON true
ORDER BY r.id, s.number;

-- name: standing
SELECT id, claim, status
FROM stepwell.runs
WHERE worker = :worker;

-- name: mailbox
-- What sending needs to know.
SELECT status, worker, deaf, news, EXISTS (SELECT 1 FROM stepwell.signals WHERE run = :run AND id = :id)
FROM stepwell.runs
WHERE id = :run
FOR NO KEY UPDATE;

-- name: signals
-- Without what its children say, which nobody can limit.
SELECT count(*)
FROM stepwell.signals
WHERE run = :run AND name NOT LIKE '~%';

-- name: send
INSERT INTO stepwell.signals (run, number, id, name, payload, sent_at)
VALUES (:run, :number, :id, :name, :payload, :now);

-- name: raise_news
-- A sleeper that a worker has in memory is told; should that worker be gone, it is made ready as if it were due.
UPDATE stepwell.runs
SET news = :number, due = CASE WHEN :due THEN :now ELSE due END
WHERE id = :run;

-- name: awake
UPDATE stepwell.runs
SET status = 'pending', due = NULL, available_at = :now
WHERE id = :run;

-- name: end
-- What its parent is told of it, where one awaits it.
SELECT parent_id, workflow, status, output, error
FROM stepwell.runs
WHERE id = :run AND awaited_as IS NOT NULL;

-- name: not_awaited
UPDATE stepwell.runs
SET awaited_as = NULL
WHERE id = :run AND coalesce(parent_id, '') = :parent
RETURNING id;

-- name: awaited
SELECT id, awaited_as, created_at
FROM stepwell.runs
WHERE parent_id = :run AND awaited_as IS NOT NULL AND status || '' IN ('pending', 'running', 'sleeping', 'paused')
ORDER BY id
FOR NO KEY UPDATE;

-- name: canceled_with_its_parent
-- Void: when the parent is retried, its step has another child.
INSERT INTO stepwell.attempts (run, key, attempt, asked, canceled, error, started_at, finished_at, due, void)
SELECT :run, :key, 1 + coalesce(max(attempt), 0), 0, true, NULL, :started_at, :now, NULL, true
FROM stepwell.attempts
WHERE run = :run AND key = :key;

-- name: state
-- What an action needs to know.
SELECT status, worker, claim, error
FROM stepwell.runs
WHERE id = :run
FOR NO KEY UPDATE;

-- name: pause
-- What may be executing a step keeps its owner, until that is recorded.
UPDATE stepwell.runs
SET status = 'paused', due = NULL, worker = CASE WHEN status = 'sleeping' THEN NULL ELSE worker END
WHERE id = :run;

-- name: resume
UPDATE stepwell.runs
SET status = 'pending', due = NULL, available_at = :now,
    head = CASE WHEN claim = 0 THEN head WHEN crashes >= 2 THEN 2 ELSE 1 END
WHERE id = :run;

-- name: cancel
UPDATE stepwell.runs
SET status = 'canceled', worker = NULL, due = NULL, finished_at = :now
WHERE id = :run;

-- name: retry
UPDATE stepwell.runs
SET status = 'pending', due = NULL, available_at = :now, attempt = 1, error = NULL, finished_at = NULL, crashes = 0, head = 1,
    deadline_at = :now + timeout
WHERE id = :run;

-- name: take_outcomes_back
DELETE FROM stepwell.outcomes
WHERE run = :run AND key = ANY (ARRAY(SELECT jsonb_array_elements_text(:keys::jsonb)));

-- name: void_attempts
UPDATE stepwell.attempts
SET void = true
WHERE run = :run AND (asked >= :first OR key = :body OR key = ANY (ARRAY(SELECT jsonb_array_elements_text(:failed::jsonb))));

-- name: move_logs
-- What was said in the knowledge of what is taken back stays to be read, and leaves its place to what will be said there now.
UPDATE stepwell.logs
SET after = -1, scope = '~' || :claim::bigint || '.' || after
WHERE run = :run AND after >= :first;

-- name: event
INSERT INTO stepwell.events (run, subject, at, action, actor)
VALUES (:run, :subject, :at, :action, :actor);

-- name: fork
-- Numbers of signals go on where those of the source end: its outcomes refer to them.
UPDATE stepwell.runs
SET forked_from = :source, head = 1, news = (SELECT news FROM stepwell.runs WHERE id = :source)
WHERE id = :run;

-- name: standing_attempts
SELECT run, 0, key, attempt, asked, canceled, error, started_at, finished_at, due
FROM stepwell.attempts
WHERE run = :run AND NOT void;

-- name: delete
DELETE FROM stepwell.runs
WHERE id = ANY (ARRAY(SELECT jsonb_array_elements_text(:runs::jsonb)));

-- name: delete_inputs
DELETE FROM stepwell.inputs
WHERE run = ANY (ARRAY(SELECT jsonb_array_elements_text(:runs::jsonb)));

-- name: tags_of
-- Those of these runs that have ended, and may be deleted, with their tags.
SELECT r.id, r.tags
FROM jsonb_array_elements_text(:runs::jsonb) x (id)
CROSS JOIN LATERAL (SELECT id, tags, status FROM stepwell.runs WHERE id = x.id OFFSET 0 FOR NO KEY UPDATE) r
WHERE r.status IN ('completed', 'failed', 'canceled');

-- name: delete_tags
DELETE FROM stepwell.tags t
USING jsonb_array_elements(:tags::jsonb) x
WHERE t.tag = x.value ->> 0 AND t.run = x.value ->> 1;

-- name: delete_outcomes
DELETE FROM stepwell.outcomes
WHERE run = ANY (ARRAY(SELECT jsonb_array_elements_text(:runs::jsonb)));

-- name: delete_attempts
DELETE FROM stepwell.attempts
WHERE run = ANY (ARRAY(SELECT jsonb_array_elements_text(:runs::jsonb)));

-- name: delete_started
DELETE FROM stepwell.started
WHERE run = ANY (ARRAY(SELECT jsonb_array_elements_text(:runs::jsonb)));

-- name: delete_signals
DELETE FROM stepwell.signals
WHERE run = ANY (ARRAY(SELECT jsonb_array_elements_text(:runs::jsonb)));

-- name: delete_logs
DELETE FROM stepwell.logs
WHERE run = ANY (ARRAY(SELECT jsonb_array_elements_text(:runs::jsonb)));

-- name: delete_events
DELETE FROM stepwell.events
WHERE run IS NOT NULL AND run = ANY (ARRAY(SELECT jsonb_array_elements_text(:runs::jsonb)));

-- name: drain
UPDATE stepwell.workers
SET draining = true
WHERE id = :worker AND NOT dead
RETURNING id;

-- name: halt
INSERT INTO stepwell.halts (kind, name)
VALUES (:kind, :name)
ON CONFLICT DO NOTHING
RETURNING kind;

-- name: unhalt
DELETE FROM stepwell.halts
WHERE kind = :kind AND name = :name
RETURNING kind;

-- name: get
SELECT r.*, i.input
FROM stepwell.runs r
JOIN stepwell.inputs i ON i.run = r.id
WHERE r.id = :run;

-- name: find
-- The base of every list; what follows WHERE is added by the reader: an index's own condition, `filters`, the cursor, and the order.
SELECT r.id
FROM stepwell.runs r
WHERE true;

-- name: find_by_tag
SELECT r.id
FROM stepwell.tags t
JOIN stepwell.runs r ON r.id = t.run
WHERE t.tag = :tag;

-- name: find_newest
-- As `find`, of the newest runs only that the ids allow.
SELECT r.id
FROM (
    SELECT id, status, workflow, version, queue, created_at, finished_at, key, tags, preview, error
    FROM stepwell.runs
    WHERE id >= coalesce(:id_from, '') AND id < coalesce(:id_below, '~')
    ORDER BY id DESC
    LIMIT :within
) r
WHERE true;

-- name: of_status
-- Added to `find` and `count`, with the status written out. With an array, and in the order of status and id, only this index will do: for an
-- equation PostgreSQL would rather walk along all runs by their ids, in the hope of soon meeting enough of them.
    AND r.status = ANY (ARRAY[:status])
;

-- name: also_of_status
    AND r.status = :status
;

-- name: of_workflow
    AND r.workflow = ANY (ARRAY[:workflow::text])
;

-- name: filters
-- Added to `find`. What is NULL is no filter.
    AND (:workflow::text IS NULL OR r.workflow = :workflow)
    AND (:version::text IS NULL OR r.version = :version)
    AND (:queue::text IS NULL OR r.queue = :queue)
    AND (:statuses::text IS NULL OR r.status = ANY (ARRAY(SELECT jsonb_array_elements_text(:statuses::jsonb))))
    AND (:created_after::float8 IS NULL OR r.created_at >= :created_after)
    AND (:created_before::float8 IS NULL OR r.created_at < :created_before)
    AND (:finished_before::float8 IS NULL OR r.finished_at < :finished_before)
    AND (:tags::text IS NULL OR r.tags::jsonb @> :tags::jsonb)
    AND (:search::text IS NULL
        OR r.id ILIKE :search
        OR r.key ILIKE :search
        OR r.workflow ILIKE :search
        -- Whoever may not see a secret must not find it out by searching for one beginning after the other.
        OR (r.preview ILIKE :search
            AND NOT EXISTS (
                SELECT 1 FROM jsonb_array_elements_text(coalesce(:unseen::jsonb, '[]')) x (name) WHERE r.preview ~ x.name
            ))
        OR EXISTS (SELECT 1 FROM jsonb_array_elements_text(r.tags::jsonb) x (tag) WHERE x.tag ILIKE :search)
        OR ((r.error::jsonb ->> 'type') || ': ' || (r.error::jsonb ->> 'message') ILIKE :search
            -- Nor in a message: under such a name, in a URL, or in a header that says who asks.
            AND (:unseen::text IS NULL OR NOT (
                r.error::jsonb ->> 'message' ~* '://.*@|bearer.|basic.'
                OR EXISTS (
                    SELECT 1
                    FROM jsonb_array_elements_text(coalesce(:unseen::jsonb, '[]')) x (name)
                    WHERE r.error::jsonb ->> 'message' ~ (x.name || '.*[=:]')
                )))))
;

-- name: shown
SELECT r.*, i.input
FROM jsonb_array_elements_text(:runs::jsonb) WITH ORDINALITY x (id, place)
CROSS JOIN LATERAL (SELECT * FROM stepwell.runs WHERE id = x.id OFFSET 0) r
CROSS JOIN LATERAL (SELECT input FROM stepwell.inputs WHERE run = x.id OFFSET 0) i
ORDER BY x.place;

-- name: count_all
SELECT status, count(*)
FROM stepwell.runs
GROUP BY status;

-- name: count
-- With `filters`.
SELECT r.status, count(*)
FROM stepwell.runs r
WHERE true;

-- name: ended
-- Those that are not there, too.
SELECT x.id, r.workflow, r.status, r.output, r.error
FROM jsonb_array_elements_text(:runs::jsonb) x (id)
LEFT JOIN LATERAL (SELECT id, workflow, status, output, error FROM stepwell.runs WHERE id = x.id OFFSET 0) r ON true
WHERE r.id IS NULL OR r.status IN ('completed', 'failed', 'canceled');

-- name: is_there
SELECT 1
FROM stepwell.runs
WHERE id = :run;

-- name: attempts
SELECT run, 0, key, attempt, asked, canceled, error, started_at, finished_at, CASE WHEN NOT void THEN due END
FROM stepwell.attempts
WHERE run = :run AND key <> :body;

-- name: under_way
-- Attempts that go on now, as far as is known.
SELECT s.key, s.attempt, s.started_at
FROM stepwell.runs r
JOIN stepwell.started s ON s.run = r.id AND s.claim = r.claim
WHERE r.id = :run AND coalesce(r.worker, '') <> '' AND r.status IN ('running', 'paused')
    AND NOT EXISTS (SELECT 1 FROM stepwell.outcomes o WHERE o.run = s.run AND o.key = s.key)
    AND NOT EXISTS (SELECT 1 FROM stepwell.attempts a WHERE a.run = s.run AND a.key = s.key AND a.attempt = s.attempt);

-- name: logs
-- A run without any has one row of nothing.
SELECT l.at, l.level, l.message, l.fields, l.step
FROM stepwell.runs r
LEFT JOIN stepwell.logs l ON l.run = r.id AND (:step::text IS NULL OR l.step = :step)
    AND (:levels::text IS NULL OR l.level = ANY (ARRAY(SELECT jsonb_array_elements_text(:levels::jsonb))))
WHERE r.id = :run
ORDER BY l.at, l.id, l.after, l.n
LIMIT :limit OFFSET :after;

-- name: last_logs
-- The same from their end.
SELECT l.at, l.level, l.message, l.fields, l.step
FROM stepwell.runs r
LEFT JOIN stepwell.logs l ON l.run = r.id AND (:step::text IS NULL OR l.step = :step)
    AND (:levels::text IS NULL OR l.level = ANY (ARRAY(SELECT jsonb_array_elements_text(:levels::jsonb))))
WHERE r.id = :run
ORDER BY l.at DESC, l.id DESC, l.after DESC, l.n DESC
LIMIT :limit OFFSET :after;

-- name: events
-- A run without any has one row of nothing.
SELECT e.at, e.action, e.actor, e.subject
FROM stepwell.runs r
LEFT JOIN stepwell.events e ON e.run = r.id
WHERE r.id = :run
ORDER BY e.id
LIMIT :limit;

-- name: subject_events
-- Of a workflow, a queue, a schedule or a worker.
SELECT at, action, actor
FROM stepwell.events
WHERE run IS NULL AND subject = :subject
ORDER BY id
LIMIT :limit;

-- name: workers
SELECT id, name, host, pid, queues, concurrency, lease, serves, running, parked, draining, started_at, beat_at
FROM stepwell.workers
WHERE NOT dead
ORDER BY started_at, name, id
LIMIT :limit;

-- name: pulse
-- Where the log of the whole server ends.
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text;

-- name: active
-- Those that are running first. Statuses are asked for as in `of_status`.
SELECT id, place
FROM (
    SELECT * FROM (
        SELECT id, 0 AS place
        FROM stepwell.runs
        WHERE status = ANY (ARRAY['running'])
        ORDER BY status DESC, id DESC
        LIMIT :limit
    ) running
    UNION ALL
    SELECT * FROM (
        SELECT id, 1 AS place
        FROM stepwell.runs
        WHERE status = ANY (ARRAY['pending'])
        ORDER BY status DESC, id DESC
        LIMIT :limit
    ) pending
    UNION ALL
    SELECT * FROM (
        SELECT id, 1 AS place
        FROM stepwell.runs
        WHERE status = ANY (ARRAY['sleeping'])
        ORDER BY status DESC, id DESC
        LIMIT :limit
    ) sleeping
    UNION ALL
    SELECT * FROM (
        SELECT id, 1 AS place
        FROM stepwell.runs
        WHERE status = ANY (ARRAY['paused'])
        ORDER BY status DESC, id DESC
        LIMIT :limit
    ) paused
) live
ORDER BY place, id DESC
LIMIT :limit;

-- name: summaries
-- Without payloads; of an error, what fits into a line. Whoever has paused it is not named once somebody let it go on: code that has changed
-- pauses runs, too, and leaves no event.
SELECT r.id, r.workflow, r.version, r.status, r.preview, r.attempt, r.key, r.queue, r.priority, r.tags, r.parent_id, r.forked_from, r.schedule,
    r.scheduled_at, r.progress, r.created_at, r.available_at, r.started_at, r.finished_at, r.worker,
    left((r.error::json ->> 'type') || coalesce(': ' || nullif(r.error::json ->> 'message', ''), ''), :characters::integer) AS short_error,
    CASE WHEN r.status = 'paused' THEN (
        SELECT CASE WHEN s.action = 'pause' THEN s.actor END
        FROM (SELECT id, action, actor FROM stepwell.events WHERE run = r.id ORDER BY id DESC LIMIT :looked) s
        WHERE s.action IN ('pause', 'resume', 'cancel')
        ORDER BY s.id DESC
        LIMIT 1
    ) END AS paused_by
FROM jsonb_array_elements_text(:runs::jsonb) WITH ORDINALITY x (id, place)
CROSS JOIN LATERAL (SELECT * FROM stepwell.runs WHERE id = x.id OFFSET 0) r
ORDER BY x.place;

-- name: found
-- In the place of what `summaries` reads from: the runs of a list. Their order is added.
FROM (
:found
) x
CROSS JOIN LATERAL (SELECT * FROM stepwell.runs WHERE id = x.id OFFSET 0) r
;

-- name: chips
-- Of each run: how many of its steps have an outcome, the newest of these, and those that are tried again or under way, in their order.
-- Of more outcomes than `most` the others are not read.
SELECT r.id, r.status, steps.count, steps.newest,
    (
        SELECT coalesce(json_agg(json_build_array(key, 0, how) ORDER BY how DESC, at), '[]')
        FROM (
            SELECT a.key, -1 AS how, max(a.started_at) AS at
            FROM (SELECT key, started_at FROM stepwell.attempts WHERE run = r.id AND NOT void AND NOT canceled AND key <> :body LIMIT :most) a
            WHERE NOT EXISTS (SELECT 1 FROM stepwell.outcomes o WHERE o.run = r.id AND o.key = a.key)
                AND NOT EXISTS (
                    SELECT 1
                    FROM stepwell.started s
                    WHERE s.run = r.id AND s.key = a.key AND s.claim = r.claim AND coalesce(r.worker, '') <> ''
                        AND r.status IN ('running', 'paused')
                        AND NOT EXISTS (SELECT 1 FROM stepwell.attempts WHERE run = s.run AND key = s.key AND attempt = s.attempt)
                )
            GROUP BY a.key
            UNION ALL
            SELECT s.key, -2, s.started_at
            FROM (SELECT key, attempt, started_at FROM stepwell.started WHERE run = r.id AND claim = r.claim LIMIT :most) s
            WHERE coalesce(r.worker, '') <> '' AND r.status IN ('running', 'paused')
                AND NOT EXISTS (SELECT 1 FROM stepwell.outcomes o WHERE o.run = r.id AND o.key = s.key)
                AND NOT EXISTS (SELECT 1 FROM stepwell.attempts WHERE run = r.id AND key = s.key AND attempt = s.attempt)
        ) others
    )
FROM jsonb_array_elements_text(:runs::jsonb) x (id)
CROSS JOIN LATERAL (SELECT id, status, worker, claim FROM stepwell.runs WHERE id = x.id OFFSET 0) r
CROSS JOIN LATERAL (
    SELECT coalesce(max(n), 0) AS count, coalesce(json_agg(json_build_array(key, kind, ok::integer) ORDER BY seq DESC), '[]') AS newest
    FROM (
        SELECT key, kind, ok, seq, count(*) OVER () AS n
        FROM (SELECT key, kind, ok, seq FROM stepwell.outcomes WHERE run = r.id AND kind <> 3 LIMIT :most) settled
        ORDER BY seq DESC
        LIMIT :limit
    ) newest
) steps;

-- name: ends
SELECT floor((finished_at - :since::float8) / :width::float8)::integer AS place, status, count(*)
FROM stepwell.runs
WHERE status IN ('completed', 'failed', 'canceled') AND finished_at IS NOT NULL AND finished_at >= :since AND finished_at < :until
GROUP BY 1, 2;

-- name: ends_of
SELECT floor((finished_at - :since::float8) / :width::float8)::integer AS place, status, count(*)
FROM stepwell.runs
WHERE status IN ('completed', 'failed', 'canceled') AND finished_at IS NOT NULL AND finished_at >= :since AND finished_at < :until
    AND workflow = :workflow
GROUP BY 1, 2;

-- name: ends_by_workflow
-- Of these, or of all.
SELECT workflow, floor((finished_at - :since::float8) / :width::float8)::integer AS place, status, count(*)
FROM stepwell.runs
WHERE status IN ('completed', 'failed', 'canceled') AND finished_at IS NOT NULL AND finished_at >= :since AND finished_at < :until
    AND (:workflows::text IS NULL OR workflow IN (SELECT jsonb_array_elements_text(:workflows::jsonb)))
GROUP BY 1, 2, 3;

-- name: speeds
-- Of these workflows, or of each that somebody has published or started: how those have ended that have, of its newest.
SELECT w.name, (
    SELECT coalesce(json_agg(json_build_array(status, round((finished_at - started_at) * 1e6)::bigint)), '[]')
    FROM (
        SELECT status, started_at, finished_at
        FROM (
            SELECT status, started_at, finished_at
            FROM stepwell.runs
            WHERE workflow = ANY (ARRAY[w.name])
            ORDER BY workflow DESC, id DESC
            LIMIT :looked
        ) newest
        WHERE status IN ('completed', 'failed', 'canceled')
        LIMIT :limit
    ) ended
)
FROM (
    SELECT workflow COLLATE "C" AS name
    FROM stepwell.lanes
    WHERE :workflows::text IS NULL
    UNION
    SELECT name COLLATE "C"
    FROM stepwell.definitions
    WHERE :workflows::text IS NULL
    UNION
    SELECT jsonb_array_elements_text(:workflows::jsonb) COLLATE "C"
    ORDER BY 1
    LIMIT :most
) w
ORDER BY w.name;

-- name: waits
-- For how long runs have waited until they began, or wait now: of each part of the ids, the first and the last.
SELECT (
    SELECT coalesce(json_agg(round(
        (began_at - CASE WHEN available_at <= began_at THEN available_at ELSE created_at END) * 1e6
    )::bigint ORDER BY id), '[]')
    FROM (
        SELECT
            id, created_at, available_at,
            CASE
                WHEN started_at IS NOT NULL THEN started_at
                WHEN status = 'pending' AND due IS NULL AND worker IS NULL THEN :now::float8
            END AS began_at
        FROM (
            SELECT * FROM (
                SELECT id, created_at, available_at, started_at, status, due, worker
                FROM stepwell.runs
                WHERE id >= x.value ->> 0 AND id < x.value ->> 1
                ORDER BY id
                LIMIT :limit
            ) first
            UNION
            SELECT * FROM (
                SELECT id, created_at, available_at, started_at, status, due, worker
                FROM stepwell.runs
                WHERE id >= x.value ->> 0 AND id < x.value ->> 1
                ORDER BY id DESC
                LIMIT :limit
            ) last
        ) chosen
    ) waited
    WHERE began_at IS NOT NULL
)
FROM jsonb_array_elements(:parts::jsonb) WITH ORDINALITY x (value, place)
ORDER BY x.place;

-- name: waits_of
SELECT (
    SELECT coalesce(json_agg(round(
        (began_at - CASE WHEN available_at <= began_at THEN available_at ELSE created_at END) * 1e6
    )::bigint ORDER BY id), '[]')
    FROM (
        SELECT
            id, created_at, available_at,
            CASE
                WHEN started_at IS NOT NULL THEN started_at
                WHEN status = 'pending' AND due IS NULL AND worker IS NULL THEN :now::float8
            END AS began_at
        FROM (
            SELECT * FROM (
                SELECT id, created_at, available_at, started_at, status, due, worker
                FROM stepwell.runs
                WHERE workflow = ANY (ARRAY[:workflow]) AND id >= x.value ->> 0 AND id < x.value ->> 1
                ORDER BY workflow, id
                LIMIT :limit
            ) first
            UNION
            SELECT * FROM (
                SELECT id, created_at, available_at, started_at, status, due, worker
                FROM stepwell.runs
                WHERE workflow = ANY (ARRAY[:workflow]) AND id >= x.value ->> 0 AND id < x.value ->> 1
                ORDER BY workflow DESC, id DESC
                LIMIT :limit
            ) last
        ) chosen
    ) waited
    WHERE began_at IS NOT NULL
)
FROM jsonb_array_elements(:parts::jsonb) WITH ORDINALITY x (value, place)
ORDER BY x.place;

-- name: live_versions
-- Of each status the oldest.
SELECT workflow, version, count(*)
FROM (
    SELECT * FROM (
        SELECT workflow, version
        FROM stepwell.runs
        WHERE status = ANY (ARRAY['pending'])
        ORDER BY status, id
        LIMIT :cap
    ) pending
    UNION ALL
    SELECT * FROM (
        SELECT workflow, version
        FROM stepwell.runs
        WHERE status = ANY (ARRAY['running'])
        ORDER BY status, id
        LIMIT :cap
    ) running
    UNION ALL
    SELECT * FROM (
        SELECT workflow, version
        FROM stepwell.runs
        WHERE status = ANY (ARRAY['sleeping'])
        ORDER BY status, id
        LIMIT :cap
    ) sleeping
    UNION ALL
    SELECT * FROM (
        SELECT workflow, version
        FROM stepwell.runs
        WHERE status = ANY (ARRAY['paused'])
        ORDER BY status, id
        LIMIT :cap
    ) paused
) live
GROUP BY workflow, version;

-- name: backlog
-- Lanes in which something is ready: how much, and since when that waits which is claimed first of each head.
SELECT queue, workflow, version,
    (
        SELECT count(*)
        FROM (
            SELECT 1
            FROM stepwell.runs
            WHERE lane = l.id AND status = 'pending' AND worker IS NULL AND due IS NULL
            ORDER BY head, priority DESC, id
            LIMIT :limit
        ) ready
    ),
    (
        SELECT min(first.available_at)
        FROM (VALUES (0), (1), (2)) heads (head)
        CROSS JOIN LATERAL (
            SELECT available_at
            FROM stepwell.runs
            WHERE lane = l.id AND head = heads.head AND status = 'pending' AND worker IS NULL AND due IS NULL
            ORDER BY priority DESC, id
            LIMIT 1
        ) first
    )
FROM stepwell.lanes l
WHERE EXISTS (
    SELECT 1
    FROM stepwell.runs
    WHERE lane = l.id AND status = 'pending' AND worker IS NULL AND due IS NULL
)
ORDER BY queue COLLATE "C", workflow COLLATE "C", version COLLATE "C"
LIMIT :most;

-- name: oldest_ready
-- Of the oldest runs that are pending.
SELECT min(available_at)
FROM (
    SELECT available_at, worker, due
    FROM stepwell.runs
    WHERE status = ANY (ARRAY['pending'])
    ORDER BY status, id
    LIMIT :limit
) oldest
WHERE worker IS NULL AND due IS NULL;

-- name: around
-- What decides whether a run is claimed, beside the run itself: what is paused, who is there, and the lanes of versions that nobody knows.
SELECT (SELECT coalesce(json_agg(json_build_array(kind, name)), '[]') FROM (SELECT kind, name FROM stepwell.halts LIMIT :limit) h),
    (
        SELECT coalesce(json_agg(json_build_array(id, name, host, pid, queues, concurrency, lease, serves, running, parked, draining,
            (started_at * 1e6)::bigint, (beat_at * 1e6)::bigint)), '[]')
        FROM (SELECT * FROM stepwell.workers WHERE NOT dead ORDER BY beat_at DESC LIMIT :limit) w
    ),
    (
        SELECT coalesce(json_agg(json_build_array(queue, workflow, version)), '[]')
        FROM (SELECT queue, workflow, version FROM stepwell.lanes WHERE version = '*' LIMIT :limit) l
    );

-- name: catalog
-- Workflows that somebody has published or paused, from the one after `after` on: their versions, and whether they are paused.
SELECT w.name,
    (
        SELECT coalesce(json_agg(json_build_array(version, retry)), '[]')
        FROM (SELECT version, retry FROM stepwell.definitions WHERE name = w.name ORDER BY published_at DESC LIMIT :most) d
    ),
    EXISTS (SELECT 1 FROM stepwell.halts WHERE kind = 'workflow' AND name = w.name)
FROM (
    SELECT name
    FROM stepwell.definitions
    WHERE name > :after AND (:find::text IS NULL OR name ILIKE :find)
    UNION
    SELECT name COLLATE "C"
    FROM stepwell.halts
    WHERE kind = 'workflow' AND name COLLATE "C" > :after AND (:find::text IS NULL OR name ILIKE :find)
    ORDER BY 1
    LIMIT :limit
) w
ORDER BY w.name;

-- name: published
-- Of one workflow. If nobody has published it, there is one row, which says whether it is paused.
SELECT EXISTS (SELECT 1 FROM stepwell.halts WHERE kind = 'workflow' AND name = w.name),
    d.name, d.version, d.queue, d.priority, d.timeout, d.takes_version, d.input_schema, d.output_schema, d.retry
FROM (SELECT :workflow::text COLLATE "C" AS name) w
LEFT JOIN stepwell.definitions d ON d.name = w.name
ORDER BY d.version
LIMIT :limit;

-- name: queues
-- Those that are named by workflows, in which runs wait or have waited, and that are paused.
SELECT q.name, EXISTS (SELECT 1 FROM stepwell.halts WHERE kind = 'queue' AND name = q.name)
FROM (
    SELECT queue COLLATE "C" AS name
    FROM stepwell.definitions
    UNION
    SELECT queue COLLATE "C"
    FROM stepwell.lanes
    UNION
    SELECT name COLLATE "C"
    FROM stepwell.halts
    WHERE kind = 'queue'
    ORDER BY 1
    LIMIT :limit
) q
ORDER BY q.name;

-- name: schedules_page
-- Those that are declared from the one after this one on, then the others from the one after that one on. After NULL, there is none.
SELECT *
FROM (
    SELECT *
    FROM stepwell.schedules
    WHERE (workflow, name) > (:workflow::text, :name::text) AND declared
        AND (:find::text IS NULL OR workflow ILIKE :find OR name ILIKE :find)
    ORDER BY workflow, name
    LIMIT :limit
) declared
UNION ALL
SELECT *
FROM (
    SELECT *
    FROM stepwell.schedules
    WHERE (workflow, name) > (:other_workflow::text, :other_name::text) AND NOT declared
        AND (:find::text IS NULL OR workflow ILIKE :find OR name ILIKE :find)
    ORDER BY workflow, name
    LIMIT :limit
) others;

-- name: unknown_schedules
-- Those of them that nobody has ever declared.
SELECT x.value ->> 0, x.value ->> 1
FROM jsonb_array_elements(:keys::jsonb) x
WHERE NOT EXISTS (SELECT 1 FROM stepwell.schedules WHERE workflow = x.value ->> 0 AND name = x.value ->> 1)
LIMIT :limit;

-- name: schedules_of
-- Of each of these workflows the first: those that are declared before the others.
SELECT s.*
FROM jsonb_array_elements_text(:workflows::jsonb) x (name)
CROSS JOIN LATERAL (
    SELECT *
    FROM stepwell.schedules
    WHERE workflow = x.name
    ORDER BY declared DESC, name
    LIMIT :limit
) s;

-- name: due_schedules
-- How many fire, and how many should have fired before this time.
SELECT count(*), count(*) FILTER (WHERE next_at < :before)
FROM (SELECT next_at FROM stepwell.schedules WHERE declared AND paused_at IS NULL AND next_at IS NOT NULL LIMIT :limit) due;

-- name: story
-- A run, what was done to it last, and how its steps are tried again, where that was published.
SELECT r.*, i.input,
    (
        SELECT coalesce(json_agg(json_build_array((at * 1e6)::bigint, action, actor, subject) ORDER BY id), '[]')
        FROM (SELECT id, at, action, actor, subject FROM stepwell.events WHERE run = r.id ORDER BY id DESC LIMIT :limit) e
    ) AS events,
    (SELECT retry FROM stepwell.definitions WHERE name = r.workflow AND version = r.version) AS retry
FROM stepwell.runs r
JOIN stepwell.inputs i ON i.run = r.id
WHERE r.id = :run;

-- name: trace
-- What a timeline shows of a run: the newest attempts, the last one first, without what they have returned; of an error, its type.
-- How: 1 completed, 0 failed, -1 canceled, -2 under way.
SELECT key, attempt, kind, how, error, child, (began * 1e6)::bigint, (ended * 1e6)::bigint, (due * 1e6)::bigint
FROM (
    SELECT key, attempt, asked::bigint AS asked, kind, ok::integer AS how,
        CASE WHEN NOT ok THEN left(value::json ->> 'type', :characters::integer) END AS error, child, started_at AS began, at AS ended,
        NULL::float8 AS due
    FROM stepwell.outcomes
    WHERE run = :run AND kind <> 3
    UNION ALL
    SELECT key, attempt, asked, 0, -canceled::integer, left(error::json ->> 'type', :characters::integer), NULL, started_at, finished_at,
        CASE WHEN NOT void THEN due END
    FROM stepwell.attempts
    WHERE run = :run AND key <> :body
    UNION ALL
    SELECT s.key, s.attempt, 9223372036854775807, 0, -2, NULL, NULL, s.started_at, NULL, NULL
    FROM stepwell.runs r
    JOIN stepwell.started s ON s.run = r.id AND s.claim = r.claim
    WHERE r.id = :run AND coalesce(r.worker, '') <> '' AND r.status IN ('running', 'paused')
        AND NOT EXISTS (SELECT 1 FROM stepwell.outcomes o WHERE o.run = s.run AND o.key = s.key)
        AND NOT EXISTS (SELECT 1 FROM stepwell.attempts a WHERE a.run = s.run AND a.key = s.key AND a.attempt = s.attempt)
) begun
ORDER BY began DESC, asked DESC, attempt DESC, key DESC
LIMIT :limit;

-- name: some_steps
-- Attempts of a run, or of a step of it, from the one after this place on, in order. What they have returned is read of these only.
SELECT key, attempt, asked, kind, how,
    CASE
        WHEN how = -2 THEN NULL
        WHEN settled THEN (SELECT value FROM stepwell.outcomes WHERE run = :run AND key = p.key)
        ELSE (SELECT error FROM stepwell.attempts WHERE run = :run AND key = p.key AND attempt = p.attempt)
    END,
    child, began, ended, due
FROM (
    SELECT key, attempt, asked, kind, how, settled, child, began, ended, due
    FROM (
        SELECT key, attempt, asked::bigint AS asked, kind, ok::integer AS how, true AS settled, child, (started_at * 1e6)::bigint AS began,
            (at * 1e6)::bigint AS ended, NULL::bigint AS due
        FROM stepwell.outcomes
        WHERE run = :run AND kind <> 3
        UNION ALL
        SELECT key, attempt, asked, 0, -canceled::integer, false, NULL, (started_at * 1e6)::bigint, (finished_at * 1e6)::bigint,
            (CASE WHEN NOT void THEN due END * 1e6)::bigint
        FROM stepwell.attempts
        WHERE run = :run AND key <> :body
        UNION ALL
        SELECT s.key, s.attempt, 9223372036854775807, 0, -2, false, NULL, (s.started_at * 1e6)::bigint, NULL, NULL
        FROM stepwell.runs r
        JOIN stepwell.started s ON s.run = r.id AND s.claim = r.claim
        WHERE r.id = :run AND coalesce(r.worker, '') <> '' AND r.status IN ('running', 'paused')
            AND NOT EXISTS (SELECT 1 FROM stepwell.outcomes o WHERE o.run = s.run AND o.key = s.key)
            AND NOT EXISTS (SELECT 1 FROM stepwell.attempts a WHERE a.run = s.run AND a.key = s.key AND a.attempt = s.attempt)
    ) begun
    WHERE (began, asked, attempt, key) > (:began::bigint, :asked::bigint, :attempt::integer, :after::text)
        AND (:key::text IS NULL OR key = :key::text) AND (:number::integer IS NULL OR attempt = :number::integer)
    ORDER BY began, asked, attempt, key
    LIMIT :limit
) p
ORDER BY began, asked, attempt, key;

-- name: facts
-- Version, bytes, what was applied, and the time where it may be another than the caller's.
SELECT split_part(current_setting('server_version'), ' ', 1), pg_database_size(current_database()),
    (SELECT json_agg(name ORDER BY number) FROM stepwell.schema)::text, extract(epoch FROM clock_timestamp())::float8;
