import { ParleyError } from "./rules.js";

const HTTP_MS = 10_000;
const MAX_BASES = 3; // gateways that one call tries
const REPEATABLE = new Set(["/v1/login", "/v1/token", "/v1/logout"]); // calls that do the same twice as once
const KEY = "parley.session";

/**
 * A sign-in: its tokens in `storage`, their renewal ahead of need, and HTTP calls in its name. `ended(reason)` is
 * called when it is over: "logout", "unauthorized", or "elsewhere" when another tab changed it. `bases()` tells where
 * HTTP may go, the best first, and `failed(base)` is told of one that does not answer.
 */
export class Account {
    #bases;
    #failed;
    #storage;
    #ended;
    #renewing = null;
    #timer = 0;

    constructor({ bases, failed, storage, ended }) {
        this.#bases = bases;
        this.#failed = failed;
        this.#storage = storage;
        this.#ended = ended;
        this.#schedule();
        addEventListener("storage", (change) => this.#storageChanged(change));
    }

    /** {user, access_token, refresh_token, expires_in, expires_at} or null; `user` is the id. */
    get session() {
        return JSON.parse(this.#storage.getItem(KEY) ?? "null");
    }

    /** Takes the answer of sign-up, sign-in or renewal. */
    begin({ user, access_token, refresh_token, expires_in }) {
        const id = (typeof user === "object" ? user?.id : user) ?? this.session?.user;
        const expires_at = Date.now() + expires_in * 1000;
        const session = { user: id, access_token, refresh_token, expires_in, expires_at };
        this.#storage.setItem(KEY, JSON.stringify(session));
        this.#schedule();
    }

    /** Signs out here and now; resolves when the server knows it, too, or could not be told. */
    async logout() {
        const token = this.session?.access_token;
        this.#end("logout");
        if (token) await this.fetch("POST", "/v1/logout", {}, { authorization: `Bearer ${token}` }).catch(() => {});
    }

    /** The server refuses even a fresh token: the sign-in is over. */
    expire() {
        this.#end("unauthorized");
    }

    #end(reason) {
        clearTimeout(this.#timer);
        if (reason !== "elsewhere") this.#storage.removeItem(KEY);
        this.#ended(reason);
    }

    /** A call in this sign-in's name; an expired token is renewed once. */
    async request(method, path, body, headers = {}) {
        let token = await this.token();
        for (let attempt = 0; ; attempt += 1) {
            try {
                return await this.fetch(method, path, body, { ...headers, authorization: `Bearer ${token}` });
            } catch (error) {
                if (error.status !== 401 || attempt > 0) throw error;
                token = await this.renew(token);
            }
        }
    }

    /**
     * A call as it stands; resolves to the JSON body or null, rejects with a ParleyError. Any gateway may answer it:
     * where one is gone or cannot serve, the next is asked, if the call may be repeated.
     */
    async fetch(method, path, body, headers = {}) {
        const mayRepeat = method !== "POST" || "idempotency-key" in headers || REPEATABLE.has(path);
        let failure;
        const bases = this.#bases().slice(0, mayRepeat ? MAX_BASES : 1);
        for (const base of bases) {
            try {
                return await this.#call(base, method, path, body, headers);
            } catch (error) {
                if (error.code === "network") this.#failed(base);
                // One that stands in may serve sockets alone.
                else if (error.status !== 503 && !(error.status === 404 && base !== bases[0])) throw error;
                failure ??= error;
            }
        }
        throw failure;
    }

    async #call(base, method, path, body, headers) {
        let response;
        let text;
        try {
            response = await fetch(base + path, {
                method,
                headers: body === undefined ? headers : { ...headers, "content-type": "application/json" },
                body: body === undefined ? undefined : JSON.stringify(body),
                signal: AbortSignal.timeout(HTTP_MS),
                cache: "no-store",
            });
            text = await response.text();
            if (response.ok) return text ? JSON.parse(text) : null;
        } catch {
            throw new ParleyError("network", "The server could not be reached.");
        }
        const { status, headers: answer } = response;
        const problem = answer.get("content-type")?.includes("json") ? JSON.parse(text) : {};
        const code = problem.code ?? (status === 401 ? "unauthorized" : status < 500 ? "invalid" : "unavailable");
        const retry = Number(answer.get("retry-after")) * 1000;
        throw new ParleyError(code, problem.detail ?? problem.title, { status, retry });
    }

    /** An access token that lives for a while yet: renewed at the latest when a fifth of its life is left. */
    async token() {
        const session = this.session;
        if (!session) throw new ParleyError("unauthorized", "Not signed in.");
        const left = session.expires_at - Date.now();
        if (left > session.expires_in * 200) return session.access_token;
        try {
            return await this.renew(session.access_token);
        } catch (error) {
            if (error.code !== "unauthorized" && left > 0) return session.access_token;
            throw error;
        }
    }

    /**
     * One renewal at a time, over all tabs where the browser has locks (on https and localhost it does): a refresh
     * token is good for one use. `stale` is the access token that is no longer good enough.
     */
    renew(stale) {
        const rotate = () => this.#rotate(stale);
        this.#renewing ??= (navigator.locks ? navigator.locks.request("parley.token", rotate) : rotate()).finally(
            () => (this.#renewing = null),
        );
        return this.#renewing;
    }

    async #rotate(stale) {
        const session = this.session;
        if (!session) throw new ParleyError("unauthorized", "Not signed in.");
        if (session.access_token !== stale) return session.access_token; // another tab was first
        let answer;
        try {
            answer = await this.fetch("POST", "/v1/token", { refresh_token: session.refresh_token });
        } catch (error) {
            const final = error.status === 401 || error.status === 403;
            if (final && this.session) this.#end("unauthorized");
            throw final ? new ParleyError("unauthorized", error.message, { status: 401 }) : error;
        }
        // Whoever signed out, or in as another, meanwhile is not overruled.
        if (this.session?.refresh_token !== session.refresh_token) throw new ParleyError("unauthorized");
        this.begin(answer);
        return answer.access_token;
    }

    /** Renews ahead of need, so that a reconnect never has to wait for it. */
    #schedule() {
        clearTimeout(this.#timer);
        const session = this.session;
        if (!session) return;
        const due = session.expires_at - session.expires_in * 200 - Date.now();
        const again = () => this.#schedule();
        this.#timer = setTimeout(() => this.token().then(again, again), Math.min(Math.max(due, 5_000), 2 ** 31 - 1));
    }

    #storageChanged({ key, storageArea, oldValue }) {
        if (storageArea !== this.#storage || (key !== null && key !== KEY)) return;
        const before = oldValue ? JSON.parse(oldValue).user : null;
        if ((this.session?.user ?? null) !== before) this.#end("elsewhere");
        else this.#schedule();
    }
}
