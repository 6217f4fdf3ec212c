-- The statements of the store, in the order of a run's life. Batches come as one parameter, a JSON array of arrays: sqlite3 lets go of the
-- interpreter at each row that it steps, and a busy event loop may keep it for a while each time, so a batch must be one step.
-- Answers of many rows are one JSON text for the same reason. SQLite writes reals with 15 digits there, so instants leave as microseconds.

-- name: begin_to_write
-- Takes the right to write and changes nothing.
UPDATE stepwell_lanes
SET queue = queue
WHERE false;

-- name: lane
SELECT id
FROM stepwell_lanes
WHERE queue = :queue AND workflow = :workflow AND version = :version;

-- name: new_lane
INSERT INTO stepwell_lanes (queue, workflow, version)
VALUES (:queue, :workflow, :version)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: enqueue
-- A run whose key is taken, or that is there already, is left out.
INSERT INTO stepwell_runs (id, status, lane, workflow, version, queue, priority, head, due, timeout, deadline_at, created_at, available_at,
    key, tags, parent_id, schedule, scheduled_at, preview, awaited_as)
SELECT value ->> 0, 'pending', value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, 0, value ->> 6, value ->> 7, value ->> 8,
    value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14, value ->> 15, value ->> 16, value ->> 17
FROM json_each(:runs)
WHERE true
ON CONFLICT DO NOTHING;

-- name: enqueue_inputs
INSERT INTO stepwell_inputs (run, input)
SELECT value ->> 0, value ->> 1
FROM json_each(:inputs)
WHERE true
ON CONFLICT DO NOTHING;

-- name: enqueue_tags
INSERT INTO stepwell_tags (tag, run)
SELECT value ->> 0, value ->> 1
FROM json_each(:tags)
WHERE true
ON CONFLICT DO NOTHING;

-- name: enqueue_events
-- Who has started these. The same again changes nothing.
INSERT INTO stepwell_events (run, subject, at, action, actor)
SELECT x.value ->> 0, x.value ->> 0, x.value ->> 1, 'start', x.value ->> 2
FROM json_each(:events) x
WHERE NOT EXISTS (SELECT 1 FROM stepwell_events e WHERE e.run = x.value ->> 0 AND e.action = 'start');

-- name: by_key
-- The runs that have these keys.
SELECT json_group_array(json_array(x.key, r.id))
FROM json_each(:keys) x
CROSS JOIN stepwell_runs r ON r.workflow = x.value ->> 0 AND r.key = x.value ->> 1 AND r.key IS NOT NULL;

-- name: definitions
SELECT name, version, queue, priority, timeout, takes_version, input_schema, output_schema, retry
FROM stepwell_definitions
ORDER BY name, version;

-- name: publish
INSERT INTO stepwell_definitions
    (name, version, queue, priority, timeout, takes_version, input_schema, output_schema, retry, published_at)
VALUES (:name, :version, :queue, :priority, :timeout, :takes_version, :input_schema, :output_schema, :retry, :published_at)
ON CONFLICT (name, version) DO UPDATE SET
    queue = excluded.queue, priority = excluded.priority, timeout = excluded.timeout, takes_version = excluded.takes_version,
    input_schema = excluded.input_schema, output_schema = excluded.output_schema, retry = excluded.retry,
    published_at = excluded.published_at
WHERE excluded.published_at >= published_at;

-- name: register
INSERT INTO stepwell_workers (id, name, host, pid, queues, concurrency, lease, serves, socket, started_at, beat_at)
VALUES (:id, :name, :host, :pid, :queues, :concurrency, :lease, :serves, :socket, :started_at, :started_at)
ON CONFLICT (id) DO NOTHING;

-- name: beat
-- No row back: it was taken for dead.
UPDATE stepwell_workers
SET beat = beat + 1, beat_at = :now, running = :running, parked = :parked
WHERE id = :worker AND NOT dead
RETURNING draining;

-- name: peers
-- Those that were taken for dead stay until all their runs are with others: whoever began that may be gone, too.
SELECT id, beat, lease, dead, socket
FROM stepwell_workers
WHERE id <> :worker;

-- name: declare_dead
-- From here on it cannot claim; its commits are refused run by run, as they are taken from it.
UPDATE stepwell_workers
SET dead = 1
WHERE id = :worker AND beat = :beat;

-- name: leaving
-- There is one writer here.
SELECT 1
WHERE false;

-- name: owned
SELECT json_group_array(json_array(id, workflow, status, crashes))
FROM (
    SELECT id, workflow, status, crashes
    FROM stepwell_runs
    WHERE worker = :worker
    ORDER BY id
    LIMIT :limit
);

-- name: take_back
-- Runs leave their worker: with it, or without.
UPDATE stepwell_runs AS r
SET status = x.value ->> 1, worker = NULL, crashes = x.value ->> 2, head = x.value ->> 3, available_at = coalesce(x.value ->> 4, r.available_at),
    finished_at = x.value ->> 5, error = coalesce(x.value ->> 6, r.error)
FROM json_each(:runs) x
WHERE r.id = x.value ->> 0;

-- name: forget_worker
DELETE FROM stepwell_workers
WHERE id = :worker;

-- name: forget_notices
DELETE FROM stepwell_notices
WHERE worker = :worker AND id <= :seen;

-- name: look
-- Each part reads one entry of one index. Named, because without statistics (nobody runs ANALYZE) SQLite prefers the one by status,
-- and walks over all that sleeps.
SELECT
    EXISTS (
        SELECT 1
        FROM stepwell_runs INDEXED BY stepwell_runs_ready
        WHERE status = 'pending' AND worker IS NULL AND due IS NULL
    ) AS ready,
    (
        SELECT min(due)
        FROM stepwell_runs INDEXED BY stepwell_runs_due
        WHERE worker IS NULL AND due IS NOT NULL AND status IN ('pending', 'sleeping')
    ) AS due,
    (
        SELECT min(deadline_at)
        FROM stepwell_runs INDEXED BY stepwell_runs_deadline
        WHERE deadline_at IS NOT NULL AND status IN ('pending', 'running', 'sleeping')
    ) AS deadline,
    EXISTS (SELECT 1 FROM stepwell_notices WHERE worker = :worker) AS notices,
    (SELECT coalesce(max(changed), 0) FROM stepwell_schedules) AS schedules;

-- name: make_ready
-- The most overdue first.
UPDATE stepwell_runs
SET status = 'pending', available_at = due, due = NULL
WHERE id IN (
    SELECT id
    FROM stepwell_runs INDEXED BY stepwell_runs_due
    WHERE worker IS NULL AND due IS NOT NULL AND status IN ('pending', 'sleeping') AND due <= :now
    ORDER BY due
    LIMIT :limit
);

-- name: expired
SELECT json_group_array(json_array(id, workflow, timeout, worker))
FROM (
    SELECT id, workflow, timeout, worker
    FROM stepwell_runs INDEXED BY stepwell_runs_deadline
    WHERE deadline_at IS NOT NULL AND status IN ('pending', 'running', 'sleeping') AND deadline_at <= :now
    ORDER BY deadline_at
    LIMIT :limit
);

-- name: expire
UPDATE stepwell_runs AS r
SET status = 'failed', worker = NULL, due = NULL, finished_at = :now, error = x.value ->> 1
FROM json_each(:runs) x
WHERE r.id = x.value ->> 0;

-- name: lock_schedules
-- There is one writer here.
SELECT 1
WHERE false;

-- name: last_deed
SELECT coalesce(max(changed), 0)
FROM stepwell_schedules;

-- name: new_release
INSERT INTO stepwell_releases AS r (id, number)
VALUES (1, 1)
ON CONFLICT (id) DO UPDATE SET number = r.number + 1
RETURNING number;

-- name: declares
UPDATE stepwell_workers
SET declares = :declares
WHERE id = :worker AND NOT dead;

-- name: others_declare
SELECT declares
FROM stepwell_workers
WHERE NOT dead AND id <> :worker AND declares IS NOT NULL;

-- name: known_schedules
SELECT json_group_array(json_array(workflow, name, release, digest, expression, timezone, overlap, catch_up, jitter, input, version,
    declared, CAST(round(next_at * 1e6) AS INTEGER), CAST(round(waiting_at * 1e6) AS INTEGER), paused_at IS NOT NULL, changed,
    CAST(round(last_at * 1e6) AS INTEGER)))
FROM stepwell_schedules
WHERE workflow IN (SELECT value FROM json_each(:workflows));

-- name: declare
INSERT INTO stepwell_schedules (workflow, name, release, digest, expression, timezone, overlap, catch_up, jitter, input, version,
    declared, next_at, waiting_at, changed)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9,
    value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14
FROM json_each(:schedules)
WHERE true
ON CONFLICT (workflow, name) DO UPDATE SET
    release = excluded.release, digest = excluded.digest, expression = excluded.expression, timezone = excluded.timezone,
    overlap = excluded.overlap, catch_up = excluded.catch_up, jitter = excluded.jitter, input = excluded.input,
    version = excluded.version, declared = excluded.declared, next_at = excluded.next_at, waiting_at = excluded.waiting_at,
    changed = excluded.changed;

-- name: changed_schedules
SELECT workflow, name
FROM stepwell_schedules
WHERE changed > :deed
ORDER BY changed
LIMIT :limit;

-- name: cursors
SELECT json_group_array(json_array(s.workflow, s.name, s.digest, CAST(round(s.next_at * 1e6) AS INTEGER),
    CAST(round(s.waiting_at * 1e6) AS INTEGER), s.paused_at IS NOT NULL, s.last_run,
    coalesce(r.status IN ('pending', 'running', 'sleeping', 'paused'), false), NULL))
FROM json_each(:keys) x
CROSS JOIN stepwell_schedules s ON s.workflow = x.value ->> 0 AND s.name = x.value ->> 1
LEFT JOIN stepwell_runs r ON r.id = s.last_run;

-- name: lock_cursors
SELECT declared, next_at, waiting_at, paused_at
FROM stepwell_schedules
WHERE (workflow, name) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:keys));

-- name: move_cursors
UPDATE stepwell_schedules AS s
SET next_at = x.value ->> 5, waiting_at = x.value ->> 6, last_at = coalesce(x.value ->> 7, s.last_at),
    last_run = coalesce(x.value ->> 8, s.last_run)
FROM json_each(:firings) x
WHERE s.workflow = x.value ->> 0 AND s.name = x.value ->> 1 AND s.digest = x.value ->> 2 AND s.next_at IS x.value ->> 3
    AND s.waiting_at IS x.value ->> 4 AND s.paused_at IS NULL
RETURNING workflow, name;

-- name: fail_inputs
UPDATE stepwell_runs AS r
SET status = 'failed', due = NULL, finished_at = :now, error = x.value ->> 1
FROM json_each(:runs) x
WHERE r.id = x.value ->> 0;

-- name: add_slots
INSERT INTO stepwell_slots (workflow, name, slot, until, count, outcome, reason, run, actor, at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, :at
FROM json_each(:slots);

-- name: supply
UPDATE stepwell_runs
SET preview = :preview
WHERE id = :run AND worker = :worker AND claim = :claim AND EXISTS (SELECT 1 FROM stepwell_workers WHERE id = :worker AND NOT dead);

-- name: supply_input
UPDATE stepwell_inputs
SET input = :input
WHERE run = :run;

-- name: schedules
SELECT *
FROM stepwell_schedules
WHERE (:workflow IS NULL OR workflow = :workflow) AND (:name IS NULL OR name = :name)
ORDER BY workflow, name;

-- name: pause_schedule
UPDATE stepwell_schedules
SET paused_at = :now, paused_by = :actor, waiting_at = NULL, changed = :changed
WHERE workflow = :workflow AND name = :name AND paused_at IS NULL;

-- name: resume_schedule
UPDATE stepwell_schedules
SET paused_at = NULL, paused_by = NULL, next_at = CASE WHEN declared THEN :next_at END, changed = :changed
WHERE workflow = :workflow AND name = :name AND digest = :digest AND next_at IS :seen AND paused_at IS NOT NULL;

-- name: triggered
UPDATE stepwell_schedules
SET last_run = :run
WHERE workflow = :workflow AND name = :name;

-- name: made
-- Slots between these two that have had a run, and which. What was triggered is of no slot.
SELECT json_group_array(json_array(CAST(round(slot * 1e6) AS INTEGER), run))
FROM (
    SELECT slot, run
    FROM stepwell_slots
    WHERE workflow = :workflow AND name = :name AND slot BETWEEN :first AND :last AND run IS NOT NULL AND outcome <> 'triggered'
    UNION
    SELECT r.scheduled_at, r.id
    FROM stepwell_runs r
    WHERE r.workflow = :workflow AND r.schedule = :name AND r.schedule IS NOT NULL AND r.scheduled_at BETWEEN :first AND :last
        AND NOT EXISTS (SELECT 1 FROM stepwell_events WHERE run = r.id AND action = 'trigger')
);

-- name: backfilled
INSERT INTO stepwell_events (run, subject, at, action, actor)
SELECT value, value, :at, 'backfill', :actor
FROM json_each(:runs);

-- name: slots
SELECT *
FROM stepwell_slots
WHERE workflow = :workflow AND name = :name AND id < :before
ORDER BY id DESC
LIMIT :limit;

-- name: forget_slots
DELETE FROM stepwell_slots
WHERE id IN (
    SELECT o.id
    FROM json_each(:keys) x
    CROSS JOIN stepwell_slots o ON o.workflow = x.value ->> 0 AND o.name = x.value ->> 1
    WHERE o.id <= (
        SELECT id
        FROM stepwell_slots
        WHERE workflow = x.value ->> 0 AND name = x.value ->> 1
        ORDER BY id DESC
        LIMIT 1 OFFSET :keep
    )
);

-- name: notify
INSERT INTO stepwell_notices (worker, run)
SELECT value ->> 0, value ->> 1
FROM json_each(:notices);

-- name: lanes
-- Where there are more than are known: those, or all. They are numbered one after the other here, and never taken away.
SELECT id, queue, workflow, version
FROM stepwell_lanes
WHERE id > :known
ORDER BY id;

-- name: halts
SELECT kind, name
FROM stepwell_halts;

-- name: prospect
-- All that a claim wants to know first: whether the worker may claim, the lanes that are not known yet, what is paused as a whole, and of
-- each of these lanes, by head, the highest and the lowest priority of what waits there and the newest of the lowest, as `heads` has it.
SELECT
    EXISTS (SELECT 1 FROM stepwell_workers WHERE id = :worker AND NOT dead),
    (SELECT json_group_array(json_array(id, queue, workflow, version)) FROM stepwell_lanes WHERE id > :known),
    (SELECT json_group_array(json_array(kind, name)) FROM stepwell_halts),
    (
        SELECT json_group_array(json_array(h.value, l.value, (
            SELECT priority
            FROM stepwell_runs
            WHERE status = 'pending' AND worker IS NULL AND due IS NULL AND lane = l.value AND head = h.value
            ORDER BY priority DESC, id
            LIMIT 1
        ), low.priority, low.id))
        FROM json_each('[0, 1, 2]') h
        CROSS JOIN json_each(:lanes) l
        CROSS JOIN stepwell_runs low ON low.id = (
            SELECT id
            FROM stepwell_runs
            WHERE status = 'pending' AND worker IS NULL AND due IS NULL AND lane = l.value AND head = h.value
            ORDER BY priority, id DESC
            LIMIT 1
        )
    );

-- name: heads
-- Of each of these lanes, the highest and the lowest priority of what waits there below a priority, and the newest of the lowest, where
-- there is something.
SELECT json_group_array(json_array(l.value, (
    SELECT priority
    FROM stepwell_runs
    WHERE status = 'pending' AND worker IS NULL AND due IS NULL AND lane = l.value AND head = :head
        AND priority < coalesce(:below, 1 << 62)
    ORDER BY priority DESC, id
    LIMIT 1
), low.priority, low.id))
FROM json_each(:lanes) l
CROSS JOIN stepwell_runs low ON low.id = (
    SELECT id
    FROM stepwell_runs
    WHERE status = 'pending' AND worker IS NULL AND due IS NULL AND lane = l.value AND head = :head
        AND priority < coalesce(:below, 1 << 62)
    ORDER BY priority, id DESC
    LIMIT 1
);

-- name: ready
-- The first of each of these lanes. The order of the index is that of the claim.
SELECT json_group_array(json_array(lane, r.value))
FROM (
    SELECT l.value ->> 0 AS lane,
        (
            SELECT json_group_array(id)
            FROM (
                SELECT id
                FROM stepwell_runs
                WHERE status = 'pending' AND worker IS NULL AND due IS NULL AND lane = l.value ->> 0 AND head = :head
                    AND priority = :priority AND id > l.value ->> 1
                ORDER BY id
                LIMIT :limit
            )
        ) AS ids
    FROM json_each(:lanes) l
) found
CROSS JOIN json_each(found.ids) r;

-- name: pin
-- What was not known when the run was started.
UPDATE stepwell_runs AS r
SET lane = x.value ->> 1, version = x.value ->> 2, timeout = coalesce(r.timeout, x.value ->> 3),
    deadline_at = coalesce(r.deadline_at, r.available_at + x.value ->> 3)
FROM json_each(:pins) x
WHERE r.id = x.value ->> 0;

-- name: claim
UPDATE stepwell_runs
SET status = 'running', worker = :worker, claim = claim + 1, head = max(head, 1), error = NULL,
    started_at = coalesce(started_at, :now), begun_at = coalesce(begun_at, :now), claimed_at = :now, claimed_by = :worker
WHERE id IN (SELECT value FROM json_each(:runs));

-- name: claimed
-- In the order in which they were chosen, those that the worker has got; without a worker, all.
SELECT json_group_array(json_array(id, claim, workflow, version, input, attempt, generation, CAST(round(created_at * 1e6) AS INTEGER),
    CAST(round(begun_at * 1e6) AS INTEGER), CAST(round(scheduled_at * 1e6) AS INTEGER), tags, crashes, news))
FROM (
    SELECT r.id, claim, workflow, version, input, attempt, generation, created_at, begun_at, scheduled_at, tags, crashes, news
    FROM json_each(:runs) x
    CROSS JOIN stepwell_runs r ON r.id = x.value
    CROSS JOIN stepwell_inputs i ON i.run = r.id
    WHERE :worker IS NULL OR (r.worker = :worker AND r.status = 'running')
    ORDER BY x.key
);

-- name: histories
-- As much as one answer may hold, by rows and by characters.
SELECT json_group_array(json_array(run, key, seq, asked, kind, ok, value, CAST(round(at * 1e6) AS INTEGER), mark, attempt,
    CAST(round(started_at * 1e6) AS INTEGER), python, child))
FROM (
    SELECT *, sum(length(value)) OVER (ORDER BY run, seq) - length(value) AS before
    FROM (
        SELECT run, key, seq, asked, kind, ok, value, at, mark, attempt, started_at, python, child
        FROM stepwell_outcomes
        WHERE run IN (SELECT value FROM json_each(:runs))
        ORDER BY run, seq
        LIMIT :rows
    )
)
WHERE coalesce(before, 0) <= :characters;

-- name: tried
SELECT json_group_array(json_array(run, key, attempts, failures, CAST(round(due * 1e6) AS INTEGER), evidence))
FROM (
    SELECT run, key, max(attempt) AS attempts, sum(NOT void AND NOT canceled) AS failures, max(iif(void, 0, coalesce(due, 0))) AS due,
        max(NOT void) AS evidence
    FROM stepwell_attempts a
    WHERE run IN (SELECT value FROM json_each(:runs))
        AND NOT (void AND key = :body)
        AND NOT EXISTS (SELECT 1 FROM stepwell_outcomes o WHERE o.run = a.run AND o.key = a.key)
    GROUP BY run, key
);

-- name: logged
SELECT json_group_array(json_array(run, after, n))
FROM (
    SELECT run, after, max(n) AS n
    FROM stepwell_logs l
    WHERE run IN (SELECT value FROM json_each(:runs)) AND after >= 0
        AND after = (SELECT max(after) FROM stepwell_logs WHERE run = l.run)
    GROUP BY run
);

-- name: unread
-- The signals of these runs for which no outcome stands yet.
SELECT json_group_array(json_array(run, number, name, payload, CAST(round(sent_at * 1e6) AS INTEGER)))
FROM (
    SELECT s.run, s.number, s.name, s.payload, s.sent_at
    FROM json_each(:runs) x
    CROSS JOIN stepwell_signals s ON s.run = x.value
    WHERE (s.run, s.number) NOT IN (
        SELECT run, mark
        FROM stepwell_outcomes
        WHERE run IN (SELECT value FROM json_each(:runs)) AND kind IN (4, 5)
    )
    ORDER BY s.run, s.number
);

-- name: outcomes
SELECT json_group_array(json_array(run, key, seq, asked, kind, ok, value, CAST(round(at * 1e6) AS INTEGER), mark, attempt,
    CAST(round(started_at * 1e6) AS INTEGER), python, child))
FROM (
    SELECT run, key, seq, asked, kind, ok, value, at, mark, attempt, started_at, python, child
    FROM stepwell_outcomes
    WHERE run = :run AND seq > :after
    ORDER BY seq
    LIMIT :limit
);

-- name: fence
-- How these runs stand. The transaction is the only writer, so it may be looked at once for all that follows.
SELECT json_group_array(json_array(r.id, r.claim, r.status, r.worker = :worker AND w.alive, r.crashes, r.news,
    r.awaited_as IS NOT NULL))
FROM (SELECT EXISTS (SELECT 1 FROM stepwell_workers WHERE id = :worker AND NOT dead) AS alive) w
CROSS JOIN json_each(:runs) x
CROSS JOIN stepwell_runs r ON r.id = x.value;

-- name: record
INSERT INTO stepwell_outcomes (run, key, seq, asked, kind, ok, value, at, mark, attempt, started_at, python, child)
SELECT value ->> 0, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10,
    value ->> 11, value ->> 12, value ->> 13
FROM json_each(:outcomes)
WHERE true
ON CONFLICT (run, key) DO NOTHING;

-- name: recorded
-- What is there already.
SELECT run, key, seq, asked, kind, ok, value, CAST(round(at * 1e6) AS INTEGER), mark, attempt, CAST(round(started_at * 1e6) AS INTEGER), python,
    child
FROM stepwell_outcomes
WHERE run = :run AND key = :key;

-- name: attempt
INSERT INTO stepwell_attempts (run, key, attempt, asked, canceled, error, started_at, finished_at, due)
SELECT value ->> 0, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9
FROM json_each(:attempts)
WHERE true
ON CONFLICT (run, key, attempt) DO UPDATE SET
    asked = excluded.asked, canceled = excluded.canceled, error = excluded.error, started_at = excluded.started_at,
    finished_at = excluded.finished_at, due = excluded.due, void = 0;

-- name: started
INSERT INTO stepwell_started (run, claim, key, attempt, started_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
FROM json_each(:started)
WHERE true
ON CONFLICT (run, key) DO UPDATE SET claim = excluded.claim, attempt = excluded.attempt, started_at = excluded.started_at;

-- name: log
INSERT INTO stepwell_logs (run, after, scope, n, at, level, message, fields, step)
SELECT value ->> 0, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9
FROM json_each(:logs)
WHERE true
ON CONFLICT (run, after, scope, n) DO NOTHING;

-- name: progress
UPDATE stepwell_runs AS r
SET progress = json_object('done', x.value -> 2, 'total', x.value -> 3, 'message', x.value -> 4)
FROM json_each(:progress) x
WHERE r.id = x.value ->> 0;

-- name: survived
-- A step was recorded: the run does not take its workers down any more.
UPDATE stepwell_runs
SET crashes = 0
WHERE id IN (SELECT value FROM json_each(:runs));

-- name: move
-- The new status was looked up in the table of transitions, in this transaction.
UPDATE stepwell_runs AS r
SET status = x.value ->> 1, worker = iif(x.value ->> 2, r.worker, NULL), due = iif(x.value ->> 9, r.due, x.value ->> 3),
    output = coalesce(x.value ->> 4, r.output),
    error = coalesce(x.value ->> 5, r.error), attempt = coalesce(x.value ->> 6, r.attempt), finished_at = x.value ->> 7,
    available_at = coalesce(x.value ->> 8, r.available_at), head = iif(r.crashes >= 2, 2, 1), deaf = x.value ->> 10
FROM json_each(:moves) x
WHERE r.id = x.value ->> 0;

-- name: renew
-- The run goes on as new.
UPDATE stepwell_runs
SET generation = generation + 1, attempt = 1, begun_at = NULL, crashes = 0, head = 1, preview = :preview, deadline_at = :now + timeout
WHERE id = :run;

-- name: renew_input
UPDATE stepwell_inputs
SET input = :input
WHERE run = :run;

-- name: forget_outcomes
DELETE FROM stepwell_outcomes
WHERE run = :run;

-- name: forget_attempts
DELETE FROM stepwell_attempts
WHERE run = :run;

-- name: forget_signals
DELETE FROM stepwell_signals
WHERE run = :run AND number IN (SELECT value FROM json_each(:numbers));

-- name: notices
SELECT n.id, n.run, r.claim, r.status, r.worker IS :worker
FROM stepwell_notices n
LEFT JOIN stepwell_runs r ON r.id = n.run
WHERE n.worker = :worker AND n.id > :seen
ORDER BY n.id
LIMIT 1000;

-- name: news
-- The newest number of each of these runs, and its signals after the number that comes with it.
SELECT json_group_array(json_array(id, news, number, name, payload, CAST(round(sent_at * 1e6) AS INTEGER)))
FROM (
    SELECT r.id, r.news, s.number, s.name, s.payload, s.sent_at
    FROM json_each(:runs) x
    CROSS JOIN stepwell_runs r ON r.id = x.value ->> 0
    LEFT JOIN stepwell_signals s ON s.run = r.id AND s.number > x.value ->> 1
    ORDER BY r.id, s.number
);

-- name: standing
SELECT json_group_array(json_array(id, claim, status))
FROM stepwell_runs
WHERE worker = :worker;

-- name: mailbox
-- What sending needs to know.
SELECT status, worker, deaf, news, EXISTS (SELECT 1 FROM stepwell_signals WHERE run = :run AND id = :id)
FROM stepwell_runs
WHERE id = :run;

-- name: signals
-- Without what its children say, which nobody can limit.
SELECT count(*)
FROM stepwell_signals
WHERE run = :run AND name NOT LIKE '~%';

-- name: send
INSERT INTO stepwell_signals (run, number, id, name, payload, sent_at)
VALUES (:run, :number, :id, :name, :payload, :now);

-- name: raise_news
-- A sleeper that a worker has in memory is told; should that worker be gone, it is made ready as if it were due.
UPDATE stepwell_runs
SET news = :number, due = iif(:due, :now, due)
WHERE id = :run;

-- name: awake
UPDATE stepwell_runs
SET status = 'pending', due = NULL, available_at = :now
WHERE id = :run;

-- name: end
-- What its parent is told of it, where one awaits it.
SELECT parent_id, workflow, status, output, error
FROM stepwell_runs
WHERE id = :run AND awaited_as IS NOT NULL;

-- name: not_awaited
UPDATE stepwell_runs
SET awaited_as = NULL
WHERE id = :run AND parent_id = :parent
RETURNING id;

-- name: awaited
SELECT id, awaited_as, created_at
FROM stepwell_runs
WHERE parent_id = :run AND awaited_as IS NOT NULL AND status IN ('pending', 'running', 'sleeping', 'paused')
ORDER BY id;

-- name: canceled_with_its_parent
-- Void: when the parent is retried, its step has another child.
INSERT INTO stepwell_attempts (run, key, attempt, asked, canceled, error, started_at, finished_at, due, void)
SELECT :run, :key, 1 + coalesce(max(attempt), 0), 0, 1, NULL, :started_at, :now, NULL, 1
FROM stepwell_attempts
WHERE run = :run AND key = :key;

-- name: state
-- What an action needs to know.
SELECT status, worker, claim, error
FROM stepwell_runs
WHERE id = :run;

-- name: pause
-- What may be executing a step keeps its owner, until that is recorded.
UPDATE stepwell_runs
SET status = 'paused', due = NULL, worker = iif(status = 'sleeping', NULL, worker)
WHERE id = :run;

-- name: resume
UPDATE stepwell_runs
SET status = 'pending', due = NULL, available_at = :now, head = iif(claim = 0, head, iif(crashes >= 2, 2, 1))
WHERE id = :run;

-- name: cancel
UPDATE stepwell_runs
SET status = 'canceled', worker = NULL, due = NULL, finished_at = :now
WHERE id = :run;

-- name: retry
UPDATE stepwell_runs
SET status = 'pending', due = NULL, available_at = :now, attempt = 1, error = NULL, finished_at = NULL, crashes = 0, head = 1,
    deadline_at = :now + timeout
WHERE id = :run;

-- name: take_outcomes_back
DELETE FROM stepwell_outcomes
WHERE run = :run AND key IN (SELECT value FROM json_each(:keys));

-- name: void_attempts
UPDATE stepwell_attempts
SET void = 1
WHERE run = :run AND (asked >= :first OR key = :body OR key IN (SELECT value FROM json_each(:failed)));

-- name: move_logs
-- What was said in the knowledge of what is taken back stays to be read, and leaves its place to what will be said there now.
UPDATE stepwell_logs
SET after = -1, scope = '~' || :claim || '.' || after
WHERE run = :run AND after >= :first;

-- name: event
INSERT INTO stepwell_events (run, subject, at, action, actor)
VALUES (:run, :subject, :at, :action, :actor);

-- name: fork
-- Numbers of signals go on where those of the source end: its outcomes refer to them.
UPDATE stepwell_runs
SET forked_from = :source, head = 1, news = (SELECT news FROM stepwell_runs WHERE id = :source)
WHERE id = :run;

-- name: standing_attempts
SELECT run, 0, key, attempt, asked, canceled, error, started_at, finished_at, due
FROM stepwell_attempts
WHERE run = :run AND NOT void;

-- name: delete
DELETE FROM stepwell_runs
WHERE id IN (SELECT value FROM json_each(:runs));

-- name: delete_inputs
DELETE FROM stepwell_inputs
WHERE run IN (SELECT value FROM json_each(:runs));

-- name: tags_of
-- Those of these runs that have ended, and may be deleted, with their tags.
SELECT id, tags
FROM stepwell_runs
WHERE id IN (SELECT value FROM json_each(:runs)) AND status IN ('completed', 'failed', 'canceled');

-- name: delete_tags
DELETE FROM stepwell_tags
WHERE (tag, run) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:tags));

-- name: delete_outcomes
DELETE FROM stepwell_outcomes
WHERE run IN (SELECT value FROM json_each(:runs));

-- name: delete_attempts
DELETE FROM stepwell_attempts
WHERE run IN (SELECT value FROM json_each(:runs));

-- name: delete_started
DELETE FROM stepwell_started
WHERE run IN (SELECT value FROM json_each(:runs));

-- name: delete_signals
DELETE FROM stepwell_signals
WHERE run IN (SELECT value FROM json_each(:runs));

-- name: delete_logs
DELETE FROM stepwell_logs
WHERE run IN (SELECT value FROM json_each(:runs));

-- name: delete_events
DELETE FROM stepwell_events
WHERE run IN (SELECT value FROM json_each(:runs));

-- name: drain
UPDATE stepwell_workers
SET draining = 1
WHERE id = :worker AND NOT dead
RETURNING id;

-- name: halt
INSERT INTO stepwell_halts (kind, name)
VALUES (:kind, :name)
ON CONFLICT DO NOTHING
RETURNING kind;

-- name: unhalt
DELETE FROM stepwell_halts
WHERE kind = :kind AND name = :name
RETURNING kind;

-- name: get
SELECT r.*, i.input
FROM stepwell_runs r
JOIN stepwell_inputs i ON i.run = r.id
WHERE r.id = :run;

-- name: find
-- The base of every list; what follows WHERE is added by the reader: an index's own condition, `filters`, the cursor, and the order.
SELECT r.id
FROM stepwell_runs r
WHERE true;

-- name: find_by_tag
SELECT r.id
FROM stepwell_tags t
CROSS JOIN stepwell_runs r ON r.id = t.run
WHERE t.tag = :tag;

-- name: find_newest
-- As `find`, of the newest runs only that the ids allow.
SELECT r.id
FROM (
    SELECT id, status, workflow, version, queue, created_at, finished_at, key, tags, preview, error
    FROM stepwell_runs
    WHERE id >= coalesce(:id_from, '') AND id < coalesce(:id_below, '~')
    ORDER BY id DESC
    LIMIT :within
) r
WHERE true;

-- name: of_status
-- Added to `find` and `count`, with the status written out.
    AND r.status = :status
;

-- name: also_of_status
-- Without its index, where another one finds it sooner.
    AND +r.status = :status
;

-- name: of_workflow
    AND r.workflow = :workflow
;

-- name: filters
-- Added to `find`. What is NULL is no filter.
    AND (:workflow IS NULL OR r.workflow = :workflow)
    AND (:version IS NULL OR r.version = :version)
    AND (:queue IS NULL OR r.queue = :queue)
    AND (:statuses IS NULL OR r.status IN (SELECT value FROM json_each(:statuses)))
    AND (:created_after IS NULL OR r.created_at >= :created_after)
    AND (:created_before IS NULL OR r.created_at < :created_before)
    AND (:finished_before IS NULL OR r.finished_at < :finished_before)
    AND (:tags IS NULL OR NOT EXISTS (
        SELECT 1
        FROM json_each(:tags) x
        WHERE NOT EXISTS (SELECT 1 FROM stepwell_tags WHERE tag = x.value AND run = r.id)
    ))
    AND (:search IS NULL
        OR r.id LIKE :search ESCAPE '\'
        OR r.key LIKE :search ESCAPE '\'
        OR r.workflow LIKE :search ESCAPE '\'
        -- Whoever may not see a secret must not find it out by searching for one beginning after the other.
        OR (r.preview LIKE :search ESCAPE '\'
            AND NOT EXISTS (
                SELECT 1 FROM (SELECT value AS name FROM json_each(:unseen)) WHERE r.preview GLOB '*' || name || '*'
            ))
        OR EXISTS (SELECT 1 FROM json_each(r.tags) WHERE value LIKE :search ESCAPE '\')
        OR ((r.error ->> 'type') || ': ' || (r.error ->> 'message') LIKE :search ESCAPE '\'
            -- Nor in a message: under such a name, in a URL, or in a header that says who asks.
            AND (:unseen IS NULL OR NOT (
                r.error ->> 'message' LIKE '%://%@%'
                OR r.error ->> 'message' LIKE '%bearer_%'
                OR r.error ->> 'message' LIKE '%basic_%'
                OR EXISTS (
                    SELECT 1 FROM (SELECT value AS name FROM json_each(:unseen)) WHERE r.error ->> 'message' GLOB '*' || name || '*[=:]*'
                )))))
;

-- name: shown
SELECT r.*, i.input
FROM json_each(:runs) x
CROSS JOIN stepwell_runs r ON r.id = x.value
CROSS JOIN stepwell_inputs i ON i.run = r.id
ORDER BY x.key;

-- name: count_all
SELECT status, count(*)
FROM stepwell_runs
GROUP BY status;

-- name: count
-- With `filters`.
SELECT r.status, count(*)
FROM stepwell_runs r
WHERE true;

-- name: ended
-- Those that are not there, too.
SELECT json_group_array(json_array(x.value, r.workflow, r.status, r.output, r.error))
FROM json_each(:runs) x
LEFT JOIN stepwell_runs r ON r.id = x.value
WHERE r.id IS NULL OR r.status IN ('completed', 'failed', 'canceled');

-- name: is_there
SELECT 1
FROM stepwell_runs
WHERE id = :run;

-- name: attempts
SELECT run, 0, key, attempt, asked, canceled, error, started_at, finished_at, iif(void, NULL, due)
FROM stepwell_attempts
WHERE run = :run AND key <> :body;

-- name: under_way
-- Attempts that go on now, as far as is known.
SELECT s.key, s.attempt, s.started_at
FROM stepwell_runs r
JOIN stepwell_started s ON s.run = r.id AND s.claim = r.claim
WHERE r.id = :run AND r.worker IS NOT NULL AND r.status IN ('running', 'paused')
    AND NOT EXISTS (SELECT 1 FROM stepwell_outcomes o WHERE o.run = s.run AND o.key = s.key)
    AND NOT EXISTS (SELECT 1 FROM stepwell_attempts a WHERE a.run = s.run AND a.key = s.key AND a.attempt = s.attempt);

-- name: logs
-- A run without any has one row of nothing.
SELECT l.at, l.level, l.message, l.fields, l.step
FROM stepwell_runs r
LEFT JOIN stepwell_logs l ON l.run = r.id AND (:step IS NULL OR l.step = :step) AND (:levels IS NULL OR l.level IN (SELECT value FROM json_each(:levels)))
WHERE r.id = :run
ORDER BY l.at, l.id
LIMIT :limit OFFSET :after;

-- name: last_logs
-- The same from their end.
SELECT l.at, l.level, l.message, l.fields, l.step
FROM stepwell_runs r
LEFT JOIN stepwell_logs l ON l.run = r.id AND (:step IS NULL OR l.step = :step) AND (:levels IS NULL OR l.level IN (SELECT value FROM json_each(:levels)))
WHERE r.id = :run
ORDER BY l.at DESC, l.id DESC
LIMIT :limit OFFSET :after;

-- name: events
-- A run without any has one row of nothing.
SELECT e.at, e.action, e.actor, e.subject
FROM stepwell_runs r
LEFT JOIN stepwell_events e ON e.run = r.id
WHERE r.id = :run
ORDER BY e.id
LIMIT :limit;

-- name: subject_events
-- Of a workflow, a queue, a schedule or a worker.
SELECT at, action, actor
FROM stepwell_events
WHERE run IS NULL AND subject = :subject
ORDER BY id
LIMIT :limit;

-- name: workers
SELECT id, name, host, pid, queues, concurrency, lease, serves, running, parked, draining, started_at, beat_at
FROM stepwell_workers
WHERE NOT dead
ORDER BY started_at, name, id
LIMIT :limit;

-- name: pulse
-- What other connections have written changes the first, what this one has, the second.
SELECT data_version, total_changes()
FROM pragma_data_version;

-- name: active
-- Those that are running first.
SELECT id, place
FROM (
    SELECT * FROM (SELECT id, 0 AS place FROM stepwell_runs WHERE status = 'running' ORDER BY id DESC LIMIT :limit)
    UNION ALL
    SELECT * FROM (SELECT id, 1 AS place FROM stepwell_runs WHERE status = 'pending' ORDER BY id DESC LIMIT :limit)
    UNION ALL
    SELECT * FROM (SELECT id, 1 AS place FROM stepwell_runs WHERE status = 'sleeping' ORDER BY id DESC LIMIT :limit)
    UNION ALL
    SELECT * FROM (SELECT id, 1 AS place FROM stepwell_runs WHERE status = 'paused' ORDER BY id DESC LIMIT :limit)
)
ORDER BY place, id DESC
LIMIT :limit;

-- name: summaries
-- Without payloads; of an error, what fits into a line. Whoever has paused it is not named once somebody let it go on: code that has changed
-- pauses runs, too, and leaves no event.
SELECT r.id, r.workflow, r.version, r.status, r.preview, r.attempt, r.key, r.queue, r.priority, r.tags, r.parent_id, r.forked_from, r.schedule,
    r.scheduled_at, r.progress, r.created_at, r.available_at, r.started_at, r.finished_at, r.worker,
    substr((r.error ->> 'type') || coalesce(': ' || nullif(r.error ->> 'message', ''), ''), 1, :characters) AS short_error,
    CASE WHEN r.status = 'paused' THEN (
        SELECT CASE WHEN s.action = 'pause' THEN s.actor END
        FROM (SELECT id, action, actor FROM stepwell_events WHERE run = r.id ORDER BY id DESC LIMIT :looked) s
        WHERE s.action IN ('pause', 'resume', 'cancel')
        ORDER BY s.id DESC
        LIMIT 1
    ) END AS paused_by
FROM json_each(:runs) x
CROSS JOIN stepwell_runs r ON r.id = x.value
ORDER BY x.key;

-- name: found
-- In the place of what `summaries` reads from: the runs of a list. Their order is added.
FROM (
:found
) x
CROSS JOIN stepwell_runs r ON r.id = x.id
;

-- name: chips
-- Of each run: how many of its steps have an outcome, the newest of these, and those that are tried again or under way, in their order.
-- Of more outcomes than `most` the others are not read.
SELECT json_group_array(json_array(r.id, r.status,
    (
        SELECT count(*)
        FROM (SELECT 1 FROM stepwell_outcomes WHERE run = r.id AND kind <> 3 LIMIT :most)
    ),
    json((
        SELECT json_group_array(json_array(key, kind, ok))
        FROM (
            SELECT key, kind, ok
            FROM (SELECT key, kind, ok, seq FROM stepwell_outcomes WHERE run = r.id AND kind <> 3 LIMIT :most)
            ORDER BY seq DESC
            LIMIT :limit
        )
    )),
    json((
        SELECT json_group_array(json_array(key, 0, how))
        FROM (
            SELECT a.key, -1 AS how, max(a.started_at) AS at
            FROM (SELECT key, started_at FROM stepwell_attempts WHERE run = r.id AND NOT void AND NOT canceled AND key <> :body LIMIT :most) a
            WHERE NOT EXISTS (SELECT 1 FROM stepwell_outcomes o WHERE o.run = r.id AND o.key = a.key)
                AND NOT EXISTS (
                    SELECT 1
                    FROM stepwell_started s
                    WHERE s.run = r.id AND s.key = a.key AND s.claim = r.claim AND r.worker IS NOT NULL AND r.status IN ('running', 'paused')
                        AND NOT EXISTS (SELECT 1 FROM stepwell_attempts WHERE run = s.run AND key = s.key AND attempt = s.attempt)
                )
            GROUP BY a.key
            UNION ALL
            SELECT s.key, -2, s.started_at
            FROM (SELECT key, attempt, started_at FROM stepwell_started WHERE run = r.id AND claim = r.claim LIMIT :most) s
            WHERE r.worker IS NOT NULL AND r.status IN ('running', 'paused')
                AND NOT EXISTS (SELECT 1 FROM stepwell_outcomes o WHERE o.run = r.id AND o.key = s.key)
                AND NOT EXISTS (SELECT 1 FROM stepwell_attempts WHERE run = r.id AND key = s.key AND attempt = s.attempt)
            ORDER BY 2 DESC, 3
        )
    ))
))
FROM json_each(:runs) x
CROSS JOIN stepwell_runs r ON r.id = x.value;

-- name: ends
SELECT json_group_array(json_array(place, status, n))
FROM (
    SELECT CAST((finished_at - :since) / :width AS INTEGER) AS place, status, count(*) AS n
    FROM stepwell_runs
    WHERE status IN ('completed', 'failed', 'canceled') AND finished_at IS NOT NULL AND finished_at >= :since AND finished_at < :until
    GROUP BY 1, 2
);

-- name: ends_of
SELECT json_group_array(json_array(place, status, n))
FROM (
    SELECT CAST((finished_at - :since) / :width AS INTEGER) AS place, status, count(*) AS n
    FROM stepwell_runs
    WHERE status IN ('completed', 'failed', 'canceled') AND finished_at IS NOT NULL AND finished_at >= :since AND finished_at < :until
        AND +workflow = :workflow
    GROUP BY 1, 2
);

-- name: ends_by_workflow
-- Of these, or of all.
SELECT json_group_array(json_array(workflow, place, status, n))
FROM (
    SELECT workflow, CAST((finished_at - :since) / :width AS INTEGER) AS place, status, count(*) AS n
    FROM stepwell_runs
    WHERE status IN ('completed', 'failed', 'canceled') AND finished_at IS NOT NULL AND finished_at >= :since AND finished_at < :until
        AND (:workflows IS NULL OR +workflow IN (SELECT value FROM json_each(:workflows)))
    GROUP BY +workflow, 2, 3
);

-- name: speeds
-- Of these workflows, or of each that somebody has published or started: how those have ended that have, of its newest.
SELECT json_group_array(json_array(w.name, json((
    SELECT json_group_array(json_array(status, CAST(round((finished_at - started_at) * 1e6) AS INTEGER)))
    FROM (
        SELECT status, started_at, finished_at
        FROM (SELECT status, started_at, finished_at FROM stepwell_runs WHERE workflow = w.name ORDER BY id DESC LIMIT :looked)
        WHERE status IN ('completed', 'failed', 'canceled')
        LIMIT :limit
    )
))))
FROM (
    SELECT workflow AS name
    FROM stepwell_lanes
    WHERE :workflows IS NULL
    UNION
    SELECT name
    FROM stepwell_definitions
    WHERE :workflows IS NULL
    UNION
    SELECT value
    FROM json_each(:workflows)
    ORDER BY 1
    LIMIT :most
) w;

-- name: waits
-- For how long runs have waited until they began, or wait now: of each part of the ids, the first and the last.
SELECT json_group_array(json_array(json((
    SELECT json_group_array(CAST(round((began_at - CASE WHEN available_at <= began_at THEN available_at ELSE created_at END) * 1e6) AS INTEGER))
    FROM (
        SELECT
            created_at, available_at,
            CASE
                WHEN started_at IS NOT NULL THEN started_at
                WHEN status = 'pending' AND due IS NULL AND worker IS NULL THEN :now
            END AS began_at
        FROM (
            SELECT id FROM (
                SELECT id FROM stepwell_runs WHERE id >= x.value ->> 0 AND id < x.value ->> 1 ORDER BY id LIMIT :limit
            )
            UNION
            SELECT id FROM (
                SELECT id FROM stepwell_runs WHERE id >= x.value ->> 0 AND id < x.value ->> 1 ORDER BY id DESC LIMIT :limit
            )
        ) s
        CROSS JOIN stepwell_runs r ON r.id = s.id
    )
    WHERE began_at IS NOT NULL
))))
FROM json_each(:parts) x;

-- name: waits_of
SELECT json_group_array(json_array(json((
    SELECT json_group_array(CAST(round((began_at - CASE WHEN available_at <= began_at THEN available_at ELSE created_at END) * 1e6) AS INTEGER))
    FROM (
        SELECT
            created_at, available_at,
            CASE
                WHEN started_at IS NOT NULL THEN started_at
                WHEN status = 'pending' AND due IS NULL AND worker IS NULL THEN :now
            END AS began_at
        FROM (
            SELECT id FROM (
                SELECT id FROM stepwell_runs WHERE workflow = :workflow AND id >= x.value ->> 0 AND id < x.value ->> 1 ORDER BY id LIMIT :limit
            )
            UNION
            SELECT id FROM (
                SELECT id FROM stepwell_runs WHERE workflow = :workflow AND id >= x.value ->> 0 AND id < x.value ->> 1 ORDER BY id DESC LIMIT :limit
            )
        ) s
        CROSS JOIN stepwell_runs r ON r.id = s.id
    )
    WHERE began_at IS NOT NULL
))))
FROM json_each(:parts) x;

-- name: live_versions
-- Of each status the oldest.
SELECT json_group_array(json_array(workflow, version, n))
FROM (
    SELECT workflow, version, count(*) AS n
    FROM (
        SELECT * FROM (SELECT workflow, version FROM stepwell_runs WHERE status = 'pending' ORDER BY id LIMIT :cap)
        UNION ALL
        SELECT * FROM (SELECT workflow, version FROM stepwell_runs WHERE status = 'running' ORDER BY id LIMIT :cap)
        UNION ALL
        SELECT * FROM (SELECT workflow, version FROM stepwell_runs WHERE status = 'sleeping' ORDER BY id LIMIT :cap)
        UNION ALL
        SELECT * FROM (SELECT workflow, version FROM stepwell_runs WHERE status = 'paused' ORDER BY id LIMIT :cap)
    )
    GROUP BY workflow, version
);

-- name: backlog
-- Lanes in which something is ready: how much, and since when that waits which is claimed first of each head.
SELECT queue, workflow, version,
    (
        SELECT count(*)
        FROM (
            SELECT 1
            FROM stepwell_runs INDEXED BY stepwell_runs_ready
            WHERE lane = l.id AND status = 'pending' AND worker IS NULL AND due IS NULL
            LIMIT :limit
        )
    ),
    (
        SELECT min(first)
        FROM (
            SELECT (
                SELECT available_at
                FROM stepwell_runs INDEXED BY stepwell_runs_ready
                WHERE lane = l.id AND head = heads.column1 AND status = 'pending' AND worker IS NULL AND due IS NULL
                ORDER BY priority DESC, id
                LIMIT 1
            ) AS first
            FROM (VALUES (0), (1), (2)) heads
        )
    )
FROM stepwell_lanes l
WHERE EXISTS (
    SELECT 1
    FROM stepwell_runs INDEXED BY stepwell_runs_ready
    WHERE lane = l.id AND status = 'pending' AND worker IS NULL AND due IS NULL
)
ORDER BY queue, workflow, version
LIMIT :most;

-- name: oldest_ready
-- Of the oldest runs that are pending.
SELECT min(available_at)
FROM (
    SELECT available_at, worker, due
    FROM stepwell_runs
    WHERE status = 'pending'
    ORDER BY id
    LIMIT :limit
)
WHERE worker IS NULL AND due IS NULL;

-- name: around
-- What decides whether a run is claimed, beside the run itself: what is paused, who is there, and the lanes of versions that nobody knows.
SELECT json_group_array(json_array(
    json((SELECT json_group_array(json_array(kind, name)) FROM (SELECT kind, name FROM stepwell_halts LIMIT :limit))),
    json((
        SELECT json_group_array(json_array(id, name, host, pid, queues, concurrency, lease, serves, running, parked, draining,
            CAST(round(started_at * 1e6) AS INTEGER), CAST(round(beat_at * 1e6) AS INTEGER)))
        FROM (SELECT * FROM stepwell_workers WHERE NOT dead ORDER BY beat_at DESC LIMIT :limit)
    )),
    json((
        SELECT json_group_array(json_array(queue, workflow, version))
        FROM (SELECT queue, workflow, version FROM stepwell_lanes WHERE version = '*' LIMIT :limit)
    ))
));

-- name: catalog
-- Workflows that somebody has published or paused, from the one after `after` on: their versions, and whether they are paused.
SELECT json_group_array(json_array(w.name,
    json((
        SELECT json_group_array(json_array(version, retry))
        FROM (SELECT version, retry FROM stepwell_definitions WHERE name = w.name ORDER BY published_at DESC LIMIT :most)
    )),
    EXISTS (SELECT 1 FROM stepwell_halts WHERE kind = 'workflow' AND name = w.name)
))
FROM (
    SELECT name
    FROM stepwell_definitions
    WHERE name > :after AND (:find IS NULL OR name LIKE :find ESCAPE '\')
    UNION
    SELECT name
    FROM stepwell_halts
    WHERE kind = 'workflow' AND name > :after AND (:find IS NULL OR name LIKE :find ESCAPE '\')
    ORDER BY 1
    LIMIT :limit
) w;

-- name: published
-- Of one workflow. If nobody has published it, there is one row, which says whether it is paused.
SELECT EXISTS (SELECT 1 FROM stepwell_halts WHERE kind = 'workflow' AND name = w.name),
    d.name, d.version, d.queue, d.priority, d.timeout, d.takes_version, d.input_schema, d.output_schema, d.retry
FROM (SELECT :workflow AS name) w
LEFT JOIN stepwell_definitions d ON d.name = w.name
ORDER BY d.version
LIMIT :limit;

-- name: queues
-- Those that are named by workflows, in which runs wait or have waited, and that are paused.
SELECT json_group_array(json_array(q.name, EXISTS (SELECT 1 FROM stepwell_halts WHERE kind = 'queue' AND name = q.name)))
FROM (
    SELECT queue AS name
    FROM stepwell_definitions
    UNION
    SELECT queue
    FROM stepwell_lanes
    UNION
    SELECT name
    FROM stepwell_halts
    WHERE kind = 'queue'
    ORDER BY 1
    LIMIT :limit
) q;

-- name: schedules_page
-- Those that are declared from the one after this one on, then the others from the one after that one on. After NULL, there is none.
SELECT *
FROM (
    SELECT *
    FROM stepwell_schedules
    WHERE (workflow, name) > (:workflow, :name) AND declared
        AND (:find IS NULL OR workflow LIKE :find ESCAPE '\' OR name LIKE :find ESCAPE '\')
    ORDER BY workflow, name
    LIMIT :limit
)
UNION ALL
SELECT *
FROM (
    SELECT *
    FROM stepwell_schedules
    WHERE (workflow, name) > (:other_workflow, :other_name) AND NOT declared
        AND (:find IS NULL OR workflow LIKE :find ESCAPE '\' OR name LIKE :find ESCAPE '\')
    ORDER BY workflow, name
    LIMIT :limit
);

-- name: unknown_schedules
-- Those of them that nobody has ever declared.
SELECT x.value ->> 0, x.value ->> 1
FROM json_each(:keys) x
WHERE NOT EXISTS (SELECT 1 FROM stepwell_schedules WHERE workflow = x.value ->> 0 AND name = x.value ->> 1)
LIMIT :limit;

-- name: schedules_of
-- Of each of these workflows the first: those that are declared before the others.
SELECT s.*
FROM json_each(:workflows) x
CROSS JOIN stepwell_schedules s ON s.workflow = x.value AND s.name IN (
    SELECT name
    FROM stepwell_schedules
    WHERE workflow = x.value
    ORDER BY declared DESC, name
    LIMIT :limit
);

-- name: due_schedules
-- How many fire, and how many should have fired before this time.
SELECT count(*), coalesce(sum(next_at < :before), 0)
FROM (SELECT next_at FROM stepwell_schedules WHERE declared AND paused_at IS NULL AND next_at IS NOT NULL LIMIT :limit);

-- name: story
-- A run, what was done to it last, and how its steps are tried again, where that was published.
SELECT r.*, i.input,
    (
        SELECT json_group_array(json_array(CAST(round(at * 1e6) AS INTEGER), action, actor, subject))
        FROM (
            SELECT at, action, actor, subject
            FROM (SELECT * FROM stepwell_events WHERE run = r.id ORDER BY id DESC LIMIT :limit)
            ORDER BY id
        )
    ) AS events,
    (SELECT retry FROM stepwell_definitions WHERE name = r.workflow AND version = r.version) AS retry
FROM stepwell_runs r
JOIN stepwell_inputs i ON i.run = r.id
WHERE r.id = :run;

-- name: trace
-- What a timeline shows of a run: the newest attempts, the last one first, without what they have returned; of an error, its type.
-- How: 1 completed, 0 failed, -1 canceled, -2 under way.
SELECT json_group_array(json_array(key, attempt, kind, how, error, child, began, ended, due))
FROM (
    SELECT key, attempt, kind, how, error, child, CAST(round(began * 1e6) AS INTEGER) AS began, CAST(round(ended * 1e6) AS INTEGER) AS ended,
        CAST(round(due * 1e6) AS INTEGER) AS due
    FROM (
        SELECT key, attempt, asked, kind, ok AS how, CASE WHEN NOT ok THEN substr(value ->> 'type', 1, :characters) END AS error, child,
            started_at AS began, at AS ended, NULL AS due
        FROM stepwell_outcomes
        WHERE run = :run AND kind <> 3
        UNION ALL
        SELECT key, attempt, asked, 0, -canceled, substr(error ->> 'type', 1, :characters), NULL, started_at, finished_at, iif(void, NULL, due)
        FROM stepwell_attempts
        WHERE run = :run AND key <> :body
        UNION ALL
        SELECT s.key, s.attempt, 9223372036854775807, 0, -2, NULL, NULL, s.started_at, NULL, NULL
        FROM stepwell_runs r
        JOIN stepwell_started s ON s.run = r.id AND s.claim = r.claim
        WHERE r.id = :run AND r.worker IS NOT NULL AND r.status IN ('running', 'paused')
            AND NOT EXISTS (SELECT 1 FROM stepwell_outcomes o WHERE o.run = s.run AND o.key = s.key)
            AND NOT EXISTS (SELECT 1 FROM stepwell_attempts a WHERE a.run = s.run AND a.key = s.key AND a.attempt = s.attempt)
    )
    ORDER BY began DESC, asked DESC, attempt DESC, key DESC
    LIMIT :limit
);

-- name: some_steps
-- Attempts of a run, or of a step of it, from the one after this place on, in order. What they have returned is read of these only.
SELECT json_group_array(json_array(key, attempt, asked, kind, how,
    CASE
        WHEN how = -2 THEN NULL
        WHEN settled THEN (SELECT value FROM stepwell_outcomes WHERE run = :run AND key = p.key)
        ELSE (SELECT error FROM stepwell_attempts WHERE run = :run AND key = p.key AND attempt = p.attempt)
    END,
    child, began, ended, due
))
FROM (
    SELECT key, attempt, asked, kind, how, settled, child, began, ended, due
    FROM (
        SELECT key, attempt, asked, kind, ok AS how, 1 AS settled, child, CAST(round(started_at * 1e6) AS INTEGER) AS began,
            CAST(round(at * 1e6) AS INTEGER) AS ended, NULL AS due
        FROM stepwell_outcomes
        WHERE run = :run AND kind <> 3
        UNION ALL
        SELECT key, attempt, asked, 0, -canceled, 0, NULL, CAST(round(started_at * 1e6) AS INTEGER), CAST(round(finished_at * 1e6) AS INTEGER),
            CAST(round(iif(void, NULL, due) * 1e6) AS INTEGER)
        FROM stepwell_attempts
        WHERE run = :run AND key <> :body
        UNION ALL
        SELECT s.key, s.attempt, 9223372036854775807, 0, -2, 0, NULL, CAST(round(s.started_at * 1e6) AS INTEGER), NULL, NULL
        FROM stepwell_runs r
        JOIN stepwell_started s ON s.run = r.id AND s.claim = r.claim
        WHERE r.id = :run AND r.worker IS NOT NULL AND r.status IN ('running', 'paused')
            AND NOT EXISTS (SELECT 1 FROM stepwell_outcomes o WHERE o.run = s.run AND o.key = s.key)
            AND NOT EXISTS (SELECT 1 FROM stepwell_attempts a WHERE a.run = s.run AND a.key = s.key AND a.attempt = s.attempt)
    )
    WHERE (began, asked, attempt, key) > (:began, :asked, :attempt, :after) AND (:key IS NULL OR key = :key) AND (:number IS NULL OR attempt = :number)
    ORDER BY began, asked, attempt, key
    LIMIT :limit
) p;

-- name: facts
-- Version, bytes, what was applied, and the time where it may be another than the caller's.
SELECT sqlite_version(), page_count * page_size, (SELECT json_group_array(name) FROM (SELECT name FROM stepwell_schema ORDER BY number)), NULL
FROM pragma_page_count, pragma_page_size;
