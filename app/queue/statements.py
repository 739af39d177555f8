"""The queue's SQL. Each finds its rows by key, whatever the planner believes; tests/test_plans.py pins how."""

from __future__ import annotations

from sqlalchemy import text

from app.database import HotStatement

# From one dataset with queued seeds to the next, along ix_leases_claim (no other index has this order),
# so that finished datasets cost nothing, however many there are.
RUNNABLE = HotStatement("""
    WITH RECURSIVE waiting AS (
        (SELECT workspace_id, dataset_id FROM leases WHERE state = 'queued'
         ORDER BY workspace_id, dataset_id, not_before, seed_id LIMIT 1)
        UNION ALL
        SELECT following.workspace_id, following.dataset_id
        FROM waiting CROSS JOIN LATERAL (
            SELECT l.workspace_id, l.dataset_id FROM leases l
            WHERE l.state = 'queued' AND (l.workspace_id, l.dataset_id) > (waiting.workspace_id, waiting.dataset_id)
            ORDER BY l.workspace_id, l.dataset_id, l.not_before, l.seed_id LIMIT 1
        ) AS following
    )
    SELECT waiting.workspace_id, waiting.dataset_id, d.recipe_revision, r.teacher, d.weight,
           (SELECT least(d.target_accepted - s.accepted, d.budget_attempts - s.attempts) FROM spending s
            WHERE s.workspace_id = waiting.workspace_id AND s.dataset_id = waiting.dataset_id) AS left_over
    FROM waiting
    CROSS JOIN LATERAL (
        SELECT d.recipe_revision, d.weight, d.target_accepted, d.budget_attempts FROM datasets d
        WHERE d.workspace_id = waiting.workspace_id AND d.dataset_id = waiting.dataset_id AND d.state = 'running'
        LIMIT 1
    ) AS d
    CROSS JOIN LATERAL (
        SELECT r.body ->> 'teacher' AS teacher FROM recipes r
        WHERE r.workspace_id = waiting.workspace_id AND r.dataset_id = waiting.dataset_id AND r.revision = d.recipe_revision
        LIMIT 1
    ) AS r
    CROSS JOIN LATERAL (
        SELECT FROM leases l
        WHERE l.workspace_id = waiting.workspace_id AND l.dataset_id = waiting.dataset_id
          AND l.state = 'queued' AND l.not_before <= now()
        ORDER BY l.not_before, l.seed_id LIMIT 1
    ) AS due
    ORDER BY waiting.workspace_id, waiting.dataset_id
""")

# Whose calls are not wanted any more: paused, cancelled, or deleted. A dataset that is out of budget keeps those that
# the teacher has: they are paid for.
STOPPED = text("""
    SELECT mine.workspace_id, mine.dataset_id, coalesce(d.paused_because LIKE 'budget%', false) AS paid_for
    FROM unnest(CAST(:workspaces AS int[]), CAST(:datasets AS bigint[])) AS mine (workspace_id, dataset_id)
    LEFT JOIN datasets d USING (workspace_id, dataset_id)
    WHERE d.state IS NULL OR d.state <> 'running'
""")

# One statement: the CTE locks what it picks and skips what others have locked, so two workers never
# see the same row; the token is fresh, so whoever held the seed before can no longer write to it.
# The dataset's row is read FOR SHARE: a claim and a pause or cancel take turns, so that no seed is
# leased after the pause was answered. SKIP LOCKED: a dataset that is just being paused or deleted
# holds up no other; the next poll sees what became of it. The advisory lock is there because it queues
# fairly: claims that follow each other closely would keep a pause from the row for ever.
# The rows that are locked are found again by their place (ctid), which cannot move while they are
# locked, and each seed by LATERAL with LIMIT: neither leaves the planner a choice (decision 0004).
CLAIM = HotStatement("""
    WITH dataset AS (
        SELECT workspace_id, dataset_id, recipe_revision FROM datasets
        WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND state = 'running'
          AND pg_try_advisory_xact_lock_shared(dataset_id)
        FOR SHARE SKIP LOCKED
    ), picked AS MATERIALIZED (
        SELECT l.ctid AS place FROM leases l, dataset
        WHERE l.workspace_id = :workspace_id AND l.dataset_id = :dataset_id
          AND l.state = 'queued' AND l.not_before <= now()
        ORDER BY l.not_before, l.seed_id
        LIMIT :size
        FOR UPDATE OF l SKIP LOCKED
    ), leased AS (
        UPDATE leases l
        SET state = 'leased', lease_token = gen_random_uuid(), worker_id = :worker_id, tries = l.tries + 1
        FROM picked
        WHERE l.ctid = picked.place
        RETURNING l.seed_id, l.lease_token, l.tries, l.setbacks, l.open_samples
    )
    SELECT leased.*, s.instruction, s.input, s.reference, s.metadata::text AS metadata, dataset.recipe_revision
    FROM leased
    CROSS JOIN dataset
    CROSS JOIN LATERAL (
        SELECT s.instruction, s.input, s.reference, s.metadata FROM seeds s
        WHERE s.workspace_id = :workspace_id AND s.dataset_id = :dataset_id AND s.seed_id = leased.seed_id
        LIMIT 1
    ) AS s
""")

# Which of these leases are still ours? The row locks last until the completing write commits, so
# a rescue or a cancel cannot slip in between. The token alone says `leased` (a CHECK ties the two);
# naming the state would offer the planner ix_leases_worker, which it was seen to walk for every row.
LOCK_CURRENT = HotStatement("""
    SELECT mine.workspace_id, mine.dataset_id, mine.seed_id, mine.token
    FROM unnest(CAST(:workspaces AS int[]), CAST(:datasets AS bigint[]), CAST(:seeds AS bigint[]), CAST(:tokens AS uuid[]))
         AS mine (workspace_id, dataset_id, seed_id, token)
    CROSS JOIN LATERAL (
        SELECT FROM leases l
        WHERE l.workspace_id = mine.workspace_id AND l.dataset_id = mine.dataset_id AND l.seed_id = mine.seed_id
          AND l.lease_token = mine.token
        LIMIT 1
        FOR NO KEY UPDATE
    ) AS l
""")

# The fence, in the write itself: without the token in its WHERE, a worker that was paused and
# came back would complete a seed that another worker now owns. The rows are locked in the order in
# which they are given, then found again by their place. Most rows of a batch say the same, so what
# they say is sent once and `kind` points at it.
UPDATE = HotStatement("""
    WITH u AS MATERIALIZED (
        SELECT mine.token, mine.kind, l.place
        FROM unnest(CAST(:seeds AS bigint[]), CAST(:tokens AS uuid[]), CAST(:kinds AS smallint[])) AS mine (seed_id, token, kind)
        CROSS JOIN LATERAL (
            SELECT l.ctid AS place FROM leases l
            WHERE l.workspace_id = (CAST(:workspaces AS int[]))[mine.kind] AND l.dataset_id = (CAST(:datasets AS bigint[]))[mine.kind]
              AND l.seed_id = mine.seed_id AND l.lease_token = mine.token
            LIMIT 1
            FOR NO KEY UPDATE
        ) AS l
    ), said AS (
        SELECT u.place, u.token, (CAST(:states AS text[]))[u.kind] AS state, (CAST(:open_samples AS text[]))[u.kind] AS open_samples,
               (CAST(:delays AS float8[]))[u.kind] AS delay_s, (CAST(:charged AS bool[]))[u.kind] AS charged,
               (CAST(:setbacks AS bool[]))[u.kind] AS setback, (CAST(:error_classes AS text[]))[u.kind] AS error_class,
               (CAST(:error_texts AS text[]))[u.kind] AS error_text
        FROM u
    )
    UPDATE leases l
    SET state = coalesce(said.state, l.state),
        lease_token = CASE WHEN said.state IS NULL THEN l.lease_token END,
        worker_id = CASE WHEN said.state IS NULL THEN l.worker_id END,
        not_before = CASE WHEN said.state = 'queued' THEN now() + make_interval(secs => said.delay_s) ELSE l.not_before END,
        open_samples = CAST(string_to_array(said.open_samples, ',') AS smallint[]),
        tries = l.tries - CASE WHEN said.state IS NULL OR said.charged THEN 0 ELSE 1 END,
        setbacks = CASE WHEN said.state IS NULL THEN l.setbacks
                        WHEN said.setback THEN l.setbacks + 1
                        WHEN said.charged THEN 0
                        ELSE l.setbacks END,
        error_class = CASE WHEN said.state IS NULL THEN l.error_class ELSE said.error_class END,
        error_text = CASE WHEN said.state IS NULL THEN l.error_text ELSE said.error_text END
    FROM said
    WHERE l.ctid = said.place
    RETURNING said.token
""")

# What this worker holds in the database but not in its hands: all when it leaves; while it runs, the
# leases of a claim whose acknowledgement was lost. In the order in which stores lock.
RELEASE = text("""
    WITH orphans AS MATERIALIZED (
        SELECT ctid AS place FROM leases
        WHERE worker_id = :worker_id AND state = 'leased' AND lease_token <> ALL(CAST(:held AS uuid[]))
        ORDER BY workspace_id, dataset_id, seed_id
        FOR UPDATE
    )
    UPDATE leases l SET state = 'queued', lease_token = NULL, worker_id = NULL, tries = l.tries - 1
    FROM orphans o
    WHERE l.ctid = o.place
""")

# A worker is dead when its own lease time has passed without a beat, or when its row is gone.
RESCUE = text("""
    WITH dead AS MATERIALIZED (
        SELECT l.ctid AS place FROM leases l
        LEFT JOIN workers w USING (worker_id)
        WHERE l.state = 'leased'
          AND (w.worker_id IS NULL OR w.beat_at < now() - make_interval(secs => w.lease_s))
        LIMIT 10000
        FOR UPDATE OF l SKIP LOCKED
    )
    UPDATE leases l
    SET state = CASE WHEN l.setbacks + 1 >= :max_setbacks THEN 'failed' ELSE 'queued' END,
        lease_token = NULL, worker_id = NULL, tries = l.tries - 1, setbacks = l.setbacks + 1,
        error_class = 'worker_lost',
        error_text = 'the worker that held this seed stopped without finishing it'
    FROM dead
    WHERE l.ctid = dead.place
    RETURNING l.state
""")

FORGET_WORKERS = text(
    "DELETE FROM workers WHERE beat_at < now() - greatest(make_interval(secs => lease_s * 10), interval '1 hour')"
)

# Locks in the order in which stores lock, so that the two never wait for each other in a circle.
LOCK_LIVE = text("""
    SELECT count(*) FROM (
        SELECT FROM leases
        WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND state IN ('queued', 'leased')
        ORDER BY seed_id
        FOR UPDATE
    ) AS live
""")
# A statement of its own, whose snapshot sees what the stores that were waited for have written: found by their
# places in the locking statement, those rows were seen to be passed over, and lived on in a cancelled dataset.
CANCEL = text("""
    UPDATE leases SET state = 'cancelled', lease_token = NULL, worker_id = NULL
    WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND state IN ('queued', 'leased')
""")

REQUEUE = text("""
    WITH dataset AS (
        SELECT FROM datasets
        WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND state <> 'cancelled'
        FOR SHARE
    )
    UPDATE leases SET state = 'queued', tries = 0, setbacks = 0, not_before = now()
    FROM dataset
    WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND state = 'failed'
      AND (CAST(:error_class AS text) IS NULL OR error_class = :error_class)
""")

# A recipe that asks for more or fewer samples a seed: seeds of which some samples are settled get the new ones too.
# Those that are leased are settled by the revision that they were leased with.
RESIZE = text("""
    UPDATE leases
    SET open_samples = ARRAY(SELECT i FROM unnest(open_samples) AS i WHERE i < :after)
                       || CAST(ARRAY(
                              SELECT i FROM generate_series(CAST(:before AS int), CAST(:after AS int) - 1) AS i
                              WHERE NOT EXISTS (
                                  SELECT FROM samples p
                                  WHERE p.workspace_id = leases.workspace_id AND p.dataset_id = leases.dataset_id
                                    AND p.seed_id = leases.seed_id AND p.sample_index = i AND p.verdict = 'accepted'
                              )
                          ) AS smallint[])
    WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id
      AND state IN ('queued', 'failed') AND open_samples IS NOT NULL
""")
