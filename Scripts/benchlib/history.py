"""Pages of history with millions of rows: an archive is filled by SQL, and read over HTTP as clients read it."""

import http.client
import json
import os
import random
import secrets
import subprocess
import threading
import time
import urllib.parse

from .results import BenchError

ROWS = 10_000_000
MONTHS = 6
DAY = 86_400_000
EPOCH = 1_735_689_600_000  # milliseconds; message ids count from here
# Conversations by what becomes of them: a few huge ones with 30 % of all messages, many of all sizes, and those that
# nobody has written in for the newer half of the time, with a twentieth of the older half.
HUGE, ACTIVE, SILENT = 10, 2990, 1000
THREADS = 4
WARM_UP, RECENT, DEEP, LIST, COLD = 2000, 8000, 2000, 1000, 1000  # requests


def lane(conversation):
    """The lane of a conversation, as the server reckons it: FNV-1a of 64 bits, folded."""
    value = 0xCBF29CE484222325
    for byte in conversation.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return (value ^ value >> 32) % 256


class Database:
    def __init__(self, url):
        self.url = url

    def __call__(self, sql):
        done = subprocess.run(
            ["psql", "-qXAt", "-v", "ON_ERROR_STOP=1", self.url], input=sql, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise BenchError(f"the archive cannot be filled: {done.stderr.strip()}")
        return done.stdout.strip()


class Reader:
    """Somebody with thousands of conversations."""

    def __init__(self, url):
        self.url = url
        self.credentials = {"username": "reader." + secrets.token_hex(5), "password": secrets.token_hex(16)}
        self.id = self.sign("signup", 201)["user"]["id"]

    def sign(self, how, status):
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc, timeout=60)
        connection.request("POST", f"/v1/{how}", json.dumps(self.credentials), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != status:
            raise BenchError(f"POST /v1/{how} answered {answer.status}")
        return json.loads(body)

    def token(self):
        """A fresh one: filling takes longer than a token lives."""
        return self.sign("login", 200)["access_token"]

    def conversations(self):
        for number in range(HUGE + ACTIVE + SILENT):
            other = f"other{number:05}"
            yield number, other, "d:" + ":".join(sorted([self.id, other]))


def fill(sql, reader, rows, say):
    """Makes the archive: `rows` messages, evenly over the months up to now. Returns when it begins."""
    end = int(time.time() * 1000)
    span = MONTHS * 30 * DAY
    start = end - span
    values = ",".join(
        f"({number},'{conversation}','{other}',{lane(conversation)},0)"
        for number, other, conversation in reader.conversations()
    )
    sql(f"""
        DROP TABLE IF EXISTS bench_talks;
        CREATE TABLE bench_talks (n int PRIMARY KEY, id text COLLATE "C", other text, lane int, seq bigint);
        INSERT INTO bench_talks VALUES {values};
        ANALYZE bench_talks;
        INSERT INTO conversations (id, kind, created_at) SELECT id, 'direct', {start} FROM bench_talks;
        INSERT INTO conversation_members (conversation_id, user_id, joined_at)
            SELECT id, member, {start} FROM bench_talks, unnest(ARRAY['{reader.id}', other]) AS member;
    """)
    months = sql(f"""
        SELECT to_char(month, 'YYYYMMDD'), (extract(epoch FROM month) * 1000)::bigint,
            (extract(epoch FROM month + interval '1 month') * 1000)::bigint
        FROM generate_series(
            date_trunc('month', to_timestamp({start} / 1000.0) AT TIME ZONE 'UTC'),
            date_trunc('month', to_timestamp({end} / 1000.0) AT TIME ZONE 'UTC'), '1 month'
        ) AS month ORDER BY month
    """)
    for line in months.splitlines():
        name, *bounds = line.split("|")
        lower, upper = map(int, bounds)
        first = max(0, -(-(lower - start) * rows // span))
        last = min(rows, -(-(upper - start) * rows // span)) - 1
        add_month(sql, reader, f"messages_{name}", lower, upper, (first, last), (start, span, rows))
        say(f"{last + 1:,} of {rows:,} messages, up to {name[:4]}-{name[4:6]}")
    sql(f"""
        UPDATE lanes SET position = greatest(position, ({end - EPOCH}::bigint << 22) + (lane << 12) + 4095);
        INSERT INTO conversation_heads (conversation_id, last_mid)
            SELECT id, (SELECT max(message_id) FROM messages WHERE conversation_id = id) FROM bench_talks WHERE seq > 0
            ON CONFLICT (conversation_id) DO UPDATE SET last_mid = excluded.last_mid;
        DROP TABLE bench_talks;
        ANALYZE;
        CHECKPOINT;
    """)
    return start


def add_month(sql, reader, table, lower, upper, numbers, timeline):
    """One partition's messages. A new one gets its indexes at the end: that is how time is saved."""
    (first, last), (start, span, rows) = numbers, timeline
    is_new = sql(f"SELECT to_regclass('{table}') IS NULL") == "t"
    if is_new:
        sql(f"CREATE TABLE {table} (LIKE messages INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    is_old_half = lower < start + span // 2
    silent_share = 0.05 if is_old_half else 0
    sql(f"""
        SET synchronous_commit = off;
        SELECT setseed(0.5);
        WITH numbers AS MATERIALIZED (
            SELECT i, {start} + i * {span}::bigint / {rows} AS ms, random() AS kind, random() AS place
            FROM generate_series({first}::bigint, {last}::bigint) AS i
        ), chosen AS (
            SELECT i, ms, CASE
                WHEN kind < 0.3 THEN floor(place * {HUGE})
                WHEN kind < {0.3 + silent_share} THEN {HUGE + ACTIVE} + floor(place * {SILENT})
                ELSE {HUGE} + floor(place * place * {ACTIVE})
            END::int AS n FROM numbers
        ), placed AS (
            SELECT talk.*, i, ms, ((ms - {EPOCH}) << 22) + (lane << 12) AS mid, md5(i::text) AS hex
            FROM chosen JOIN bench_talks AS talk USING (n)
        )
        INSERT INTO {table} (conversation_id, message_id, seq, sender_id, cid, body)
        SELECT id, mid, seq + row_number() OVER (PARTITION BY n ORDER BY mid),
            CASE i % 2 WHEN 0 THEN '{reader.id}' ELSE other END,
            overlay(lpad(to_hex(ms), 12, '0') PLACING '-' FROM 9 FOR 0) || '-7' || substr(hex, 1, 3) || '-8'
                || substr(hex, 4, 3) || '-' || substr(hex, 7, 12),
            repeat(hex, 1 + (i % 6)::int)
        FROM placed ORDER BY mid;
        UPDATE bench_talks SET seq = seq + added.count
        FROM (SELECT conversation_id, count(*) FROM {table} GROUP BY 1) AS added WHERE added.conversation_id = id;
    """)
    if is_new:
        low, high = ((bound - EPOCH) << 22 for bound in (lower, upper))
        sql(f"ALTER TABLE messages ATTACH PARTITION {table} FOR VALUES FROM ({low}) TO ({high})")


def forget(data):
    """Has the system forget a stopped PostgreSQL's files, as far as it holds them in memory."""
    for directory, _, files in os.walk(os.path.join(data, "base")):
        for name in files:
            descriptor = os.open(os.path.join(directory, name), os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def measure(url, token, paths, threads):
    """GETs all paths, some at a time, each thread on a connection of its own. Returns milliseconds of each, sorted."""
    address = urllib.parse.urlsplit(url).netloc
    times, failures, left, lock = [], [], list(reversed(paths)), threading.Lock()

    def work():
        try:
            connection = http.client.HTTPConnection(address, timeout=60)
            while True:
                with lock:
                    if not left or failures:
                        return
                    path = left.pop()
                begin = time.perf_counter()
                connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
                answer = connection.getresponse()
                body = answer.read()
                took = (time.perf_counter() - begin) * 1000
                page = json.loads(body)
                if answer.status != 200 or not (page.get("messages") or page.get("conversations")):
                    raise BenchError(f"GET {path} answered {answer.status} and {len(body)} bytes, no page")
                with lock:
                    times.append(took)
        except (BenchError, OSError, http.client.HTTPException, ValueError, KeyError) as failure:
            failures.append(failure)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise BenchError(f"history cannot be read: {failures[0]}")
    return sorted(times)


def percentiles(times):
    def at(share):
        return round(times[min(len(times) - 1, int(share * len(times)))], 3)

    return {"count": len(times), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": round(times[-1], 3)}


def recent(conversations, count, dice):
    return [f"/v1/conversations/{dice.choice(conversations)}/messages?limit=50" for _ in range(count)]


def deep(conversations, start, count, dice):
    """Pages in the middle of huge conversations, anywhere but at their very beginning."""
    for _ in range(count):
        ms = start + int(dice.uniform(0.1, 1) * MONTHS * 30 * DAY)
        yield f"/v1/conversations/{dice.choice(conversations)}/messages?limit=50&before={(ms - EPOCH) << 22}"


def run(stack, rows, restart, say):
    """Fills the archive of a stack and reads it.

    `stack` is what stack.json says; `restart(between)` ends PostgreSQL, calls `between` and starts it again."""
    sql, dice = Database(stack["postgres"]["url"]), random.Random(1)
    url = stack["gateways"][0]["url"]
    reader = Reader(url)
    begin = time.monotonic()
    start = fill(sql, reader, rows, say)
    fill_seconds = round(time.monotonic() - begin)
    ids = [conversation for _, _, conversation in reader.conversations()]
    written, silent = ids[:HUGE + ACTIVE], ids[HUGE + ACTIVE:]
    written_in = set(sql("SELECT DISTINCT conversation_id FROM messages").splitlines())
    written, silent = ([each for each in some if each in written_in] for some in (written, silent))

    say("reading recent pages")
    measure(url, reader.token(), recent(written, WARM_UP, dice), THREADS)
    begin = time.monotonic()
    recent_times = measure(url, reader.token(), recent(written, RECENT, dice), THREADS)
    rate = RECENT / (time.monotonic() - begin)
    say("reading deep in the past")
    deep_times = measure(url, reader.token(), list(deep(ids[:HUGE], start, DEEP, dice)), THREADS)
    say("reading the list of conversations")
    list_times = measure(url, reader.token(), ["/v1/conversations?limit=50"] * LIST, THREADS)
    say("reading conversations that nobody has read for months, after a restart of PostgreSQL")
    restart(lambda: forget(stack["postgres"]["data"]))
    # The server is awake, those conversations are not.
    measure(url, reader.token(), recent(written, 100, dice), THREADS)
    dice.shuffle(silent)
    cold = [f"/v1/conversations/{conversation}/messages?limit=50" for conversation in silent[:COLD]]
    cold_times = measure(url, reader.token(), cold, 1)
    return {
        "scenario": "history", "rows": int(sql("SELECT count(*) FROM messages")), "conversations": len(ids),
        "partitions": int(sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'messages'::regclass")),
        "gib": round(int(sql(
            "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'messages'::regclass"
        )) / 2**30, 2),
        "fill_seconds": fill_seconds, "threads": THREADS, "pages_per_second": round(rate, 1),
        "recent_ms": percentiles(recent_times), "deep_ms": percentiles(deep_times), "list_ms": percentiles(list_times),
        "cold_ms": percentiles(cold_times),
    }
