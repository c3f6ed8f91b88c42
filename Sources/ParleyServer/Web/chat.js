import { $, day, fullTime, h, linked, paintAvatar, reconcile, setText, time, when } from "./dom.js";

const PAGE = 50;
const NEAR_PX = 80; // this close to the end counts as at the end
const GROUP_MS = 5 * 60_000; // messages of one person within this stand together
const MAX_BODY_BYTES = 16_384;

const STATES = {
    sending: "Sending",
    sent: "Sent",
    delivered: "Delivered",
    read: "Read",
    failed: "Not sent",
};
const TICKS = { sending: "◷", sent: "✓", delivered: "✓✓", read: "✓✓", failed: "!" };

const FAILURES = {
    forbidden: "This person does not take messages from you.",
    not_member: "You are no longer in this conversation.",
    not_found: "This person cannot be found any more.",
    too_large: "The message is too long.",
};

/** What a friend's light says beside the name. */
function lightText(light) {
    if (light?.status === "online") return " · online";
    return light?.last_active ? ` · last seen ${when(light.last_active)}` : "";
}

/** Right side: the open conversation, its history, and the composer. */
export class Chat {
    conversation = null;
    #parley;
    #model;
    #changed;
    #nodes = new WeakMap(); // message to its list item
    #atEnd = true;
    #loading = null; // the conversation whose history is being fetched
    #failed = false;

    constructor({ parley, model, changed }) {
        this.#parley = parley;
        this.#model = model;
        this.#changed = changed;
        $("scroll").addEventListener("scroll", () => this.#scrolled());
        $("newer").addEventListener("click", () => this.#toEnd());
        $("history").addEventListener("click", () => this.#failed && this.#older());
        $("mute").addEventListener("click", () => this.#toggleMute());
        $("composer").addEventListener("submit", (submit) => {
            submit.preventDefault();
            this.#send();
        });
        $("text").addEventListener("input", () => this.#composed());
        $("text").addEventListener("keydown", (press) => {
            // While an input method composes (Korean, Japanese, Chinese), Enter belongs to it.
            if (press.key !== "Enter" || press.shiftKey || press.isComposing || press.keyCode === 229) return;
            press.preventDefault();
            this.#send();
        });
        addEventListener("focus", () => this.#read());
        document.addEventListener("visibilitychange", () => this.#read());
        // The keyboard of a phone, a banner or a growing composer change the height: the end stays in sight.
        new ResizeObserver(() => this.#atEnd && this.#toEnd()).observe($("scroll"));
    }

    show(conversation) {
        $("app").dataset.view = conversation ? "chat" : "list";
        if (conversation === this.conversation) return;
        this.conversation?.trim();
        this.conversation = conversation;
        $("nothing").hidden = conversation !== null;
        $("conversation").hidden = conversation === null;
        $("messages").replaceChildren();
        $("composer-error").textContent = "";
        $("newer").hidden = true;
        this.#failed = false;
        this.#atEnd = true;
        if (!conversation) return;
        $("text").value = conversation.draft;
        this.#composed();
        if (matchMedia("(pointer: fine)").matches) $("text").focus();
        if (!conversation.loaded) this.reload();
    }

    /** Fetches the newest page of the open conversation, unless it is there. */
    async reload() {
        const { conversation } = this;
        if (!conversation || !this.#model().complete || this.#loading === conversation) return;
        // The first message opens a conversation: one that nobody has written in is not on the server.
        if (conversation.kind === "direct" && !conversation.last) conversation.addHistory([], false);
        if (conversation.loaded) this.#changed();
        else await this.#fetch(conversation, "");
    }

    /** News in some conversation. */
    arrived(conversation, message) {
        if (conversation !== this.conversation || message.from === this.#model().me) return;
        if (this.#atEnd) conversation.trim();
        else $("newer").hidden = false;
    }

    // MARK: History

    async #fetch(conversation, before) {
        this.#loading = conversation;
        this.#failed = false;
        this.#renderHistory();
        const path = `/v1/conversations/${conversation.id}/messages?limit=${PAGE}${before}`;
        const { generation } = conversation;
        const isCurrent = () => conversation.generation === generation;
        try {
            // Of a big group the list tells nothing of how far the others are.
            const isNew = conversation.kind === "group" && !before;
            const [{ messages, more }, { positions }] = await Promise.all([
                this.#parley.request("GET", path),
                isNew ? this.#parley.request("GET", `/v1/conversations/${conversation.id}`) : { positions: [] },
            ]);
            if (isCurrent()) conversation.addHistory(messages, more);
            for (const { user, ...position } of positions) conversation.advance(user, position);
        } catch (error) {
            if (error.code === "not_found" && isCurrent()) conversation.addHistory([], false);
            else if (conversation === this.conversation) this.#failed = true;
        }
        if (this.#loading === conversation) this.#loading = null;
        if (conversation !== this.conversation) return;
        if (!isCurrent()) return this.reload();
        this.#keepPlace(() => this.#changed());
        this.#read();
    }

    #older() {
        const { conversation } = this;
        if (!conversation || this.#loading) return;
        const oldest = conversation.messages[0];
        if (!conversation.loaded) this.reload();
        else if (conversation.more && oldest) this.#fetch(conversation, `&before=${oldest.mid}`);
    }

    #renderHistory() {
        const { conversation } = this;
        const empty = conversation.loaded && !conversation.messages.length && !conversation.pending.length;
        const loading = this.#loading === conversation;
        const text = loading ? "Loading…" : empty ? "No messages yet. Say hello." : "";
        setText($("history"), this.#failed ? "Messages could not be loaded. Click to try again." : text);
        $("messages").setAttribute("aria-busy", String(loading));
    }

    // MARK: Scrolling

    #scrolled() {
        const { scrollTop, scrollHeight, clientHeight } = $("scroll");
        this.#atEnd = scrollHeight - scrollTop - clientHeight < NEAR_PX;
        if (this.#atEnd && !$("newer").hidden) {
            $("newer").hidden = true;
            this.#read();
        }
        if (scrollTop < 2 * NEAR_PX && !this.#failed) this.#older();
    }

    #toEnd() {
        $("scroll").scrollTop = $("scroll").scrollHeight;
        this.#atEnd = true;
    }

    /** What is in sight stays where it is while older messages come in above; at the end, the end stays. */
    #keepPlace(change) {
        const view = $("scroll");
        const below = view.scrollHeight - view.scrollTop;
        const atEnd = this.#atEnd;
        change();
        if (atEnd) this.#toEnd();
        else view.scrollTop = view.scrollHeight - below;
    }

    /** A conversation is read when its end is in sight of somebody. */
    #read() {
        const { conversation } = this;
        const last = conversation?.last;
        if (!last || !this.#atEnd || !conversation.loaded || document.hidden || !document.hasFocus()) return;
        if (conversation.readSeq >= last.seq) return;
        conversation.markRead(last.seq);
        this.#parley.read(conversation.id, last.seq);
        this.#changed();
    }

    // MARK: Showing

    render() {
        const { conversation } = this;
        if (!conversation) return;
        const model = this.#model();
        const other = model.users.get(conversation.other(model.me));
        const title = conversation.title ?? (other ? other.display_name : "…");
        paintAvatar($("chat-avatar"), other ?? { id: conversation.id, display_name: title });
        setText($("chat-name"), title);
        setText($("chat-username"), other ? "@" + other.username + lightText(model.lights.get(other.id)) : "");
        $("mute").hidden = !conversation.last && conversation.kind === "direct";
        $("mute").setAttribute("aria-pressed", String(conversation.isMuted));
        setText($("mute"), conversation.isMuted ? "Unmute" : "Mute");
        const atEnd = this.#atEnd;
        this.#renderHistory();
        this.#renderMessages(conversation, model);
        if (atEnd) this.#toEnd();
        this.#read();
    }

    #renderMessages(conversation, model) {
        const messages = [...conversation.messages, ...conversation.pending];
        const lastOfMine = messages.findLast(({ from }) => from === model.me);
        const nodes = [];
        let before = null;
        for (const message of messages) {
            const newDay = !before || day(before.ts) !== day(message.ts);
            const follows = !newDay && before.from === message.from && message.ts - before.ts < GROUP_MS;
            const node = this.#node(message, model);
            const state = message.from === model.me ? conversation.stateOf(message, model.me) : "received";
            this.#update(node, message, { state, follows, newDay, last: message === lastOfMine });
            nodes.push(node);
            before = message;
        }
        reconcile($("messages"), nodes);
    }

    #node(message, model) {
        let node = this.#nodes.get(message);
        if (node) return node;
        const mine = message.from === model.me;
        const author = h("span", { class: "author" });
        const body = h("p", { class: "body", dir: "auto" }, ...linked(message.body));
        const tick = h("span", { class: "tick", "aria-hidden": "true" });
        const word = h("span", { class: "word" });
        const stamp = h("time");
        const separator = h("span", { class: "day" });
        const bubble = h("div", { class: "bubble" }, author, body, h("span", { class: "meta" }, stamp, tick, word));
        node = h("li", { class: mine ? "message mine" : "message" }, separator, bubble);
        node.parts = { author, tick, word, stamp, separator, bubble };
        this.#nodes.set(message, node);
        return node;
    }

    #update(node, message, { state, follows, newDay, last }) {
        const { author, tick, word, stamp, separator, bubble } = node.parts;
        const model = this.#model();
        const user = model.users.get(message.from);
        setText(separator, newDay ? day(message.ts) : "");
        setText(author, state === "received" ? (user?.display_name ?? "…") + ": " : "You: ");
        node.dataset.state = state;
        if (message.mid) node.dataset.mid = message.mid;
        node.classList.toggle("follows", follows);
        node.classList.toggle("last", last);
        if (stamp.value !== message.ts) {
            stamp.value = message.ts;
            stamp.dateTime = new Date(message.ts).toISOString();
            stamp.title = fullTime(message.ts);
            setText(stamp, time(message.ts));
        }
        setText(tick, TICKS[state] ?? "");
        setText(word, this.#word(message, state));
        const failure = bubble.querySelector(".failure");
        if (state === "failed" && !failure) bubble.append(this.#failure(message));
        else if (state !== "failed") failure?.remove();
    }

    /** How far a message of one's own has come; in a group, with how many. */
    #word(message, state) {
        const { conversation } = this;
        const isGroup = conversation.kind === "group" && message.state === "sent";
        const readers = isGroup ? conversation.readersOf(message, this.#model().me) : 0;
        if (!readers) return STATES[state] ?? "";
        return state === "read" ? "Read by all" : `Read by ${readers}`;
    }

    /** The event that comes of it changes what is shown, here as on the other devices. */
    async #toggleMute() {
        const { id, isMuted } = this.conversation;
        $("mute").disabled = true;
        try {
            await this.#parley.request(isMuted ? "DELETE" : "PUT", `/v1/conversations/${id}/mute`);
        } catch (error) {
            $("composer-error").textContent = error.message;
        }
        $("mute").disabled = false;
    }

    #failure(message) {
        const { conversation } = this;
        const { error } = message;
        const drop = () => {
            conversation.pending = conversation.pending.filter((entry) => entry !== message);
            this.#changed();
        };
        const again = h("button", { type: "button", textContent: "Try again" });
        again.addEventListener("click", () => {
            drop();
            this.#post(conversation, message.body);
        });
        const discard = h("button", { type: "button", textContent: "Discard" });
        discard.addEventListener("click", drop);
        const reason = FAILURES[error.code] ?? error.message;
        return h("div", { class: "failure", role: "alert" }, h("span", { textContent: reason }), again, discard);
    }

    // MARK: Writing

    #composed() {
        const text = $("text");
        if (this.conversation) this.conversation.draft = text.value;
        $("send").disabled = text.value.trim() === "";
        text.style.height = "auto";
        text.style.height = text.scrollHeight + 2 + "px";
        $("composer-error").textContent = "";
    }

    #send() {
        const body = $("text").value.replaceAll("\0", "").trim();
        if (!this.conversation || !body) return;
        if (new TextEncoder().encode(body).length > MAX_BODY_BYTES) {
            $("composer-error").textContent = "This is too long for one message. Please split it.";
            return;
        }
        $("text").value = "";
        this.#composed();
        this.#post(this.conversation, body);
        $("text").focus();
    }

    #post(conversation, body) {
        const model = this.#model();
        const other = conversation.other(model.me);
        const { cid } = this.#parley.send(other ? { to: other, body } : { conv: conversation.id, body });
        conversation.pending.push({ cid, body, ts: this.#parley.now, from: model.me, state: "sending" });
        this.#atEnd = true;
        this.#changed();
    }
}
