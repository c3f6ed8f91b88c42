"""The README's tables, written from results between markers."""

import os
import subprocess

from . import benchmarks, results
from .results import BenchError, number, reading, shown, with_unit


def measured(directory):
    """What was measured, against its target, with the command that gave it."""
    rows, runs = [], set()
    for benchmark in benchmarks.TABLE:
        result, file = read(directory, benchmark)
        with reading(file):
            runs.add((result["run"]["date"], result["run"]["commit"]))
            rows.append(f"| **{benchmark.about}**: `{result['run']['command']}` | | |")
            for figure in benchmark.figures:
                numbers = ", ".join(shown(number(result, path)) for path in figure.paths)
                rows.append(
                    f"| {figure.what.format_map(result)} | {with_unit(numbers, figure.unit)} | {figure.target} |"
                )
    file = os.path.join(directory, "machine.json")
    machine = results.read(file)
    with reading(file):
        origin = described(machine, runs)
    return "\n".join([origin, "", "| what | measured | target |", "| --- | --- | --- |", *rows])


def read(directory, benchmark):
    """A benchmark's result as the README may show it, and its file."""
    file = os.path.join(directory, benchmark.name + ".json")
    command = f"parley-load {benchmark.arguments}"
    result = results.read(file)
    with reading(file):
        check_build(result["run"], file)
        if result["run"]["command"] != command:
            raise BenchError(f"{file} is of another command than {command}; Scripts/bench run --only {benchmark.name}")
    return result, file


def check_build(run, file):
    if run["build"] != "release":
        raise BenchError(f"{file} is of build {run['build']}: the README shows the release build alone")


def described(machine, runs):
    """The machine, and when which versions were measured."""
    when = ", ".join(f"{date} ({commit})" for date, commit in sorted(runs))
    return "{cores} cores ({cpu}), {memory_gib} GiB, Linux {kernel}; ".format_map(machine) + when + "."


def transports(directory):
    """What a message and an idle listener cost by WebSocket, long polling and polling."""
    paths = ("server_cpu_us_per_message.total", "http_requests_per_message", "latency_ms.p50", "latency_ms.p99")
    idle_paths = ("server_cpu_us_per_session_second", "http_requests_per_second")
    rows, runs = [], set()
    for name, busy, idle in zip(benchmarks.TRANSPORTS, benchmarks.RECEIVE, benchmarks.IDLE):
        cells = []
        for benchmark, wanted in ((busy, paths), (idle, idle_paths)):
            result, file = read(directory, benchmark)
            with reading(file):
                runs.add((result["run"]["date"], result["run"]["commit"]))
                cells += [shown(number(result, path)) for path in wanted]
        rows.append(f"| {benchmarks.TRANSPORTS[name].removeprefix('--receive ')} | {' | '.join(cells)} |")
    file = os.path.join(directory, "machine.json")
    machine = results.read(file)
    with reading(file):
        origin = described(machine, runs)
    arguments = [each[0].arguments.replace(benchmarks.TRANSPORTS["websocket"], "--receive …")
                 for each in (benchmarks.RECEIVE, benchmarks.IDLE)]
    return "\n".join([
        f"`parley-load {arguments[0]}` and, where nothing happens, `parley-load {arguments[1]}`; {origin}",
        "",
        "| `--receive` | server CPU a message, µs | HTTP requests a message | p50, ms | p99, ms "
        "| idle: server CPU a listener and second, µs | idle: requests/s of all |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *rows,
    ])


def scaling(result, file):
    """CPU a message with more and more gateways."""
    groups = (*benchmarks.CPU_BY_GROUP, benchmarks.CPU + "total")
    rows = []
    with reading(file):
        run, points = result["run"], result["points"]
        for point in points:
            cpu = [number(point, path) for path in groups]
            ratio = cpu[-1] / number(points[0], groups[-1])
            cells = [*map(shown, cpu), f"{ratio:.2f}", shown(number(point, "latency_ms.p99"))]
            rows.append(f"| {point['gateways']} | {' | '.join(cells)} |")
        origin = described(result["machine"], {(run["date"], run["commit"])})
        return "\n".join([
            f"`{run['command']}`; {origin} Target: with {points[-1]['gateways']} gateways at most "
            f"{benchmarks.SCALING_TARGET} times what one takes.",
            "",
            "| gateways | CPU a message, µs: gateways | workers | Redis | PostgreSQL | all | to one | p99, ms |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *rows,
        ])


HISTORY_TARGET = "≤ 20 ms"


def history(result, file):
    """Pages of history: recent ones, deep ones, cold ones."""
    kinds = (
        ("recent page of 50 messages", "recent_ms", HISTORY_TARGET),
        ("page of 50 in the middle of a huge conversation (`before=`)", "deep_ms", ""),
        ("first page of 50 of a list of 4,000 conversations", "list_ms", ""),
        ("page of a conversation not read for months, not in memory", "cold_ms", ""),
    )
    with reading(file):
        run = result["run"]
        rows = []
        for what, key, target in kinds:
            p50, p99 = (shown(number(result, f"{key}.{each}")) for each in ("p50", "p99"))
            rows.append(f"| {what} | {p50} ms | {p99} ms | {target} |")
        origin = described(result["machine"], {(run["date"], run["commit"])})
        return "\n".join([
            f"`{run['command']}`: {result['rows']:,} messages in {result['conversations']:,} conversations and "
            f"{result['partitions']} partitions, {result['gib']} GiB with indexes; over HTTP, {result['threads']} at a "
            f"time, the last row one at a time after a restart of PostgreSQL. {origin}",
            "",
            "| what | p50 | p99 | target of the p99 |",
            "| --- | --- | --- | --- |",
            *rows,
        ])


def capacity(directory, parley_load):
    """The capacity model's table, from these results."""
    files = [os.path.join(directory, name) for name in ("chat.json", "connect.json")]
    done = subprocess.run(
        [parley_load, "capacity", "--markdown", "--bench", files[0], "--connect", files[1]],
        capture_output=True, text=True, check=False,
    )
    if done.returncode != 0:
        raise BenchError(f"the capacity table cannot be made: {done.stderr.strip()}")
    return done.stdout.strip()


def write(readme, sections):
    """Puts each section between its markers, or changes nothing."""
    with open(readme, encoding="utf-8") as file:
        text = file.read()
    for name, content in sections.items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
        before, found, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        if not found or not found_end:
            raise BenchError(f"{readme} has no lines {begin.strip()} and {end.strip()} to write between")
        text = f"{before}{begin}{content}\n{end}{after}"
    with open(readme + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(readme + ".new", readme)
