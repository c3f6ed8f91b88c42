/** Notifications in this browser while no window is open: asks for leave, subscribes, and registers the subscription. */

import { uuidv7 } from "./rules.js";

const WHO = "parley.notify"; // the user whom this browser is subscribed for, of all who use it
const DEVICE = "parley.browser";

const isPossible = () => "serviceWorker" in navigator && "PushManager" in window && "Notification" in window;

/** The button turns notifications on and off; it is there where the browser and the server can do it. */
export class Push {
    #parley;
    #button;
    #key = null;

    constructor(parley, button) {
        this.#parley = parley;
        this.#button = button;
        button.addEventListener("click", () => this.#toggle());
    }

    get isOn() {
        return localStorage.getItem(WHO) === this.#parley.user && Notification.permission === "granted";
    }

    /** Somebody has signed in. A subscription that the browser has changed meanwhile is registered anew. */
    async start() {
        this.#button.hidden = true;
        if (!isPossible()) return;
        try {
            this.#key = (await this.#parley.request("GET", "/v1/push/vapid")).public_key;
        } catch {
            return; // not now
        }
        if (!this.#key) return; // not offered here
        this.#render();
        if (this.isOn) await this.#subscribe().catch(() => {});
    }

    /** They have signed out: the server has forgotten the subscription already. */
    async stop() {
        this.#button.hidden = true;
        localStorage.removeItem(WHO);
        if (!isPossible()) return;
        const registration = await navigator.serviceWorker.getRegistration();
        const subscription = await registration?.pushManager.getSubscription();
        await subscription?.unsubscribe();
        for (const notification of (await registration?.getNotifications()) ?? []) notification.close();
    }

    get #path() {
        let device = localStorage.getItem(DEVICE);
        if (!device) localStorage.setItem(DEVICE, (device = "web-" + uuidv7(Date.now())));
        return `/v1/devices/${device}/push`;
    }

    async #toggle() {
        this.#button.disabled = true;
        try {
            if (this.isOn) {
                await this.#parley.request("DELETE", this.#path).catch((error) => {
                    if (error.status !== 404) throw error;
                });
                await this.stop();
            } else if ((await Notification.requestPermission()) === "granted") {
                await this.#subscribe();
                localStorage.setItem(WHO, this.#parley.user);
            }
            this.#render();
        } catch {
            this.#render("Notifications could not be changed. Try again");
        }
        this.#button.disabled = false;
    }

    async #subscribe() {
        const registration = await navigator.serviceWorker.register("worker.js");
        await navigator.serviceWorker.ready;
        const options = { userVisibleOnly: true, applicationServerKey: this.#key };
        const subscription = await registration.pushManager.subscribe(options).catch(async (error) => {
            // Bound to another key: this server has a new one.
            await (await registration.pushManager.getSubscription())?.unsubscribe();
            if (error.name !== "InvalidStateError") throw error;
            return registration.pushManager.subscribe(options);
        });
        const { endpoint, keys } = subscription.toJSON();
        await this.#parley.request("PUT", this.#path, { provider: "webpush", endpoint, keys });
    }

    #render(text) {
        const isDenied = Notification.permission === "denied";
        this.#button.hidden = false;
        this.#button.disabled = isDenied;
        this.#button.setAttribute("aria-pressed", this.isOn);
        this.#button.textContent =
            text ?? (isDenied ? "Notifications are blocked" : this.isOn ? "Notifications are on" : "Notify me");
    }
}
