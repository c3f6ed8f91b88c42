public import ParleyCore

/// What a gateway lets in, and how much of it.
public struct AdmissionConfiguration: Sendable {
    /// Whether anything here is limited or shed.
    public var isOn = true
    public var addresses = AddressCounts.Limits()
    /// Whose `X-Forwarded-For` is believed.
    public var proxies = TrustedProxies()
    /// Bytes of a connection before its first request is whole.
    public var firstBytes = 16_384
    /// Bytes of a socket's message before it has signed in.
    public var firstFrame = 8192
    /// How much of what, with the defaults of a chat for people. What has none is not limited.
    public var limits: [Activity: RateLimit] = [
        // Of a gateway. A session that begins anew counts for four.
        .handshake: RateLimit(1000, perSeconds: 1, burst: 2000),

        // Of a user. A person does not write more than a message a second; a script of theirs may.
        .send: RateLimit(10, perSeconds: 1, burst: 60),
        .change: RateLimit(5, perSeconds: 1, burst: 30),
        // A socket passes one on every three seconds.
        .typing: RateLimit(2, perSeconds: 1, burst: 20),
        // Somebody who was away opens one conversation after the other.
        .read: RateLimit(10, perSeconds: 1, burst: 100),
        // Up to 200 friends are looked up each time.
        .watch: RateLimit(1, perSeconds: 1, burst: 20),
        // A poll without a wait, or one that each event ends, of several devices.
        .sync: RateLimit(20, perSeconds: 1, burst: 100),
        // A resync reads all conversations that have something new.
        .history: RateLimit(20, perSeconds: 1, burst: 300),
        // As they type a name.
        .search: RateLimit(2, perSeconds: 1, burst: 20),
        // People read what they found; who fills the lists of suggestions does not.
        .submit: RateLimit(20, perSeconds: 60, burst: 30),
        // As they type anything; of an address where no sign-in is needed.
        .suggest: RateLimit(50, perSeconds: 1, burst: 500),
        .friend: RateLimit(60, perSeconds: 3600, burst: 30),
        .password: RateLimit(6, perSeconds: 60, burst: 10),
        .request: RateLimit(20, perSeconds: 1, burst: 100),
        // Frames that were refused by these limits: beyond, the socket is closed.
        .frame: RateLimit(2, perSeconds: 1, burst: 100),

        // Of an address, which many people may share.
        .signup: RateLimit(60, perSeconds: 3600, burst: 60),
        .login: RateLimit(1, perSeconds: 1, burst: 60),
        .token: RateLimit(5, perSeconds: 1, burst: 300),
        // Of an account, from where its owner has not been yet; and of an address for each account.
        .account: RateLimit(6, perSeconds: 60, burst: 20),
        .guess: RateLimit(2, perSeconds: 60, burst: 10),
    ]

    public init() {}

    static var off: AdmissionConfiguration {
        var configuration = AdmissionConfiguration()
        configuration.isOn = false
        return configuration
    }
}
