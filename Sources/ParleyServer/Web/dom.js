/** Small helpers to build and keep up the page. Text goes in as text nodes only: it can never become markup. */

export const $ = (id) => document.getElementById(id);

/** An element with properties (`class` and `data-…`, `aria-…` as attributes) and children (strings become text). */
export function h(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
        if (name === "class") element.className = value;
        else if (name.includes("-")) element.setAttribute(name, value);
        else element[name] = value;
    }
    element.append(...children);
    return element;
}

/** Makes `parent`'s children be `nodes`, moving as few as possible: focus, scroll and live regions stay calm. */
export function reconcile(parent, nodes) {
    const wanted = new Set(nodes);
    for (const child of [...parent.childNodes]) if (!wanted.has(child)) child.remove();
    let at = parent.firstChild;
    for (const node of nodes) {
        if (node === at) at = at.nextSibling;
        else parent.insertBefore(node, at);
    }
}

/** Sets text only where it differs, so that screen readers are not told again. */
export function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
}

const LINK = /\bhttps?:\/\/[^\s<>"]+/gi;

/** The text as nodes, its http and https addresses as links. */
export function linked(text) {
    const nodes = [];
    let end = 0;
    for (const match of text.matchAll(LINK)) {
        let url = match[0].replace(/[.,;:!?'*]+$/, "");
        if (url.endsWith(")") && !url.includes("(")) url = url.slice(0, -1);
        if (!URL.canParse(url)) continue;
        nodes.push(text.slice(end, match.index));
        nodes.push(h("a", { href: url, target: "_blank", rel: "noopener noreferrer", textContent: url }));
        end = match.index + url.length;
    }
    nodes.push(text.slice(end));
    return nodes;
}

/** Initials on a colour of the person's own. */
export function paintAvatar(element, user) {
    const name = user?.display_name || user?.username || "?";
    const words = name.trim().split(/\s+/);
    const initials = words.length > 1 ? [words[0], words.at(-1)] : [words[0]];
    setText(element, initials.map((word) => [...word][0] ?? "").join("").toUpperCase());
    let hash = 0;
    for (const unit of user?.id ?? "") hash = (hash * 31 + unit.codePointAt(0)) % 360;
    element.style.setProperty("--hue", hash);
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long" });
const fullDate = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const shortDate = new Intl.DateTimeFormat(undefined, { dateStyle: "short" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

export const time = (ms) => clock.format(ms);
export const fullTime = (ms) => full.format(ms);

/** "Today", "Yesterday", a weekday of the last week, or a date. */
export function day(ms, now = Date.now()) {
    const midnight = (value) => new Date(value).setHours(0, 0, 0, 0);
    const days = Math.round((midnight(now) - midnight(ms)) / 86_400_000);
    if (days <= 0) return "Today";
    if (days === 1) return "Yesterday";
    if (days < 7) return weekday.format(ms);
    return (new Date(ms).getFullYear() === new Date(now).getFullYear() ? date : fullDate).format(ms);
}

/** For the list: the time today, otherwise the day. */
export function when(ms, now = Date.now()) {
    const name = day(ms, now);
    if (name === "Today") return time(ms);
    return now - ms < 6 * 86_400_000 ? name : shortDate.format(ms);
}
