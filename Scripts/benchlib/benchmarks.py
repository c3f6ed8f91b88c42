"""The benchmarks: what runs, and what of its result the README and comparisons show. Adding one is one entry."""

from typing import NamedTuple


class Figure(NamedTuple):
    """A row of the table. `what` may name fields of the result: "of {acked:,} messages"."""

    what: str
    paths: tuple  # of numbers in the result; several stand side by side in the row
    unit: str = ""
    target: str = ""
    more_is_better: bool = False


class Benchmark(NamedTuple):
    name: str  # of the result's file
    about: str
    arguments: str  # of parley-load; --stack and --json are added
    seconds: int  # that it takes, about
    figures: tuple
    needs_stack: bool = True  # fresh gateways and a worker
    gateways: int = 2


LATENCY = ("latency_ms.p50", "latency_ms.p99")
PROMISES = Figure(
    "lost, duplicated, reordered, leaked of {acked:,} messages, each delivered to two devices",
    ("lost", "duplicated", "reordered", "leaked"), target="0",
)
WRONG = Figure("wrong pictures at the end", ("wrong",), target="0")
CPU = "server_cpu_us_per_message."
CPU_BY_GROUP = (CPU + "gateways", CPU + "workers", CPU + "redis", CPU + "postgres")

# The README's main table.
TABLE = (
    Benchmark(
        "connect", "10,000 idle signed-in sessions on two gateways, held for 60 s",
        "connect --users 10000 --duration 60", 80,
        (
            Figure("sessions held", ("connected",), more_is_better=True),
            Figure("connecting them all", ("connect_seconds",), "s"),
            Figure("memory of a gateway for each", ("rss_kb_per_session",), "KiB", "≤ 6 KiB"),
        ),
    ),
    Benchmark(
        "chat", "1:1 chat over two gateways, 1,000 users, 2,000 messages/s for 60 s",
        "chat --users 1000 --rate 2000 --duration 60", 80,
        (
            Figure("send to delivery, p50", LATENCY[:1], "ms", "≤ 1.5 ms"),
            Figure("send to delivery, p99", LATENCY[1:], "ms", "≤ 6 ms"),
            PROMISES,
            Figure("server CPU a message, all processes", (CPU + "total",), "µs", "≤ 70 µs"),
            Figure("of it gateways, workers, Redis, PostgreSQL", CPU_BY_GROUP, "µs"),
        ),
    ),
    Benchmark(
        "connect-20000", "20,000 sessions connect from two generator processes, held for 10 s",
        "connect --users 20000 --processes 2 --duration 10 --seed-users", 60,
        (Figure("connecting them all", ("connect_seconds",), "s", "≤ 30 s"),),
    ),
    Benchmark(
        "mixed", "the same chat among 10,000 idle sessions",
        "mixed --users 1000 --rate 2000 --idle 10000 --duration 60 --seed-users", 90,
        (Figure("send to delivery, p50 and p99", LATENCY, "ms"), PROMISES),
    ),
    Benchmark(
        "chat-5000", "the same at 5,000 messages/s", "chat --users 1000 --rate 5000 --duration 60", 80,
        (
            Figure("send to delivery, p50 and p99", LATENCY, "ms"),
            PROMISES,
            Figure("server CPU a message, all processes", (CPU + "total",), "µs", "≤ 70 µs"),
            Figure(
                "CPU a message of the load generator, and of the gateways",
                ("generator_cpu_us_per_message", CPU + "gateways"), "µs", "the first below the second",
            ),
        ),
    ),
    Benchmark(
        "chat-steps", "the same, 1,000 messages/s more every 10 s until the p99 is above 50 ms",
        "chat --users 1000 --rate 1000 --step 1000 --until-p99 50ms --duration 10", 200,
        (Figure("highest rate that held", ("highest_rate",), "/s", "≥ 15,000/s", more_is_better=True),),
    ),
    Benchmark(
        "group", "ten groups of 100, all online, 50 messages/s more every 10 s until the p99 is above 100 ms",
        "group --users 1000 --members 100 --rate 50 --step 50 --until-p99 100ms --duration 10 --seed-users", 150,
        (
            Figure("deliveries at the highest rate that held", ("deliveries_per_second",), "/s", "≥ 50,000/s",
                   more_is_better=True),
        ),
    ),
    Benchmark(
        "resume", "50 devices come back one after the other, each having missed 1,000 messages",
        "resume --users 50 --missed 1000 --seed-users", 20,
        (
            Figure("from connecting to the first of them, p50 and p99", ("first_ms.p50", "first_ms.p99"), "ms",
                   "≤ 20 ms"),
            Figure("from connecting to the last, p50 and p99", ("all_ms.p50", "all_ms.p99"), "ms", "≤ 200 ms"),
            Figure("devices that got anything else", ("incomplete",), target="0"),
        ),
    ),
    Benchmark(
        "devices", "1:1 chat at 500 messages/s, three devices a user",
        "chat --users 1000 --rate 500 --devices 3 --duration 30 --seed-users", 50,
        (
            Figure("send to delivery, p50 and p99", LATENCY, "ms"),
            Figure("lost, duplicated, reordered, leaked, each delivered to six devices",
                   ("lost", "duplicated", "reordered", "leaked"), target="0"),
        ),
    ),
    Benchmark(
        "presence", "100,000 pairs of friends among 20,000 users, of whom 50 a second come, go or lose a connection",
        "presence --users 20000 --friends 10 --rate 50 --duration 60 --processes 2 --seed-users", 200,
        (
            Figure("from a change to a friend's socket, p50 and p99", LATENCY, "ms", "p99 ≤ 100 ms"),
            WRONG,
        ),
    ),
    Benchmark(
        "presence-idle", "10,000 sessions, each watching ten friends, held for 60 s",
        "presence --users 10000 --friends 10 --rate 0 --warmup 0 --duration 60 --seed-users", 100,
        (Figure("memory of a gateway for each", ("rss_kb_per_session",), "KiB", "≤ 6 KiB"),),
    ),
    Benchmark(
        "presence-kill", "kill -9 of a gateway with 9,500 sessions, each watching 20 friends, none of whom comes back",
        "presence --users 19000 --friends 20 --rate 0 --messages 200 --stay-away --duration 40 --processes 3 "
        "--seed-users --faults Scripts/faults/gateway.txt", 150,
        (
            Figure("until friends saw them go, p50 and the last", ("gone_ms.p50", "gone_ms.max"), "ms",
                   "≤ 35,000 ms, the grace and 5 s"),
            WRONG,
        ),
    ),
    Benchmark(
        "presence-return", "the same, and all of them come back to the other gateway",
        "presence --users 19000 --friends 20 --rate 0 --messages 200 --duration 20 --processes 3 --seed-users "
        "--faults Scripts/faults/gateway.txt", 120,
        (
            Figure("send to delivery there, p50 and p99", LATENCY, "ms", "p99 ≤ 250 ms"),
            Figure("times that a friend saw one of them go", ("gone_shown",), target="0"),
            WRONG,
        ),
    ),
    Benchmark(
        "kills", "kill -9 of every process in turn while 2,000 messages/s flow for 75 s",
        "chat --users 1000 --rate 2000 --duration 75 --faults Scripts/faults/each-process.txt", 110,
        (
            PROMISES,
            Figure("connections that ended", ("unexpected_closes",)),
            Figure("send to delivery, p50 and p99 of the whole run", LATENCY, "ms"),
        ),
    ),
    Benchmark(
        "group-kills", "the same with ten groups of 100, three devices a user, at 6,000 deliveries/s",
        "group --users 1000 --members 100 --devices 3 --rate 20 --duration 75 --seed-users "
        "--faults Scripts/faults/each-process.txt", 120,
        (
            Figure("lost, duplicated, reordered, leaked of {acked:,} messages, each delivered to 300 devices",
                   ("lost", "duplicated", "reordered", "leaked"), target="0"),
            Figure("connections that ended", ("unexpected_closes",)),
            Figure("send to delivery, p50 and p99 of the whole run", LATENCY, "ms"),
        ),
    ),
    Benchmark(
        "pauses", "every process stands still for 5 or 6 s, one after the other, at 2,000 messages/s for 75 s",
        "chat --users 1000 --rate 2000 --duration 75 --faults Scripts/faults/pauses.txt", 110,
        (PROMISES, Figure("send to delivery, p50 and p99 of the whole run", LATENCY, "ms")),
    ),
    Benchmark(
        "rolling", "four gateways are restarted one after the other, by SIGTERM, while 2,000 messages/s flow for 90 s",
        "chat --users 1000 --rate 2000 --duration 90 --seed-users --faults Scripts/faults/rolling.txt", 130,
        (
            PROMISES,
            Figure("the longest that a send waited for its answer", ("ack_ms.max",), "ms", "≤ 5,000 ms"),
            Figure("send to delivery, p50 and p99 of the whole run", LATENCY, "ms"),
            Figure("connections that ended before there was another", ("unexpected_closes",)),
        ),
        gateways=4,
    ),
    Benchmark(
        "gateway-loss", "one of four gateways with 20,000 sessions is killed, 200 messages/s flow between 1,000 of them",
        "mixed --users 1000 --rate 200 --idle 19000 --processes 2 --duration 60 --seed-users "
        "--faults Scripts/faults/gateway-loss.txt", 130,
        (
            Figure("until all sessions were back on the others", ("reconnect_seconds",), "s", "≤ 30 s"),
            Figure("refused sends of users who were not on it", ("errors_undisturbed",), target="0"),
            PROMISES,
            Figure("connections that ended", ("unexpected_closes",)),
        ),
        gateways=4,
    ),
    Benchmark(
        "self-test", "the load generator against an echo in its own process",
        "self-test", 40,
        (
            Figure(
                "messages it sends, receives and checks with p99 ≤ 50 ms", ("highest_rate",), "/s", more_is_better=True
            ),
            Figure("CPU a message, the echo's too", ("generator_cpu_us_per_message",), "µs"),
        ),
        needs_stack=False,
    ),
)

# What those who only listen get their messages by, with parley-load's options for it.
TRANSPORTS = {
    "websocket": "--receive websocket",
    "long-poll": "--receive long-poll",
    "poll": "--receive poll --poll-every 1s",
}

# Half of the users write at a low rate, as people do, and the others listen; and all listen to nothing.
RECEIVE = tuple(
    Benchmark(
        f"receive-{name}", f"500 users who listen by {name}, 200 messages/s for 30 s",
        f"chat --users 1000 --rate 200 --duration 30 {options} --seed-users", 50,
        (
            Figure("server CPU a message, all processes", (CPU + "total",), "µs"),
            Figure("HTTP requests a message", ("http_requests_per_message",)),
            Figure("send to delivery, p50 and p99", LATENCY, "ms"),
            Figure("lost, duplicated, reordered, leaked", ("lost", "duplicated", "reordered", "leaked"), target="0"),
        ),
    )
    for name, options in TRANSPORTS.items()
)
IDLE = tuple(
    Benchmark(
        f"idle-{name}", f"1,000 users who listen by {name} while nothing happens, for 30 s",
        f"connect --users 1000 --duration 30 {options} --seed-users", 40,
        (
            Figure("server CPU a session and second, all processes", ("server_cpu_us_per_session_second",), "µs"),
            Figure("HTTP requests a second", ("http_requests_per_second",), "/s"),
        ),
    )
    for name, options in TRANSPORTS.items()
)

ALL = TABLE + RECEIVE + IDLE

# What Scripts/bench scaling runs for each number of gateways.
SCALING = "chat --users 1000 --rate {rate} --duration 15"
GATEWAYS = (1, 2, 4, 8)
SCALING_TARGET = 1.1  # CPU a message with most gateways over that with one
