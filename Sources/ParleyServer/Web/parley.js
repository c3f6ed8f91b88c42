/**
 * A Parley client for browsers: plain ES modules (with rules.js and account.js), no dependencies, no build step.
 *
 *     import { Parley, directConversation } from "./parley.js";
 *
 *     const parley = new Parley({ load: async () => { ... fetch and show the conversations ... } });
 *     parley.on("event", (event) => { if (event.type === "message") show(event); });
 *     parley.on("sent", ({ cid, mid, seq, ts }) => { ... });
 *     await parley.login({ username: "ada", password: "..." });
 *     parley.connect();
 *     parley.send({ to: userID, body: "Hello" });
 *
 * What it takes care of: sign-in and token renewal, choice of a gateway, reconnecting with backoff, resuming where
 * the session stood, repeating unanswered sends under the same client message id (so nothing is lost or doubled),
 * keeping sends that were made offline, acknowledging what was handled, and noticing dead connections.
 *
 * Events (`on(type, listener)`; each listener gets one object):
 *   state      {state, gateway, reason}  "idle", "connecting", "online", "reconnecting" or "stopped"
 *   event      a durable event, each once and in order: {q, type, conv, ...}
 *   signal     an ephemeral frame without q: receipt (groups), presence, typing
 *   sent       {cid, conv, mid, seq, ts}  a send is committed
 *   failed     {cid, error}               a send was refused for good (a ParleyError)
 *   problem    a ParleyError of the server that belongs to no send
 *   signedout  {reason}  the session is over: "logout", "unauthorized" or "elsewhere" (another tab signed out)
 */

import { Account } from "./account.js";
import { ParleyError, backoff, closeAction, rankGateways, uuidv7 } from "./rules.js";

export { ParleyError, directConversation } from "./rules.js";

const CONNECT_MS = 8_000; // from dialling to `ready`
const PONG_MS = 10_000; // from a ping to anything at all
const ACK_MS = 250; // acknowledgements are cumulative, so one covers this long
const ANSWER_MS = 15_000; // an unanswered send is repeated after this long on the same socket
const STABLE_MS = 60_000; // a connection this old resets the backoff
const MAX_UNANSWERED = 32;
const SEEN_MIDS = 4096;
const RETRYABLE = new Set(["rate_limited", "overloaded", "unavailable"]);

export class Parley extends EventTarget {
    #base;
    #account;
    #tab;
    #load;
    #state = { state: "idle", gateway: null, reason: null };

    #wanted = false;
    #generation = 0; // of dialling; an older one that comes back from an await gives up
    #attempt = 0;
    #retryTimer = 0;
    #gateways = [];
    #failed = new Map(); // url to the time of its failure
    #refused = false; // unauthorized since the last `ready`
    #connection = null;
    #next = null; // make before break: takes over when it is ready

    #clock = 0; // server time minus ours, ms
    #cursor = null; // {epoch, q}: everything up to q is handled
    #held = null; // events that wait until `load` is done
    #seen = new Set();
    #ackTimer = 0;
    #outbox = []; // unanswered sends in order
    #outboxUser = null;
    #pumpTimer = 0;
    #reads = new Map(); // conv to the seq that is still to be told

    /**
     * `base`: where HTTP goes (the page's own origin), and to another gateway while that one is gone. `storage` keeps
     * the sign-in, shared between tabs; `tabStorage` keeps this tab's device id and its unanswered sends through a
     * reload. `load` is called when the session starts afresh (at first, and when the server says resync): it fetches
     * the state over HTTP, treating whatever it had cached as stale; events that come meanwhile are held back and
     * delivered afterwards.
     */
    constructor({ base = location.origin, storage = localStorage, tabStorage = sessionStorage, load } = {}) {
        super();
        this.#base = base;
        this.#account = new Account({
            bases: () => {
                // Whoever holds the socket is there, whatever was said of others since.
                const here = this.#connection?.ready ? [this.#connection.gateway] : [];
                return rankGateways([this.#base, ...here, ...this.#gateways], this.#failed, Date.now());
            },
            failed: (gateway) => this.#failed.set(gateway, Date.now()),
            storage,
            ended: (reason) => this.#ended(reason),
        });
        this.#tab = tabStorage;
        this.#load = load ?? (async () => {});
        this.#restoreOutbox();
        addEventListener("online", () => this.#probe());
        document.addEventListener("visibilitychange", () => document.hidden || this.#probe());
    }

    on(type, listener) {
        this.addEventListener(type, (event) => listener(event.detail));
        return this;
    }

    #emit(type, detail) {
        this.dispatchEvent(new CustomEvent(type, { detail }));
    }

    #setState(state, gateway = null, reason = null) {
        if (this.#state.state === state && this.#state.gateway === gateway) return;
        this.#state = { state, gateway, reason };
        this.#emit("state", this.#state);
    }

    /** {state, gateway, reason} as in the `state` event. */
    get state() {
        return this.#state;
    }

    /** Milliseconds since 1970 by the server's clock. */
    get now() {
        return Date.now() + this.#clock;
    }

    // MARK: Accounts and HTTP

    /** {user, access_token, refresh_token, expires_in, expires_at} or null. `user` is the id. */
    get session() {
        return this.#account.session;
    }

    get user() {
        return this.session?.user ?? null;
    }

    async signup({ username, password, display_name }) {
        this.#begin(await this.#account.fetch("POST", "/v1/signup", { username, password, display_name }));
    }

    async login({ username, password }) {
        this.#begin(await this.#account.fetch("POST", "/v1/login", { username, password }));
    }

    /** Signs out here and now; the server is told if it can be reached. Unanswered sends are dropped. */
    async logout() {
        this.#outbox = [];
        this.#saveOutbox();
        await this.#account.logout();
    }

    /** An authenticated HTTP call; resolves to the JSON body or null, rejects with a ParleyError. */
    request(method, path, body, headers) {
        return this.#account.request(method, path, body, headers);
    }

    #begin(answer) {
        this.#account.begin(answer);
        this.#cursor = null;
        this.#restoreOutbox();
    }

    #ended(reason) {
        this.disconnect();
        this.#cursor = null;
        this.#reads.clear();
        this.#outbox = [];
        this.#outboxUser = null;
        this.#emit("signedout", { reason });
    }

    #device() {
        let device = this.#tab.getItem("parley.device");
        if (!device) this.#tab.setItem("parley.device", (device = "tab-" + uuidv7(Date.now())));
        return device;
    }

    // MARK: Connection

    /** Connects, and stays connected until `disconnect`, `logout` or a refusal for good. */
    connect() {
        if (this.#wanted || !this.session) return;
        this.#wanted = true;
        this.#attempt = 0;
        this.#refused = false;
        this.#setState("connecting");
        this.#open();
    }

    disconnect() {
        this.#wanted = false;
        this.#generation += 1;
        clearTimeout(this.#retryTimer);
        for (const connection of [this.#connection, this.#next]) this.#discard(connection, 1000);
        this.#connection = this.#next = null;
        this.#setState("idle");
    }

    async #open() {
        clearTimeout(this.#retryTimer);
        this.#retryTimer = 0;
        const generation = ++this.#generation;
        try {
            const token = await this.#account.token();
            const gateway = await this.#discover();
            if (generation === this.#generation) this.#connection = this.#dial(gateway, token);
        } catch {
            // Signed out meanwhile, or no token to be had just now.
            if (generation === this.#generation && this.#wanted) this.#retry(1000);
        }
    }

    /** The first choice of whichever gateway answers; without an answer, what was said before. */
    async #discover() {
        try {
            const answer = await this.#account.fetch("GET", "/v1/gateways");
            if (answer.gateways.length) this.#gateways = answer.gateways.map(({ url }) => url.replace(/\/+$/, ""));
        } catch {
            // Nobody answers just now.
        }
        const known = this.#gateways.length ? this.#gateways : [this.#base];
        return rankGateways(known, this.#failed, Date.now())[0];
    }

    #dial(gateway, token) {
        const socket = new WebSocket(gateway.replace(/^http/, "ws") + "/v1/ws", "parley.v1");
        const connection = { gateway, socket, ready: false, heard: Date.now(), pinged: 0, heartbeat: 25_000 };
        connection.timer = setTimeout(() => this.#drop(connection), CONNECT_MS);
        socket.onopen = () => {
            const auth = { op: "auth", token, device: this.#device(), ephemeral: true };
            if (this.#cursor) auth.resume = { ...this.#cursor };
            connection.resumed = auth.resume !== undefined;
            socket.send(JSON.stringify(auth));
        };
        socket.onmessage = ({ data }) => {
            connection.heard = Date.now();
            this.#receive(connection, JSON.parse(data));
        };
        socket.onclose = ({ code }) => this.#closed(connection, code);
        return connection;
    }

    /** Lets go of a socket without waiting for its end, which a dead network may hold back for a minute. */
    #discard(connection, code) {
        if (!connection) return;
        clearTimeout(connection.timer);
        clearInterval(connection.beat);
        clearTimeout(connection.stable);
        const { socket } = connection;
        socket.onopen = socket.onmessage = socket.onclose = null;
        socket.close(code);
    }

    #drop(connection) {
        this.#discard(connection);
        this.#closed(connection, 1006);
    }

    #closed(connection, code) {
        this.#discard(connection);
        if (code < 4001 || code >= 4100) this.#failed.set(connection.gateway, Date.now());
        if (connection === this.#next) {
            this.#next = null;
            // A gateway that ends leaves no choice; from any other the move was an offer.
            const old = this.#connection;
            if (old?.leaving === "drain") setTimeout(() => this.#move(old), backoff(1, 500));
            return;
        }
        if (connection !== this.#connection) return;
        this.#connection = null;
        this.#held = null;
        if (!this.#wanted) return;
        // Replaced by its own successor, which is about to be ready.
        if (code === 4003 && this.#next) {
            this.#connection = this.#next;
            this.#next = null;
            return;
        }
        // Another tab has our device id (a duplicated tab copies its storage): be another device.
        if (code === 4003) this.#tab.removeItem("parley.device");
        switch (closeAction(code)) {
        case "stop":
            this.#wanted = false;
            this.#setState("stopped", null, code === 4503 ? "banned" : "refused");
            return;
        case "refresh":
            if (this.#refused) return this.#account.expire();
            this.#refused = true;
            this.#setState("reconnecting");
            this.#account.renew(this.session?.access_token).then(() => this.#wanted && this.#retry(0), (error) => {
                this.#refused = false;
                if (this.#wanted && error.code !== "unauthorized") this.#retry(1000);
            });
            return;
        case "resync":
            this.#cursor = null;
            this.#takeOver() || this.#retry(250, 4);
            return;
        case "resume":
            this.#takeOver() || this.#retry(250, 4);
            return;
        case "backoff":
            if (code >= 4100) this.#attempt = Math.max(this.#attempt, 2);
            this.#takeOver() || this.#retry(1000);
        }
    }

    /** The successor that `goaway` asked for is on its way already. */
    #takeOver() {
        if (!this.#next) return false;
        this.#connection = this.#next;
        this.#next = null;
        this.#setState("reconnecting");
        return true;
    }

    /** `limit`: "resume now" never grows into a long wait. */
    #retry(base, limit = Infinity) {
        this.#setState("reconnecting");
        clearTimeout(this.#retryTimer);
        this.#retryTimer = setTimeout(() => this.#open(), backoff(Math.min(this.#attempt++, limit), base));
    }

    /** The network came back, or the person did: do not wait out a timer. */
    #probe() {
        if (this.#retryTimer) this.#open();
        const connection = this.#connection;
        if (connection?.ready && Date.now() - connection.heard > 5_000) this.#ping(connection);
    }

    #ping(connection) {
        if (connection.pinged) return;
        connection.pinged = Date.now();
        this.#write(connection, { op: "ping" });
    }

    #write(connection, frame) {
        if (!connection?.ready || connection.socket.readyState !== WebSocket.OPEN) return false;
        connection.socket.send(JSON.stringify(frame));
        return true;
    }

    /** Sends any frame of the protocol; false when there is no connection to take it. */
    frame(frame) {
        return this.#write(this.#connection, frame);
    }

    #beat(connection) {
        const now = Date.now();
        if (connection.pinged && connection.heard >= connection.pinged) connection.pinged = 0;
        if (connection.pinged && now - connection.pinged > PONG_MS) this.#drop(connection);
        else if (now - connection.heard > connection.heartbeat) this.#ping(connection);
    }

    // MARK: What the server says

    #receive(connection, frame) {
        if (connection !== this.#connection && connection !== this.#next) return;
        switch (frame.op) {
        case "ready": return this.#ready(connection, frame);
        case "event": return this.#event(frame);
        case "sent": return this.#settle(frame);
        case "error": return this.#error(frame);
        case "goaway": return this.#goaway(connection, frame);
        case "live":
        case "pong": return;
        default: this.#emit("signal", frame);
        }
    }

    #ready(connection, frame) {
        clearTimeout(connection.timer);
        if (connection === this.#next) {
            this.#discard(this.#connection, 1000);
            this.#connection = connection;
            this.#next = null;
        }
        connection.ready = true;
        connection.heartbeat = frame.heartbeat_ms ?? connection.heartbeat;
        connection.beat = setInterval(() => this.#beat(connection), Math.min(2_500, connection.heartbeat));
        connection.stable = setTimeout(() => (this.#attempt = 0), STABLE_MS);
        this.#clock = frame.now - Date.now();
        this.#refused = false;
        this.#failed.delete(connection.gateway);
        this.#setState("online", connection.gateway);
        if (!connection.resumed || !this.#cursor || frame.mode === "resync") this.#resync(connection, frame);
        for (const [conv, seq] of this.#reads) this.#write(connection, { op: "read", conv, seq });
        this.#reads.clear();
        this.#pump();
    }

    /** The session is live from `head`: what lies before comes by `load`, what comes meanwhile is held back. */
    async #resync(connection, { epoch, head }) {
        this.#cursor = null;
        this.#held = [];
        for (let attempt = 0; connection === this.#connection; attempt += 1) {
            try {
                await this.#load();
                break;
            } catch (error) {
                this.#emit("problem", error);
                await new Promise((resolve) => setTimeout(resolve, 500 + backoff(attempt)));
            }
        }
        if (connection !== this.#connection) return; // the next connection loads again
        this.#cursor = { epoch, q: head };
        this.#acknowledge();
        const held = this.#held;
        this.#held = null;
        for (const event of held) this.#event(event);
    }

    #event(event) {
        if (this.#held) return this.#held.push(event);
        if (!this.#cursor || event.q <= this.#cursor.q) return;
        if (event.q !== this.#cursor.q + 1) {
            this.#cursor = null; // a hole would be a lost message: begin afresh
            return this.#drop(this.#connection);
        }
        this.#cursor.q = event.q;
        if (event.type === "message") {
            if (event.cid) this.#settle(event);
            if (this.#seen.has(event.mid)) return this.#acknowledge();
            this.#seen.add(event.mid);
            if (this.#seen.size > SEEN_MIDS) this.#seen.delete(this.#seen.values().next().value);
        }
        this.#emit("event", event);
        this.#acknowledge();
    }

    #acknowledge() {
        this.#ackTimer ||= setTimeout(() => {
            this.#ackTimer = 0;
            if (this.#cursor) this.frame({ op: "ack", q: this.#cursor.q });
        }, ACK_MS);
    }

    #goaway(connection, { reason, reconnect_ms = 0, url }) {
        connection.leaving = reason;
        setTimeout(() => this.#move(connection, url), reconnect_ms);
    }

    /** Make before break: the socket that is here goes when its successor is ready. */
    async #move(connection, url) {
        const current = () => connection === this.#connection && !this.#next && !this.#held;
        if (!current()) return;
        this.#failed.set(connection.gateway, Date.now());
        try {
            const token = await this.#account.token();
            const gateway = url ? url.replace(/\/+$/, "") : await this.#discover();
            if (current() && gateway !== connection.gateway) this.#next = this.#dial(gateway, token);
        } catch {
            // The old socket's close code says how to go on.
        }
    }

    // MARK: Sends

    /**
     * Queues a message: `to` a user (which opens the conversation of two) or into a `conv`. It goes out now or on
     * return, is repeated with the same id until it is answered, and survives a reload of the tab. Answered by a
     * `sent` or a `failed` event, and by the promise. Messages to one place keep their order: the next one waits
     * for the answer of the one before.
     */
    send({ to, conv, body, data }) {
        const entry = { cid: uuidv7(this.now), to, conv, body, data, ts: Math.floor(this.now) };
        this.#outbox.push(entry);
        this.#saveOutbox();
        const sent = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
        sent.catch(() => {}); // whoever does not look at the promise has the `failed` event
        this.#pump();
        return { cid: entry.cid, sent };
    }

    /** Sends without an answer yet, oldest first: [{cid, to, conv, body, data, ts}]. */
    get unanswered() {
        return this.#outbox.map(({ cid, to, conv, body, data, ts }) => ({ cid, to, conv, body, data, ts }));
    }

    /** Tells that everything up to `seq` was read; kept until there is a connection. */
    read(conv, seq) {
        if (this.frame({ op: "read", conv, seq })) return;
        this.#reads.set(conv, Math.max(seq, this.#reads.get(conv) ?? 0));
    }

    /** The oldest send of each place goes out, unless it is under way or has to wait. */
    #pump() {
        clearTimeout(this.#pumpTimer);
        const connection = this.#connection;
        if (!connection?.ready) return;
        const now = Date.now();
        const busy = new Set();
        let wake = Infinity;
        for (const entry of this.#outbox) {
            const place = entry.conv ?? entry.to;
            if (busy.has(place)) continue;
            if (busy.size === MAX_UNANSWERED) break;
            busy.add(place);
            const again = entry.connection === connection ? entry.at + ANSWER_MS : 0;
            const due = Math.max(again, entry.after ?? 0);
            if (due <= now) {
                const { cid, to, conv, body, data } = entry;
                this.#write(connection, { op: "send", cid, to, conv, body, data });
                Object.assign(entry, { connection, at: now });
                wake = Math.min(wake, now + ANSWER_MS);
            } else {
                wake = Math.min(wake, due);
            }
        }
        if (wake < Infinity) this.#pumpTimer = setTimeout(() => this.#pump(), wake - now);
    }

    #settle({ cid, conv, mid, seq, ts }) {
        const entry = this.#take(cid);
        if (!entry) return;
        const sent = { cid, conv, mid, seq, ts };
        this.#emit("sent", sent);
        entry.resolve?.(sent);
        this.#pump();
    }

    #error({ cid, code, message, retry_ms }) {
        const error = new ParleyError(code, message, { retry: retry_ms });
        if (!cid) return this.#emit("problem", error);
        const waiting = this.#outbox.find((entry) => entry.cid === cid);
        if (!waiting) return;
        if (RETRYABLE.has(code)) {
            waiting.tries = (waiting.tries ?? 0) + 1;
            waiting.after = Date.now() + (retry_ms ?? 500) + backoff(waiting.tries);
            waiting.connection = null;
        } else {
            this.#take(cid);
            this.#emit("failed", { cid, error });
            waiting.reject?.(error);
        }
        this.#pump();
    }

    #take(cid) {
        const index = this.#outbox.findIndex((entry) => entry.cid === cid);
        if (index < 0) return null;
        const [entry] = this.#outbox.splice(index, 1);
        this.#saveOutbox();
        return entry;
    }

    #saveOutbox() {
        const { user } = this;
        if (!user) return;
        if (this.#outbox.length) this.#tab.setItem("parley.outbox." + user, JSON.stringify(this.unanswered));
        else this.#tab.removeItem("parley.outbox." + user);
    }

    #restoreOutbox() {
        const { user } = this;
        if (!user || this.#outboxUser === user) return;
        this.#outboxUser = user;
        this.#outbox = JSON.parse(this.#tab.getItem("parley.outbox." + user) ?? "[]");
    }
}
