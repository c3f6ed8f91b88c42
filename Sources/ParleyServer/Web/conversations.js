/**
 * What the page knows: people, conversations and their messages. No I/O and no page here: what came from the server
 * goes in, what is to be shown comes out.
 */

const KEPT = 200; // messages kept of a conversation that is not scrolled back

/**
 * A message on its way or committed. `state`: "sending", "failed", or "sent" once it has a mid; whether it was
 * delivered or read follows from the other's positions.
 */
function committed(target, { mid, seq, ts, from, body, rev }) {
    return Object.assign(target, { mid, seq, ts, from, body, rev, state: "sent" });
}

export class Conversation {
    id;
    kind = "group";
    title = null;
    members = [];
    last = null; // {mid, seq, from, ts, body}
    unread = 0;
    readSeq = 0;
    positions = new Map(); // user to {read, delivered, joined}
    mute = null; // {until}, null for no end
    messages = []; // committed, by seq
    pending = []; // sending or failed, in the order they were written
    draft = "";
    loaded = false; // the newest page of history is in `messages`
    more = false; // older ones are in history
    generation = 0; // of `messages`: pages that were asked for before they were forgotten do not fit any more

    constructor(id) {
        this.id = id;
        if (!id.startsWith("d:")) return;
        this.kind = "direct";
        this.members = id.slice(2).split(":");
    }

    /** Cached pages may be stale: edits and deletions that were missed are not told again. */
    forget() {
        Object.assign(this, { last: null, unread: 0, messages: [], loaded: false, more: false });
        this.generation += 1;
    }

    /** The conversation object of the server. A message that came meanwhile is newer than the last one it names. */
    refresh({ kind, title, members, last, unread, read_seq, positions, muted, muted_until }) {
        Object.assign(this, { kind, title, readSeq: read_seq ?? 0 });
        if (members?.length) this.members = members;
        this.setMute({ muted, muted_until });
        if ((last?.seq ?? 0) >= (this.last?.seq ?? 0)) Object.assign(this, { last: last ?? null, unread: unread ?? 0 });
        for (const { user, ...position } of positions ?? []) this.advance(user, position);
    }

    setMute({ muted, muted_until }) {
        this.mute = muted ? { until: muted_until ?? null } : null;
    }

    /** Nobody is to be disturbed by what comes here. */
    get isMuted() {
        return this.mute !== null && (this.mute.until ?? Infinity) > Date.now();
    }

    /** Receipts are positions: they only go up. */
    advance(user, { read = 0, delivered = 0, joined = 0 }) {
        const known = this.positions.get(user) ?? { read: 0, delivered: 0, joined: 0 };
        this.positions.set(user, {
            read: Math.max(known.read, read),
            delivered: Math.max(known.delivered, delivered, read),
            joined: Math.max(known.joined, joined),
        });
    }

    /** The positions of the others who were there when it was written. */
    #audience({ seq }, me) {
        const others = this.members.filter((user) => user !== me);
        return others.map((user) => this.positions.get(user)).filter((position) => !(position?.joined >= seq));
    }

    /** Puts a committed message in its place, once. A message of ours that was pending becomes it. */
    add(message) {
        const at = this.messages.findLastIndex((known) => known.seq <= message.seq);
        const index = message.cid ? this.pending.findIndex((entry) => entry.cid === message.cid) : -1;
        const entry = index < 0 ? {} : this.pending.splice(index, 1)[0];
        if (at >= 0 && this.messages[at].mid === message.mid) return;
        this.messages.splice(at + 1, 0, committed(entry, message));
    }

    /** A live message; true when it is news, and not something the list already counted. */
    receive(message, me) {
        this.add(message);
        this.advance(message.from, { read: message.seq });
        if (this.last && message.seq <= this.last.seq) return false;
        this.last = message;
        if (message.from === me) this.markRead(message.seq);
        else this.unread += 1;
        return true;
    }

    /** An edit or a deletion. A message that is not here comes with its history as it is then. */
    change({ type, mid, rev, body }) {
        const index = this.messages.findIndex((known) => known.mid === mid);
        if (index >= 0 && !(this.messages[index].rev >= rev)) {
            if (type === "deleted") this.messages.splice(index, 1);
            else this.messages[index] = { ...this.messages[index], rev, body };
        }
        if (this.last?.mid !== mid || this.last.rev >= rev) return;
        this.last = { ...this.last, rev, body: type === "deleted" ? undefined : body };
    }

    addHistory(messages, more) {
        for (const message of messages) if (typeof message.body === "string") this.add(message);
        this.loaded = true;
        this.more = more;
        const newest = this.messages.at(-1);
        if (newest && newest.seq > (this.last?.seq ?? 0)) this.last = newest;
    }

    markRead(seq) {
        this.readSeq = Math.max(this.readSeq, seq);
        this.unread = Math.max(0, Math.min(this.unread, (this.last?.seq ?? 0) - this.readSeq));
    }

    /** Drops what lies far back; scrolling up fetches it again. */
    trim() {
        if (this.messages.length <= KEPT * 2) return;
        this.messages = this.messages.slice(-KEPT);
        this.more = true;
    }

    /** "sending", "failed", "sent", "delivered" or "read" of a message of `me`. */
    stateOf(message, me) {
        if (message.state !== "sent") return message.state;
        const audience = this.#audience(message, me);
        const have = (kind) => audience.every((position) => position?.[kind] >= message.seq);
        return have("read") ? "read" : have("delivered") ? "delivered" : "sent";
    }

    /** How many of the others have read a message of `me`. */
    readersOf(message, me) {
        return this.#audience(message, me).filter((position) => position?.read >= message.seq).length;
    }

    /** The other one of a conversation of two. */
    other(me) {
        return this.kind === "direct" ? this.members.find((user) => user !== me) ?? me : null;
    }

    /** Newest first in the list: by the latest message, one's own pending ones included. */
    get latest() {
        return this.pending.at(-1) ?? this.last;
    }
}

export class Conversations {
    me = null;
    complete = false; // all conversations are known
    users = new Map();
    lights = new Map(); // user to {status, last_active}, of friends
    all = new Map();

    get(id) {
        if (!this.all.has(id)) this.all.set(id, new Conversation(id));
        return this.all.get(id);
    }

    /** Those with something in them, newest first. */
    get sorted() {
        const shown = [...this.all.values()].filter((conversation) => conversation.latest);
        return shown.sort((a, b) => b.latest.ts - a.latest.ts);
    }

    get unread() {
        let sum = 0;
        for (const { unread, isMuted } of this.all.values()) if (!isMuted) sum += unread;
        return sum;
    }

    find(cid) {
        for (const conversation of this.all.values()) {
            const message = conversation.pending.find((entry) => entry.cid === cid);
            if (message) return { conversation, message };
        }
        return null;
    }

    /** People of the conversations whose names are not known yet. */
    get strangers() {
        const ids = new Set([...this.all.values()].flatMap(({ members }) => members));
        return [...ids].filter((id) => !this.users.has(id));
    }

    learn(users) {
        for (const user of users) this.users.set(user.id, user);
    }
}
