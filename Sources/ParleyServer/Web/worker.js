/** The service worker: shows what was pushed, and takes away what was read elsewhere. */

const TEXTS = {
    new_message: () => "New message",
    group_message: (sender, body) => `${sender}: ${body}`,
    new_group_message: (sender) => `${sender}: new message`,
};

addEventListener("push", (event) => event.waitUntil(show(event.data?.json() ?? {})));

async function show({ type, conv, title, body, body_key, body_args = [], badge = 0, ts }) {
    if (badge) await navigator.setAppBadge?.(badge).catch(() => {});
    else await navigator.clearAppBadge?.().catch(() => {});
    if (type === "read") {
        for (const notification of await registration.getNotifications({ tag: conv })) notification.close();
    } else {
        const text = body ?? TEXTS[body_key]?.(...body_args) ?? TEXTS.new_message();
        const options = { body: text, tag: conv, renotify: Boolean(conv), timestamp: ts, data: { conv } };
        await registration.showNotification(title ?? "Parley", options);
    }
}

addEventListener("notificationclick", (event) => {
    event.notification.close();
    event.waitUntil(visit(event.notification.data?.conv ?? ""));
});

/** The conversation in a window that is open already, or else in a new one. */
async function visit(conv) {
    const url = new URL(`./#${conv}`, location.href).href;
    const [open] = await clients.matchAll({ type: "window", includeUncontrolled: true });
    if (!open) return clients.openWindow(url);
    await open.focus();
    open.postMessage({ open: conv });
}
