"""Result files: reading, writing, and the numbers in them."""

import contextlib
import json
import os


class BenchError(Exception):
    """A line for the person at the terminal: what went wrong and what to do."""


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
    except FileNotFoundError:
        raise BenchError(f"there is no {path}; Scripts/bench run makes results") from None
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} is damaged: {error}") from None
    if not isinstance(result, dict):
        raise BenchError(f"{path} is damaged: it is no JSON object")
    return result


def write(path, result):
    """Whole or not at all."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=2, ensure_ascii=False)
        file.write("\n")
    os.replace(path + ".new", path)


@contextlib.contextmanager
def reading(file):
    """What a result lacks is the file's fault."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BenchError(f"{file} is damaged: {error!r}") from None


def find(result, path):
    """The number at `a.b` of a result, or None."""
    for key in path.split("."):
        result = result.get(key) if isinstance(result, dict) else None
    return result if isinstance(result, (int, float)) and not isinstance(result, bool) else None


def number(result, path):
    found = find(result, path)
    if found is None:
        raise KeyError(path)
    return found


def shown(value):
    """With a decimal below ten alone, and commas between thousands."""
    return f"{value:,.1f}" if isinstance(value, float) and abs(value) < 10 else f"{value:,.0f}"


def with_unit(text, unit):
    return text + unit if not unit or unit.startswith("/") else f"{text} {unit}"
