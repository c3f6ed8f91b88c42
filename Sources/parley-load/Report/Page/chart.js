// Numbers, elements and charts; of a run's results this file knows nothing. The page has report.js right after it.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const precise = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** A value for people: numbers to three digits, and to every one before the point. */
function text(value) {
    if (typeof value === "number") return (Math.abs(value) < 100 ? precise : whole).format(value);
    if (typeof value === "boolean") return value ? "yes" : "no";
    return String(value ?? "–");
}

const maker = (namespace) => (tag, attributes = {}, ...children) => {
    const element = document.createElementNS(namespace, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
};
const h = maker("http://www.w3.org/1999/xhtml");
const s = maker("http://www.w3.org/2000/svg");

/** The first cell of a row names it. */
function table(caption, head, rows) {
    const cell = (value, column) => h(column ? "td" : "th", column ? {} : { scope: "row" }, text(value));
    return h("div", { class: "scroll" }, h("table", {},
        h("caption", {}, caption),
        h("thead", {}, h("tr", {}, ...head.map((title) => h("th", { scope: "col" }, title)))),
        h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map(cell))))));
}

// MARK: Axes

const power = (value) => 10 ** Math.floor(Math.log10(value));
const above = (value) => power(value) * [1, 2, 5, 10].find((step) => step * power(value) >= value);
const below = (value) => power(value) * [5, 2, 1].find((step) => step * power(value) <= value);

/** Round numbers from `low` to `high`, with so many gaps at most. */
function steps(low, high, count) {
    const step = Math.max(1, above((high - low) / count || 1));
    const ticks = [];
    for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) ticks.push(tick);
    return ticks;
}

/** Domain and ticks of a y axis that begins at 0, or of one by the logarithm. */
function axis(values, log) {
    const numbers = values.filter((value) => value > 0);
    const most = numbers.reduce((a, b) => Math.max(a, b), log ? 0.1 : 1);
    if (!log) {
        const step = Math.max(1, above(most / 5));
        const ticks = Array.from({ length: Math.ceil(most / step) + 1 }, (_, index) => index * step);
        return { domain: [0, ticks.at(-1)], ticks };
    }
    const high = above(most);
    const low = Math.min(below(numbers.reduce((a, b) => Math.min(a, b), high)), high / 10);
    const ticks = [];
    for (let decade = power(low); decade <= high; decade *= 10) {
        for (const step of high / low > 200 ? [1] : [1, 2, 5]) ticks.push(Number((step * decade).toPrecision(1)));
    }
    return { domain: [low, high], ticks: ticks.filter((tick) => tick >= low && tick <= high) };
}

/** Maps a domain onto pixels. */
function scale([low, high], from, to, log) {
    const of = log ? (value) => Math.log10(Math.max(value, low)) : (value) => value;
    return (value) => from + ((to - from) * (of(value) - of(low))) / (of(high) - of(low) || 1);
}

// MARK: Drawing, in pixels

const LEFT = 54, RIGHT = 16, GAP = 46, ROW = 17, LETTER = 6.6;

/** Labels of marks, each in the first row that has room for it. */
function placed(marks, x, width) {
    const ends = [];
    return marks.map((mark) => {
        const label = mark.text.length > 34 ? `${mark.text.slice(0, 33)}…` : mark.text;
        const start = Math.max(0, Math.min(x(mark.x) + 4, width - label.length * LETTER));
        let row = ends.findIndex((end) => end < start);
        if (row < 0) row = ends.push(0) - 1;
        ends[row] = start + label.length * LETTER + 8;
        return { x: x(mark.x), label, start, row };
    });
}

/** A path through what a series has; a row without a number leaves a gap. */
function path(rows, key, x, y) {
    let d = "", isDown = false;
    for (const row of rows) {
        const isNumber = Number.isFinite(row[key]);
        const point = isNumber && `${x(row.x).toFixed(1)} ${y(row[key]).toFixed(1)}`;
        if (isNumber) d += isDown ? `L${point}` : `M${point}h0`; // the caps of a line of no length show a lone point
        isDown = isNumber;
    }
    return s("path", { d, class: "series", "data-key": key, "stroke-width": rows.length > 600 ? 0.7 : 1.6 });
}

/** What `chart` describes, at a width: the scale of x, the height, and the elements. */
function draw({ rows, x: { label, domain, ticks, log }, panels, height, marks = [], shades = [], dots }, width) {
    const x = scale(domain, LEFT, width - RIGHT, log);
    const labels = placed(marks, x, width);
    const first = ROW * (1 + Math.max(-1, ...labels.map(({ row }) => row))) + 30;
    const bottom = first + panels.length * (height + GAP) - GAP;
    const parts = [];
    const line = (kind, x1, y1, x2, y2) => parts.push(s("line", { class: kind, x1, y1, x2, y2 }));
    const write = (kind, at, y, anchor, ...content) =>
        parts.push(s("text", { class: kind, x: at, y, "text-anchor": anchor }, ...content));

    for (const [from, to] of shades) {
        parts.push(s("rect", { class: "shade", x: x(from), y: first, width: x(to) - x(from), height: bottom - first }));
    }
    let end = -Infinity;
    for (const [value, content] of ticks) {
        const half = (content.length * LETTER) / 2;
        if (x(value) - half < end + 8) continue;
        end = x(value) + half;
        line("grid", x(value), first, x(value), bottom + 4);
        write("", Math.min(x(value), width - half), bottom + 18, "middle", content);
    }
    write("", (LEFT + width - RIGHT) / 2, bottom + 36, "middle", label);
    for (const mark of labels) line("mark", mark.x, ROW * mark.row + 4, mark.x, bottom);
    for (const { label, start, row } of labels) write("label", start, ROW * (row + 1) - 4, "start", label);

    panels.forEach((panel, index) => {
        const top = first + index * (height + GAP);
        const { domain, ticks } = axis(rows.flatMap((row) => panel.series.map(([key]) => row[key])), panel.log);
        const y = scale(domain, top + height, top, panel.log);
        for (const tick of ticks) {
            line("grid", LEFT, y(tick), width - RIGHT, y(tick));
            write("", LEFT - 8, y(tick) + 4, "end", text(tick));
        }
        const legend = panel.series.map(([key, name]) => s("tspan", { "data-key": key, dx: 12 }, `━ ${name}`));
        write("name", 0, top - 12, "start", panel.label, ...legend);
        for (const [key] of panel.series) {
            parts.push(path(rows, key, x, y));
            for (const row of dots ? rows.filter((row) => Number.isFinite(row[key])) : []) {
                const kind = dots(row) ? "" : "hollow";
                parts.push(s("circle", { class: kind, "data-key": key, cx: x(row.x), cy: y(row[key]), r: 4 }));
            }
        }
    });
    return { x, first, bottom, height: bottom + 42, parts };
}

/**
 * A chart that follows its width and tells a row's values where the pointer or the arrow keys are; and its table.
 *   rows    [{x, …}] in the order of x
 *   title   what to call a row
 *   x       {label, domain, ticks: [[x, text], …], log}
 *   panels  [{label, log, series: [[key, name, unit], …]}], each of `height`, above each other over one x axis
 *   marks   [{x, text}, …] vertical lines; shades [[from, to], …]; dots(row): a point is drawn, filled if true
 */
function chart(name, spec) {
    const { rows, title, panels } = spec;
    const series = panels.flatMap((panel) => panel.series);
    // To assistive technology a slider along the rows: its value is what the row says.
    const svg = s("svg", {
        role: "slider", tabindex: 0, "aria-label": `${name}, by the arrow keys`,
        "aria-valuemin": 0, "aria-valuemax": rows.length - 1, "aria-valuenow": 0, "aria-valuetext": title(rows[0]),
    });
    const tip = h("div", { class: "tip", hidden: "", "aria-hidden": "true" });
    const cursor = s("line", { class: "cursor", visibility: "hidden" });
    const figure = h("figure", {}, svg, tip);
    let drawn = null, width = 0, at = 0;

    function read(index) {
        at = Math.max(0, Math.min(rows.length - 1, index));
        const row = rows[at];
        const present = series.filter(([key]) => Number.isFinite(row[key]));
        const lines = [title(row), ...present.map(([key, name, unit = ""]) => `${name} ${text(row[key])}${unit}`)];
        const x = drawn.x(row.x);
        const place = { x1: x, x2: x, y1: drawn.first, y2: drawn.bottom, visibility: "visible" };
        for (const [key, value] of Object.entries(place)) cursor.setAttribute(key, value);
        tip.textContent = lines.join("\n");
        tip.hidden = false;
        tip.style.top = `${drawn.first}px`;
        tip.style.insetInline = x < width / 2 ? `${x}px auto` : `auto ${width - x}px`;
        svg.setAttribute("aria-valuenow", at);
        svg.setAttribute("aria-valuetext", lines.join(", "));
    }
    function rest() {
        tip.hidden = true;
        cursor.setAttribute("visibility", "hidden");
    }
    function point({ clientX }) {
        const distance = ({ x }) => Math.abs(drawn.x(x) - clientX + svg.getBoundingClientRect().left);
        read(rows.reduce((best, row, index) => (distance(row) < distance(rows[best]) ? index : best), 0));
    }
    for (const type of ["pointermove", "pointerdown"]) svg.addEventListener(type, point);
    for (const type of ["pointerleave", "blur"]) svg.addEventListener(type, rest);
    svg.addEventListener("keydown", (press) => {
        const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: rows.length - 1 }[press.key];
        if (press.key === "Escape") rest();
        if (to === undefined) return;
        press.preventDefault();
        read(to);
    });
    new ResizeObserver(() => {
        const now = Math.max(280, figure.clientWidth);
        if (now === width) return;
        width = now;
        drawn = draw(spec, width);
        svg.setAttribute("viewBox", `0 0 ${width} ${drawn.height}`);
        svg.replaceChildren(...drawn.parts, cursor);
        rest();
    }).observe(figure);

    const details = h("details", {}, h("summary", {}, "As a table"));
    details.addEventListener("toggle", () => {
        const values = rows.map((row) => [title(row), ...series.map(([key]) => row[key])]);
        const made = table(name, ["", ...series.map(([, name, unit = ""]) => name + unit)], values);
        made.tabIndex = 0; // it scrolls
        details.append(made);
    }, { once: true });
    return [figure, details];
}
