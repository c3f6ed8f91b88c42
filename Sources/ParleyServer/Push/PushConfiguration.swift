/// How devices are reached that are not connected. A provider is offered where what it needs is given.
struct PushConfiguration: Sendable {
    /// Of Web Push.
    var vapidKey: VAPIDKey?
    var subject: String?

    var webhookURL: PushURL?
    var webhookSecret: String?

    /// Milliseconds that a push lives: it is tried again for so long, and shown as late as that.
    var lifetime: Int64 = 86_400_000
    /// Nothing of any message but who sent it passes a provider.
    var hidesContent = false
    var http = PushHTTPConfiguration()

    var providers: [any PushProvider] {
        var providers: [any PushProvider] = []
        if let vapidKey { providers.append(WebPushProvider(key: vapidKey, subject: subject)) }
        if let webhookURL, let webhookSecret {
            providers.append(WebhookProvider(url: webhookURL, secret: webhookSecret))
        }
        return providers
    }
}
