"""Two sets of results side by side."""

import os

from . import benchmarks, results
from .results import BenchError, find, reading

MARGIN = 0.10  # what got worse by more is marked


def lines(base, new):
    """What `Scripts/bench compare` prints."""
    remarks, rows = list(machines(base, new)), [("", "base", "new", "change", "")]
    for benchmark in benchmarks.ALL:
        file, *sides = benchmark.name + ".json", side(base, benchmark), side(new, benchmark)
        if None in sides:
            if sides != [None, None]:
                remarks.append(f"{file} stands in {base if sides[1] is None else new} alone.")
            continue
        with reading(file):
            commands = [result["run"]["command"] for result in sides]
        if commands[0] != commands[1]:
            remarks.append(f"{benchmark.name} ran differently: {commands[0]} / {commands[1]}")
        rows += [row(benchmark, figure, path, *(find(result, path) for result in sides))
                 for figure in benchmark.figures for path in figure.paths]
    if len(rows) == 1:
        raise BenchError(f"{base} and {new} have no benchmark in common")
    width = max(len(row[0]) for row in rows)
    return remarks + [
        f"{label:<{width}}{one:>12}{other:>12}{change:>10}  {mark}".rstrip() for label, one, other, change, mark in rows
    ]


def side(directory, benchmark):
    path = os.path.join(directory, benchmark.name + ".json")
    return results.read(path) if os.path.exists(path) else None


def machines(base, new):
    """What differs between the machines: then the figures say little about what was measured on them."""
    one, other = (results.read(os.path.join(directory, "machine.json")) for directory in (base, new))
    differing = [key for key in ("cores", "cpu", "memory_gib", "kernel") if one.get(key) != other.get(key)]
    if differing:
        yield "The machines differ: " + "; ".join(f"{key} {one.get(key)} / {other.get(key)}" for key in differing) + "."


def row(benchmark, figure, path, base, new):
    label = f"{benchmark.name} {path}" + (f" {figure.unit}" if figure.unit else "")
    cells = ["–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"
             for value in (base, new)]
    if base is None or new is None or base == new:
        return label, *cells, "", ""
    change = (new - base) / base if base else float("inf")
    is_worse = (-change if figure.more_is_better else change) > MARGIN
    return label, *cells, f"{change:+.1%}" if base else "", "worse" if is_worse else ""
