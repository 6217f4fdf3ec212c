-- What PostgreSQL has beside the statements that are named alike for every database.

-- name: commit
-- All that a batch usually holds, fenced, in one statement: a round trip, a flush, and no lock that is held while a client thinks.
-- The worker is locked first, so that nobody can declare it dead, then its runs in the order given, so that nobody can act on them.
-- Where more is to be done than fits in here (a parent to be told, crashes to be forgotten), it writes nothing and says so. An outcome
-- that is there already is an error, and then nothing is written either.
WITH me AS MATERIALIZED (
    SELECT id
    FROM stepwell.workers
    WHERE id = :worker AND NOT dead
    FOR KEY SHARE
),
known AS MATERIALIZED (
    SELECT count(*) > 0 AS alive
    FROM me
),
own AS MATERIALIZED (
    SELECT found.*
    FROM known
    CROSS JOIN LATERAL (
        SELECT x.value ->> 0 AS run, x.value ->> 1 AS claim, coalesce(r.claim = (x.value ->> 1)::integer, false) AS same,
            known.alive AND coalesce(r.worker = :worker, false) AS mine, r.status, r.crashes, r.awaited_as
        FROM jsonb_array_elements(:runs::jsonb) x
        LEFT JOIN LATERAL (
            SELECT claim, status, worker, crashes, awaited_as
            FROM stepwell.runs
            WHERE id = x.value ->> 0
            OFFSET 0
            FOR NO KEY UPDATE
        ) r ON true
        WHERE known.alive IS NOT NULL
        OFFSET 0
    ) found
),
held AS MATERIALIZED (
    SELECT coalesce(jsonb_object_agg(run, status) FILTER (WHERE same AND mine AND status IN ('running', 'sleeping', 'paused', 'pending')), '{}')
        AS runs,
        coalesce(bool_or(CASE
            WHEN NOT same OR NOT mine THEN false
            WHEN awaited_as IS NOT NULL AND :ends::jsonb ? run THEN true
            WHEN crashes > 0 AND :recorded::jsonb ? run THEN true
            ELSE false
        END), false) AS awkward
    FROM own
),
may AS MATERIALIZED (
    SELECT CASE WHEN awkward THEN '{}' ELSE runs END AS write
    FROM held
),
outcomes AS (
    INSERT INTO stepwell.outcomes (run, key, seq, asked, kind, ok, value, at, mark, attempt, started_at, python, child)
    SELECT value ->> 0, value ->> 2, (value ->> 3)::integer, (value ->> 4)::integer, (value ->> 5)::smallint, (value ->> 6)::boolean,
        value ->> 7, (value ->> 8)::float8, (value ->> 9)::bigint, (value ->> 10)::integer, (value ->> 11)::float8,
        (value ->> 12)::integer, value ->> 13
    FROM jsonb_array_elements(:outcomes::jsonb)
    WHERE (SELECT write FROM may) ? (value ->> 0)
),
attempts AS (
    INSERT INTO stepwell.attempts (run, key, attempt, asked, canceled, error, started_at, finished_at, due)
    SELECT value ->> 0, value ->> 2, (value ->> 3)::integer, (value ->> 4)::integer, (value ->> 5)::boolean, value ->> 6,
        (value ->> 7)::float8, (value ->> 8)::float8, (value ->> 9)::float8
    FROM jsonb_array_elements(:attempts::jsonb)
    WHERE (SELECT write FROM may) ? (value ->> 0)
    ON CONFLICT (run, key, attempt) DO UPDATE SET
        asked = excluded.asked, canceled = excluded.canceled, error = excluded.error, started_at = excluded.started_at,
        finished_at = excluded.finished_at, due = excluded.due, void = false
),
started AS (
    INSERT INTO stepwell.started (run, claim, key, attempt, started_at)
    SELECT DISTINCT ON (value ->> 0, value ->> 2)
        value ->> 0, (value ->> 1)::integer, value ->> 2, (value ->> 3)::integer, (value ->> 4)::float8
    FROM jsonb_array_elements(:started::jsonb) WITH ORDINALITY x (value, place)
    WHERE (SELECT write FROM may) ? (value ->> 0)
    ORDER BY value ->> 0, value ->> 2, place DESC
    ON CONFLICT (run, key) DO UPDATE SET claim = excluded.claim, attempt = excluded.attempt, started_at = excluded.started_at
),
logs AS (
    INSERT INTO stepwell.logs (run, after, scope, n, id, at, level, message, fields, step)
    SELECT value ->> 0, (value ->> 2)::integer, value ->> 3, (value ->> 4)::integer,
        (extract(epoch FROM clock_timestamp()) * 1e6)::bigint * 1024 + least(place, 1023), (value ->> 5)::float8, value ->> 6, value ->> 7, value ->> 8, value ->> 9
    FROM jsonb_array_elements(:logs::jsonb) WITH ORDINALITY x (value, place)
    WHERE (SELECT write FROM may) ? (value ->> 0)
    ON CONFLICT (run, after, scope, n) DO NOTHING
),
moved AS (
    UPDATE stepwell.runs r
    SET (status, worker, due, output, error, attempt, finished_at, available_at, head, deaf) = (
        SELECT new.status,
            CASE WHEN m.keep AND new.status NOT IN ('completed', 'failed', 'canceled') THEN r.worker END,
            CASE
                WHEN m.action = 'release' AND new.status = m.status THEN r.due
                WHEN new.status <> 'sleeping' THEN NULL
                WHEN new.unseen THEN :now
                ELSE m.due
            END,
            coalesce(m.output, r.output),
            coalesce(m.error, r.error),
            coalesce(m.attempt, r.attempt),
            CASE WHEN new.status IN ('completed', 'failed', 'canceled') THEN :now::float8 END,
            CASE
                WHEN new.status = 'pending' OR (new.status = 'sleeping' AND new.unseen) THEN :now
                WHEN new.status = 'sleeping' THEN coalesce(m.due, r.available_at)
                ELSE r.available_at
            END,
            CASE WHEN r.crashes >= 2 THEN 2 ELSE 1 END,
            m.action = 'retry_later'
        FROM (
            SELECT CASE
                    WHEN m.action <> 'park' OR m.seen IS NULL OR m.seen = r.news THEN m.targets ->> m.status
                    WHEN m.keep THEN 'sleeping'
                    ELSE 'pending'
                END AS status,
                coalesce(m.action = 'park' AND m.seen <> r.news, false) AS unseen
        ) new
    )
    FROM (
        SELECT value ->> 0 AS run, value ->> 2 AS action, (value ->> 3)::float8 AS due, (value ->> 4)::boolean AS keep,
            value ->> 5 AS output, value ->> 6 AS error, (value ->> 7)::integer AS attempt, (value ->> 8)::bigint AS seen,
            value -> 9 AS targets, (SELECT write FROM may) ->> (value ->> 0) AS status
        FROM jsonb_array_elements(:moves::jsonb)
        -- By the status under the lock: the row that is found first may be an older version, which must fit to be looked at again.
        WHERE value -> 9 ? ((SELECT write FROM may) ->> (value ->> 0))
    ) m
    WHERE r.id = m.run
)
SELECT
    (SELECT awkward FROM held),
    (
        SELECT json_agg(json_build_array(run, claim::integer, CASE
            WHEN NOT same OR (NOT mine AND status IN ('running', 'sleeping', 'paused', 'pending')) THEN NULL
            ELSE status
        END))
        FROM own
        WHERE NOT same OR NOT mine OR status NOT IN ('running', 'sleeping')
    )::text;

-- name: heartbeat
-- The worker lives, what time it is here, how the others are doing, and what there is to do: see `beat`, `peers` and `look`.
WITH mine AS (
    UPDATE stepwell.workers
    SET beat = beat + 1, beat_at = :now, running = :running, parked = :parked
    WHERE id = :worker AND NOT dead
    RETURNING draining
)
SELECT
    (SELECT draining FROM mine),
    extract(epoch FROM clock_timestamp())::float8,
    (SELECT json_agg(json_build_array(id, beat, lease, dead)) FROM stepwell.workers WHERE id <> :worker)::text,
    EXISTS (SELECT 1 FROM stepwell.runs WHERE status = 'pending' AND worker IS NULL AND due IS NULL),
    least(
        (
            SELECT due
            FROM stepwell.runs
            WHERE worker IS NULL AND due IS NOT NULL AND status IN ('pending', 'sleeping')
            ORDER BY due
            LIMIT 1
        ),
        (
            SELECT deadline_at
            FROM stepwell.runs
            WHERE deadline_at IS NOT NULL AND status IN ('pending', 'running', 'sleeping')
            ORDER BY deadline_at
            LIMIT 1
        )
    ),
    EXISTS (SELECT 1 FROM stepwell.notices WHERE worker = :worker),
    (SELECT coalesce(max(changed), 0) FROM stepwell.schedules);

-- name: tell
-- Those that the worker has not been told, or may not have heard, get the next number now. How the runs stand is read afterwards, by another
-- statement: this one may wait for somebody who acts on them, and would not see what came of it.
UPDATE stepwell.notices
SET number = :seen + 1
WHERE worker = :worker AND (number IS NULL OR number > :seen);

-- name: won
-- Where locked rows cannot be passed over: which of the runs that were chosen are still ready, after waiting for whoever chose them, too.
SELECT r.id
FROM jsonb_array_elements_text(:runs::jsonb) x (id)
CROSS JOIN LATERAL (
    SELECT id, status, worker, due
    FROM stepwell.runs
    WHERE id = x.id
    OFFSET 0
    FOR NO KEY UPDATE
) r
WHERE r.status = 'pending' AND r.worker IS NULL AND r.due IS NULL;

-- name: take
-- `claim` and `claimed` in one, in whatever order.
WITH taken AS (
    UPDATE stepwell.runs
    SET status = 'running', worker = :worker, claim = claim + 1, head = greatest(head, 1), error = NULL,
        started_at = coalesce(started_at, :now), begun_at = coalesce(begun_at, :now), claimed_at = :now, claimed_by = :worker
    WHERE id = ANY (ARRAY(SELECT jsonb_array_elements_text(:runs::jsonb)))
        AND status || '' = 'pending' AND coalesce(worker, '') = '' AND coalesce(due, -1) = -1
    RETURNING id, claim, workflow, version, attempt, generation, created_at, begun_at, scheduled_at, tags, crashes, news
)
SELECT t.id, t.claim, t.workflow, t.version, i.input, t.attempt, t.generation, (t.created_at * 1e6)::bigint, (t.begun_at * 1e6)::bigint,
    (t.scheduled_at * 1e6)::bigint, t.tags, t.crashes, t.news
FROM taken t
CROSS JOIN LATERAL (SELECT input FROM stepwell.inputs WHERE run = t.id OFFSET 0) i;
