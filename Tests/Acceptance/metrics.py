"""Reads /metrics as strictly as Prometheus's text format is written."""

import math
import re

import httpx

SAMPLE = re.compile(r'([a-z_]+)(?:\{(.*)\})? (\S+)')
LABEL = re.compile(r'([a-z]+)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


class Scrape:
    """One answer of /metrics: `types` by metric, and all samples with their labels."""

    def __init__(self, url):
        answer = httpx.get(f"{url}/metrics", timeout=30)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        self.types, self.samples, helps = {}, [], set()
        assert answer.text.endswith("\n")
        for line in answer.text[:-1].split("\n"):
            if line.startswith("# HELP "):
                name = line.split(" ")[2]
                assert name not in helps, f"{name} comes twice"
                helps.add(name)
            elif line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name in helps and name not in self.types
                self.types[name] = kind
            else:
                self.sample(line)
        self.check_histograms()

    def sample(self, line):
        name, labels, value = SAMPLE.fullmatch(line).groups()
        pairs = LABEL.findall(labels or "")
        assert "".join(f'{key}="{text}",' for key, text in pairs) == (labels + "," if labels else ""), line
        # Samples stand behind the type of their metric.
        assert self.metric(name) == list(self.types)[-1], line
        self.samples.append((name, dict(pairs), float(value)))

    def metric(self, name):
        if name in self.types:
            return name
        base = re.sub("_(bucket|sum|count)$", "", name)
        assert self.types[base] == "histogram", name
        return base

    def check_histograms(self):
        """Buckets rise, and the last one is the count."""
        last = {}
        for name, labels, value in self.samples:
            key = (name.rpartition("_")[0], tuple(sorted((k, v) for k, v in labels.items() if k != "le")))
            if name.endswith("_bucket"):
                bound, count = last.get(key, (-math.inf, 0))
                assert float(labels["le"]) > bound and value >= count
                last[key] = (float(labels["le"]), value)
            elif name.endswith("_count"):
                assert last[key] == (math.inf, value)

    def value(self, name, **labels):
        """The sum over all series with these labels."""
        found = [value for other, has, value in self.samples if other == name and labels.items() <= has.items()]
        assert found, f"no {name} with {labels}"
        return sum(found)

    def labels(self, name):
        """The names of a metric's labels; None if it is not exported."""
        return next((set(labels) - {"le"} for other, labels, _ in self.samples
                     if other == name or self.types.get(name) == "histogram" and self.metric(other) == name), None)
