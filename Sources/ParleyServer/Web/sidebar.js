import { directConversation } from "./parley.js";
import { $, h, paintAvatar, reconcile, setText, when } from "./dom.js";

const SEARCH_MS = 200; // of rest before a search goes out

/** Left side: who one is, the search for people, the conversations, and which gateway the session is on. */
export class Sidebar {
    #parley;
    #open;
    #model;
    #rows = new Map();
    #searchTimer = 0;
    #searches = 0;

    constructor({ parley, open, model }) {
        this.#parley = parley;
        this.#open = open;
        this.#model = model;
        $("search").addEventListener("input", () => {
            clearTimeout(this.#searchTimer);
            this.#searchTimer = setTimeout(() => this.#search(), SEARCH_MS);
        });
        $("search").addEventListener("keydown", (press) => {
            if (press.key === "Escape") this.#clearSearch();
            else if (press.key === "Enter" && !press.isComposing) $("people").querySelector("a")?.click();
        });
        $("side").addEventListener("keydown", (press) => this.#arrows(press));
        document.addEventListener("click", (click) => {
            if (!$("menu").contains(click.target)) $("menu").open = false;
        });
        $("menu").addEventListener("keydown", (press) => {
            if (press.key === "Escape") $("menu").open = false;
        });
    }

    render(current) {
        const model = this.#model();
        const me = model.users.get(model.me);
        paintAvatar($("me-avatar"), me);
        setText($("me-name"), me?.display_name ?? "");
        setText($("me-username"), me ? "@" + me.username : "");
        const rows = model.sorted.map((conversation) => this.#row(conversation, conversation === current));
        reconcile($("list"), rows);
        $("list-empty").hidden = rows.length > 0 || !$("people").hidden || !model.users.size;
    }

    #row(conversation, isCurrent) {
        const model = this.#model();
        let row = this.#rows.get(conversation);
        if (!row) {
            const avatar = h("span", { class: "avatar", "aria-hidden": "true" });
            const [name, stamp, preview, badge] = ["name", "stamp", "preview", "badge"].map((part) =>
                h("span", { class: part }),
            );
            name.dir = preview.dir = "auto";
            const link = h("a", { href: "#" + conversation.id }, avatar, name, stamp, preview, badge);
            row = Object.assign(h("li", { "data-conv": conversation.id }, link), {
                parts: { link, avatar, name, stamp, preview, badge },
            });
            this.#rows.set(conversation, row);
        }
        const { link, avatar, name, stamp, preview, badge } = row.parts;
        const { latest, unread, isMuted } = conversation;
        const other = model.users.get(conversation.other(model.me));
        const title = conversation.title ?? (other ? other.display_name : "…");
        paintAvatar(avatar, other ?? { id: conversation.id, display_name: title });
        row.dataset.light = (other && model.lights.get(other.id)?.status) ?? "";
        setText(name, title);
        setText(stamp, when(latest.ts));
        const mine = latest.from === model.me ? "You: " : "";
        setText(preview, mine + (latest.body ?? "").slice(0, 200).replace(/\s+/g, " "));
        row.classList.toggle("muted", isMuted);
        badge.hidden = unread === 0 || isMuted;
        setText(badge, unread > 99 ? "99+" : String(unread));
        badge.setAttribute("aria-label", `${unread} unread`);
        if (isCurrent) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
        return row;
    }

    renderConnection() {
        const { state, gateway } = this.#parley.state;
        const footer = $("gateway");
        footer.dataset.state = state;
        footer.dataset.gateway = gateway ?? "";
        const texts = { online: `Connected to ${gateway && new URL(gateway).host}`, stopped: "Not connected" };
        setText(footer.lastElementChild, texts[state] ?? "Connecting…");
    }

    async #search() {
        const prefix = $("search").value.trim().replace(/^@/, "");
        const search = ++this.#searches; // an answer that was overtaken is dropped
        if (!prefix) return this.#showPeople(null);
        try {
            const { users } = await this.#parley.request("GET", `/v1/users?prefix=${encodeURIComponent(prefix)}`);
            if (search !== this.#searches) return;
            const model = this.#model();
            model.learn(users);
            const others = users.filter(({ id }) => id !== model.me);
            const nobody = users.length ? "That is you." : `Nobody’s username begins with “${prefix}”.`;
            this.#showPeople(others, others.length ? "" : nobody);
        } catch (error) {
            if (search === this.#searches) this.#showPeople([], error.message);
        }
    }

    #showPeople(users, note = "") {
        setText($("search-note"), note);
        $("people").hidden = !users?.length;
        $("people").replaceChildren(...(users ?? []).map((user) => this.#person(user)));
        $("side").classList.toggle("searching", users !== null);
        this.#model().users.size && ($("list-empty").hidden = users !== null || $("list").childElementCount > 0);
    }

    #person(user) {
        const avatar = h("span", { class: "avatar", "aria-hidden": "true" });
        paintAvatar(avatar, user);
        const name = h("span", { class: "name", dir: "auto", textContent: user.display_name });
        const username = h("span", { class: "preview", textContent: "@" + user.username });
        const id = directConversation(this.#model().me, user.id);
        const link = h("a", { href: "#" + id }, avatar, name, username);
        link.addEventListener("click", () => {
            this.#clearSearch();
            this.#open(id);
        });
        return h("li", { "data-user": user.id, "data-username": user.username }, link);
    }

    #clearSearch() {
        clearTimeout(this.#searchTimer);
        this.#searches += 1;
        $("search").value = "";
        this.#showPeople(null);
    }

    /** Up and down walk through the search box, the people and the conversations. */
    #arrows(press) {
        const step = { ArrowDown: 1, ArrowUp: -1 }[press.key];
        if (!step || $("menu").contains(document.activeElement)) return;
        const stops = [$("search"), ...$("side").querySelectorAll("li a")].filter((stop) => stop.offsetParent);
        const next = stops[stops.indexOf(document.activeElement) + step];
        if (!next) return;
        press.preventDefault();
        next.focus();
    }
}
