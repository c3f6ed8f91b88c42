// Fills the page's sections from the results within it; what the results do not have stays hidden.

const result = JSON.parse(document.getElementById("result").textContent);
const { timeline = [], faults = [], violations = [], steps: rates = [], latency_ms: latency } = result;

const PROMISES = ["lost", "duplicated", "reordered", "leaked"];
const PARAMETERS = ["scenario", "users", "sessions", "rate", "duration_s", "processes", "gateways"];
const NAMES = {
    acked: "acknowledged", p999: "p99.9", postgres: "PostgreSQL", duration_s: "duration, s",
    rate: "rate, messages/s", rate_achieved: "rate achieved, messages/s",
    highest_rate: "highest rate that held, messages/s",
    generator_cpu_us_per_message: "generator CPU a message, µs", rss_kb_per_session: "RSS a session, KiB",
    connect_seconds: "connecting took, s", connects_per_second: "connects a second",
};
const nameOf = (key) => NAMES[key] ?? key.replaceAll("_", " ").replace("redis", "Redis");
const isThere = (value) => value !== undefined && value !== null;
const LATENCIES = [["p50", "p50", " ms"], ["p99", "p99", " ms"]];

/** Shows a section with something more in it. */
function show(id, ...children) {
    const section = document.getElementById(id);
    section.hidden = false;
    section.append(...children);
}

/** [state, headline, a sentence] */
function verdict() {
    const broken = PROMISES.filter((kind) => result[kind] > 0).map((kind) => `${text(result[kind])} ${kind}`);
    if (broken.length || violations.length) {
        return ["broken", "A promise was broken", `${broken.join(", ") || `Violations: ${violations.length}`}.`];
    }
    if (isThere(result.sessions) && !isThere(result.sent)) {
        const { connected, sessions, unexpected_closes: closes = 0 } = result;
        const detail = `${text(connected)} of ${text(sessions)} connected, ${text(closes)} closed unexpectedly.`;
        if (connected === sessions && closes === 0) return ["held", "Every session held", detail];
        return ["broken", "Not every session held", detail];
    }
    if (result.ended_early) return ["unsure", "The run ended early", "Nothing that it checked was broken."];
    if (!PROMISES.every((kind) => result[kind] === 0)) return ["unsure", "No verdict", "Not everything was checked."];
    if (result.acked === 0) return ["unsure", "No verdict", "Nothing was acknowledged, so nothing was promised."];
    const detail = `${text(result.acked)} messages acknowledged: none lost, duplicated, reordered or leaked.`;
    return ["held", "Every promise held", detail];
}

function showVerdict() {
    const [state, headline, sentence] = verdict();
    const sign = { held: "✓", broken: "✕", unsure: "!" }[state];
    const early = result.ended_early ? ` It ended early: ${result.ended_early}` : "";
    show("verdict", h("span", { "aria-hidden": "true" }, sign), h("h2", {}, headline), h("p", {}, sentence + early));
    document.getElementById("verdict").dataset.state = state;
    document.title = `${sign} ${headline} – Parley load report`;
    const run = [
        [result.users, "users"], [result.sessions, "sessions"], [result.gateways, "gateways"],
        [rates.length ? null : result.rate, "messages/s"], [result.duration_s, "s"],
    ].filter(([value]) => isThere(value)).map(([value, unit]) => `${text(value)}\u00a0${unit}`);
    document.getElementById("run").textContent = [result.scenario, ...run].filter(isThere).join(" · ");
}

function showViolations() {
    if (!violations.length) return;
    const all = PROMISES.reduce((sum, kind) => sum + (result[kind] ?? 0), 0);
    if (all > violations.length) show("violations", h("p", {}, `${violations.length} of ${text(all)}, the first of each kind.`));
    show("violations", h("ol", { tabindex: 0 },
        ...violations.map(({ kind, message }) => h("li", {}, h("strong", {}, kind), ` ${message}`))));
}

function showFigures() {
    const { server_cpu_us_per_message: cpu = {}, bytes_per_message: bytes = {}, rate, users, sessions } = result;
    const parts = (object, keys) =>
        keys.filter((key) => isThere(object[key])).map((key) => `${nameOf(key)} ${text(object[key])}`).join(", ");
    const of = (whole) => (isThere(whole) ? `of ${text(whole)}` : "");
    // [name, value, unit, note]
    const figures = [
        ["highest rate that held", result.highest_rate, "/s"],
        ["rate achieved", rates.length ? null : result.rate_achieved, "/s", of(rate)],
        ["p50", latency?.p50 || null, " ms", "send to delivery"], // 0: nothing was delivered
        ["p99", latency?.p99 || null, " ms"],
        ["p99.9", latency?.p999 || null, " ms"],
        ["connected", result.connected ?? timeline.at(-1)?.connected, "", of(sessions ?? users)],
        ["connecting took", result.connect_seconds, " s"],
        ["connects", result.connects_per_second, "/s"],
        ["heartbeats answered", result.heartbeats_answered],
        ...PROMISES.map((kind) => [kind, result[kind]]),
        ["server CPU a message", cpu.total, " µs", parts(cpu, ["gateways", "redis", "workers", "postgres"])],
        ["RSS a session", result.rss_kb_per_session, " KiB"],
        ["Redis calls a message", result.redis_calls_per_message?.total],
        ["bytes a message, to clients", bytes.to_clients, "", parts(bytes, ["from_clients", "to_redis", "from_redis"])],
    ].filter(([, value]) => isThere(value));
    if (!figures.length) return;
    show("figures", h("dl", {}, ...figures.map(([title, value, unit = "", note = ""]) =>
        h("div", PROMISES.includes(title) && value > 0 ? { class: "bad" } : {},
            h("dt", {}, title), h("dd", {}, text(value), h("span", {}, unit), h("small", {}, note))))));
}

function showRates() {
    if (!rates.length) return;
    const rows = rates.map((step) => ({ ...step, x: step.rate })).sort((a, b) => a.x - b.x);
    const domain = [0, rows.at(-1).x];
    const highest = result.highest_rate;
    const [figure] = chart("Latency at each rate", {
        rows, height: 200, dots: (row) => row.holds,
        title: (row) => `${text(row.x)}/s${row.holds ? "" : ", did not hold"}`,
        x: { label: "messages a second", domain, ticks: steps(...domain, 8).map((tick) => [tick, text(tick)]) },
        panels: [{ label: "latency, ms", log: true, series: LATENCIES }],
        marks: highest > 0 ? [{ x: highest, text: `highest that held: ${text(highest)}/s` }] : [],
    });
    show("rates", figure, table("Each rate", ["asked, /s", "achieved, /s", "p50, ms", "p99, ms", "holds"],
        rates.map((step) => [step.rate, step.rate_achieved, step.p50, step.p99, step.holds])));
}

function showTimeline() {
    if (!timeline.length) return;
    const rows = timeline.map((second, index) => ({
        ...second, x: second.s, p50: second.p50 || null, p99: second.p99 || null, // 0: nothing was delivered
        failed: second.errors - (timeline[index - 1]?.errors ?? 0),
    }));
    const marks = faults.map(({ s, what }) => ({ x: s, text: what })).sort((a, b) => a.x - b.x);
    const domain = [Math.min(rows[0].x - 1, marks[0]?.x ?? Infinity), Math.max(rows.at(-1).x, marks.at(-1)?.x ?? 0)];
    const varies = rows.some((row) => row.connected !== rows[0].connected);
    const goesWrong = rows.some((row) => row.failed > 0 || row.late > 0);
    const during = (row) => marks.filter(({ x }) => x > row.x - 1 && x <= row.x).map((mark) => `: ${mark.text}`);
    show("timeline", ...chart("Second by second", {
        rows, marks, height: 130, shades: rows.filter((row) => row.warmup).map(({ x }) => [x - 1, x]),
        title: (row) => `${text(row.x)} s${row.warmup ? ", warm-up" : ""}${during(row).join("")}`,
        x: {
            label: goesWrong ? "seconds" : "seconds (no errors, nothing late)",
            domain, ticks: steps(...domain, 12).map((tick) => [tick, text(tick)]),
        },
        panels: [
            { label: "messages/s", series: [["acked", "acknowledged", "/s"]] },
            { label: "latency, ms", log: true, series: LATENCIES },
            ...(goesWrong ? [{ label: "count", series: [["failed", "errors", "/s"], ["late", "late"]] }] : []),
            ...(varies ? [{ label: "sessions", series: [["connected", "connected"]] }] : []),
        ],
    }));
}

function showPercentiles() {
    const curve = result.latency_curve ?? [];
    // By 1 / (1 - p), as HdrHistogram's plotter does; 100 % would be infinitely far, and stands one halving on.
    const rows = curve.filter(([percentile]) => percentile < 100)
        .map(([percentile, latency]) => ({ x: 100 / (100 - percentile), percentile, latency }));
    if (!rows.length) return;
    const most = curve.find(([percentile]) => percentile >= 100);
    if (most) rows.push({ x: 2 * rows.at(-1).x, percentile: 100, latency: most[1] });
    const ticks = [[1, "0%"], [2, "50%"]];
    for (let x = 10; x <= rows.at(-1).x; x *= 10) ticks.push([x, `${Number((100 - 100 / x).toFixed(8))}%`]);
    show("percentiles", ...chart("Latency by percentile", {
        rows, height: 220,
        title: ({ percentile }) => (percentile < 100 ? `${Number(percentile.toFixed(6))}%` : "100%, the slowest"),
        x: { label: "percentile", domain: [1, Math.max(10, rows.at(-1).x)], ticks, log: true },
        panels: [{ label: "latency, ms", log: true, series: [["latency", "send to delivery", " ms"]] }],
    }));
}

/** A table of an object's numbers with bars, greatest first, their total at the end. */
function bars(caption, unit, object = {}) {
    const { total, ...parts } = object;
    const entries = Object.entries(parts).sort((a, b) => b[1] - a[1]);
    if (!entries.length) return [];
    const rows = isThere(total) ? [...entries, ["total", total]] : entries;
    const made = table(caption, ["", unit], rows.map(([key, value]) => [nameOf(key), value]));
    const cells = made.querySelectorAll("td");
    entries.forEach(([, value], index) => {
        cells[index].style.setProperty("--part", `${value / (entries[0][1] || 1)}`);
    });
    return [made];
}

function showTables() {
    const keys = ["p50", "p90", "p99", "p999", "max"];
    const latencies = [["delivery", latency], ["answer", result.ack_ms]].filter(([, each]) => each)
        .map(([title, each]) => [title, ...keys.map((key) => each[key])]);
    const shown = new Set([...PARAMETERS, "ended_early"]);
    const counts = Object.keys(result).filter((key) => typeof result[key] !== "object" && !shown.has(key));
    const named = (keys) => keys.filter((key) => isThere(result[key])).map((key) => [nameOf(key), result[key]]);
    const made = [
        latencies.length ? table("From send to …, in ms", ["", ...keys.map(nameOf)], latencies) : "",
        ...bars("Server CPU a message", "µs", result.server_cpu_us_per_message),
        ...bars("Redis calls a message", "calls", result.redis_calls_per_message),
        ...bars("Bytes a message", "bytes", result.bytes_per_message),
        ...bars("Errors by code", "answers", result.errors),
        faults.length ? table("Faults", ["", "at, s"], faults.map(({ s, what }) => [what, s.toFixed(2)])) : "",
        table("Parameters", ["", "value"], named(PARAMETERS)),
        table("Counted", ["", "value"], named(counts)),
    ];
    show("tables", h("div", {}, ...made));
}

showVerdict();
showViolations();
showFigures();
showRates();
showTimeline();
showPercentiles();
showTables();
