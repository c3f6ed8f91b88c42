/** The page: signs in, keeps `Conversations` up to date from `Parley`, and hands both to the views. */

import { Chat } from "./chat.js";
import { Conversations } from "./conversations.js";
import { $ } from "./dom.js";
import { Parley, directConversation } from "./parley.js";
import { Push } from "./push.js";
import { Sidebar } from "./sidebar.js";
import { bindSignIn, showSignIn } from "./sign.js";

const REFETCH_MS = 100;

// "Use another account in this tab" keeps the sign-in in the tab: by default all tabs share one.
const storage = sessionStorage.getItem("parley.separate") ? sessionStorage : localStorage;
const parley = new Parley({ storage, load });
let model = new Conversations();
const sidebar = new Sidebar({ parley, open, model: () => model });
const chat = new Chat({ parley, model: () => model, changed: render });
const push = new Push(parley, $("notify"));

// MARK: What comes in

/** The session begins afresh: people and conversations by HTTP, the open one with its newest page. */
async function load() {
    const me = parley.user;
    const profile = await parley.request("GET", "/v1/me");
    const conversations = [];
    let cursor = "";
    do {
        const page = await parley.request("GET", `/v1/conversations?limit=200${cursor}`);
        conversations.push(...page.conversations);
        cursor = page.next ? `&cursor=${encodeURIComponent(page.next)}` : null;
    } while (cursor !== null);
    model.me = me;
    model.learn([profile]);
    const listed = new Set(conversations.map(({ id }) => id));
    for (const [id, conversation] of model.all) {
        conversation.forget();
        const isLeft = conversation.kind === "group" && !listed.has(id);
        if (isLeft && conversation !== chat.conversation) model.all.delete(id);
    }
    for (const conversation of conversations) model.get(conversation.id).refresh(conversation);
    restorePending();
    await meetStrangers();
    model.complete = true;
    render();
    await chat.reload();
}

/** Sends that were unanswered when the tab was reloaded. */
function restorePending() {
    for (const { cid, to, conv, body, ts } of parley.unanswered) {
        const conversation = model.get(conv ?? directConversation(model.me, to));
        if (conversation.pending.some((entry) => entry.cid === cid)) continue;
        conversation.pending.push({ cid, body, ts, from: model.me, state: "sending" });
    }
}

/** Names for ids; a name that cannot be had now is asked for again when the next one is. */
async function meetStrangers() {
    const ids = model.strangers;
    for (let start = 0; start < ids.length; start += 100) {
        const some = ids.slice(start, start + 100).join(",");
        model.learn((await parley.request("GET", `/v1/users?ids=${some}`)).users);
    }
}

function learnNames() {
    if (model.strangers.length) meetStrangers().then(render, () => {});
}

parley.on("event", (event) => {
    const known = model.all.has(event.conv);
    const conversation = event.conv && model.get(event.conv);
    if (event.type === "message") {
        const news = conversation.receive(event, model.me);
        if (news) chat.arrived(conversation, event);
        if (!known && !event.conv.startsWith("d:")) refetch(conversation);
        learnNames();
    } else if (event.type === "edited" || event.type === "deleted") {
        conversation.change(event);
    } else if (event.type === "receipt") {
        receipt(event);
    } else if (event.type === "mute") {
        conversation.setMute(event);
    } else if (event.type === "member_removed" && event.user === model.me) {
        // What stands open may be read to its end.
        if (conversation !== chat.conversation) model.all.delete(event.conv);
    } else if (["conversation", "member_added", "member_removed"].includes(event.type)) {
        refetch(conversation);
    }
    render();
});

parley.on("signal", (signal) => {
    if (signal.op === "presence") {
        model.lights.set(signal.user, signal);
    } else if (signal.op === "receipt") {
        for (const position of signal.positions ?? [signal]) receipt({ ...position, conv: signal.conv });
    } else {
        return;
    }
    render();
});

function receipt({ conv, user, read = 0, delivered = 0 }) {
    const conversation = model.get(conv);
    conversation.advance(user, { read, delivered });
    if (user === model.me && read) conversation.markRead(read);
}

/** A group's members or title are asked for once, however many changes of it come together. */
function refetch(conversation) {
    clearTimeout(conversation.refetching);
    conversation.refetching = setTimeout(() => fetchConversation(conversation).catch(() => {}), REFETCH_MS);
}

async function fetchConversation(conversation) {
    conversation.refresh(await parley.request("GET", `/v1/conversations/${conversation.id}`));
    learnNames();
    render();
    await chat.reload();
}

parley.on("sent", ({ cid, mid, seq, ts }) => {
    const found = model.find(cid);
    if (!found) return;
    const { body } = found.message;
    found.conversation.receive({ cid, mid, seq, ts, body, from: model.me }, model.me);
    render();
});

parley.on("failed", ({ cid, error }) => {
    const found = model.find(cid);
    if (!found) return;
    Object.assign(found.message, { state: "failed", error });
    render();
});

// MARK: The state of the connection

const BANNER_MS = 1200; // long enough to be read, however short the interruption
let bannerUntil = 0;
let bannerTimer = 0;

const REASONS = {
    banned: "This account has been blocked on this server.",
    refused: "The server refused this page. Reload it to try again.",
};

parley.on("state", ({ state, reason }) => {
    clearTimeout(bannerTimer);
    if (state === "reconnecting" || state === "stopped") {
        bannerUntil = bannerUntil || Date.now() + BANNER_MS;
        showBanner(state === "stopped" ? REASONS[reason] : "Reconnecting… What you write is kept and sent then.");
    } else if (bannerUntil) {
        bannerTimer = setTimeout(() => {
            bannerUntil = 0;
            showBanner("");
        }, Math.max(0, bannerUntil - Date.now()));
    }
    sidebar.renderConnection();
    if (state !== "online") return;
    watched = "";
    watch();
});

function showBanner(text) {
    $("banner").textContent = text;
    $("banner").classList.toggle("shown", text !== "");
}

// MARK: Who is there

const MOST_WATCHED = 200;
const ACTIVE_MS = 30_000;
let watched = ""; // what this connection was asked to watch
let lastActive = 0;

/** The people of the newest conversations of two; those who are friends get a light. */
function watch() {
    const others = model.sorted.map((conversation) => conversation.other(model.me));
    const users = others.filter((user) => user && user !== model.me).slice(0, MOST_WATCHED);
    const wanted = [...users].sort().join();
    if (wanted !== watched && parley.frame({ op: "watch", users })) watched = wanted;
}

function active() {
    if (Date.now() - lastActive > ACTIVE_MS && parley.frame({ op: "active" })) lastActive = Date.now();
}

for (const sign of ["focus", "pointerdown", "keydown"]) addEventListener(sign, active);

// MARK: Where we are

/** The open conversation is the address's fragment, so back, forward and reload do what one expects. */
function open(id) {
    location.hash = id;
}

function follow() {
    if (!parley.user) return;
    const id = location.hash.slice(1);
    const mine = /^g:[\w-]+$/.test(id) || (/^d:[a-z0-9]+:[a-z0-9]+$/.test(id) && id.split(":").includes(parley.user));
    chat.show(mine ? model.get(id) : null);
    learnNames();
    render();
}

function render() {
    if (!parley.user) return;
    const { unread } = model;
    document.title = unread ? `(${unread}) Parley` : "Parley";
    watch();
    sidebar.render(chat.conversation);
    chat.render();
}

function start() {
    $("sign").hidden = true;
    $("app").hidden = false;
    model = new Conversations();
    model.me = parley.user;
    restorePending();
    follow();
    parley.connect();
    push.start();
}

parley.on("signedout", ({ reason }) => {
    if (reason === "elsewhere" && parley.user) return location.reload();
    push.stop().catch(() => {});
    chat.show(null);
    model = new Conversations();
    history.replaceState(null, "", location.pathname);
    document.title = "Parley";
    showBanner("");
    $("app").hidden = true;
    showSignIn(reason === "unauthorized" ? "Please sign in again." : "");
});

$("sign-out").addEventListener("click", () => {
    sessionStorage.removeItem("parley.separate");
    parley.logout();
});

$("other-account").addEventListener("click", () => {
    sessionStorage.setItem("parley.separate", "1");
    sessionStorage.removeItem("parley.device");
    location.assign(location.pathname);
});

// A notification was chosen.
navigator.serviceWorker?.addEventListener("message", ({ data }) => data?.open && open(data.open));

addEventListener("hashchange", follow);
bindSignIn(parley, start);
if (parley.session) start();
else showSignIn("");
