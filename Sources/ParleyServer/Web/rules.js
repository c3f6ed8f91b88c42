/**
 * The decisions of a Parley client, without I/O: what a close code means, how long to wait, which gateway to try, and
 * how client message ids are made.
 */

const BACKOFF_CAP_MS = 30_000;
const AVOID_MS = 30_000; // a gateway that failed is the last choice for this long

/** `code` is one of the protocol's codes, or "network" when no answer came. `status` is HTTP's, if there was one. */
export class ParleyError extends Error {
    constructor(code, message, { status, retry } = {}) {
        super(message || code);
        this.name = "ParleyError";
        this.code = code;
        this.status = status;
        this.retry = retry; // milliseconds
    }
}

/** The id of the conversation of two people: the same whoever opens it. User ids are ASCII, so `<` compares bytes. */
export function directConversation(a, b) {
    return a < b ? `d:${a}:${b}` : `d:${b}:${a}`;
}

/** What a client does about a close code: "resume", "backoff", "resync", "refresh" or "stop". */
export function closeAction(code) {
    if (code >= 4000 && code < 4100) return "resume";
    if (code === 4200) return "resync";
    if (code === 4500) return "refresh";
    if (code > 4500) return "stop";
    return "backoff";
}

/** Full jitter: uniform between 0 and the doubling bound, in milliseconds. `attempt` counts from 0. */
export function backoff(attempt, base = 1000, random = Math.random) {
    return random() * Math.min(BACKOFF_CAP_MS, base * 2 ** Math.min(attempt, 20));
}

/** Gateways in the order to try: the server's order, but those that failed lately last, the longest ago first. */
export function rankGateways(urls, failed, now) {
    const failedAt = (url) => (now - (failed.get(url) ?? -Infinity) < AVOID_MS ? failed.get(url) : 0);
    return [...new Set(urls)].sort((a, b) => failedAt(a) - failedAt(b));
}

const STEP_BACK_MS = 10_000;
let lastTime = 0;
let counter = 0;

/**
 * A UUIDv7 (RFC 9562, method 1: a counter in rand_a), increasing within this page. `ms` since 1970; where it steps far
 * back a clock was set right, and going on from the wrong time would make ids that the server refuses.
 */
export function uuidv7(ms) {
    ms = Math.floor(ms);
    if (ms > lastTime || ms < lastTime - STEP_BACK_MS) {
        lastTime = ms;
        counter = crypto.getRandomValues(new Uint16Array(1))[0] & 0x7ff;
    } else if (++counter > 0xfff) {
        lastTime += 1;
        counter = 0;
    }
    const random = crypto.getRandomValues(new Uint8Array(8));
    random[0] = (random[0] & 0x3f) | 0x80;
    const tail = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
    const time = lastTime.toString(16).padStart(12, "0");
    const version = "7" + counter.toString(16).padStart(3, "0");
    return `${time.slice(0, 8)}-${time.slice(8)}-${version}-${tail.slice(0, 4)}-${tail.slice(4)}`;
}
