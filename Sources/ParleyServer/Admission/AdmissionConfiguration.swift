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
    public var limits: [Activity: RateLimit] = [
        // Of a gateway. A session without `resume` counts for four.
        .handshake: RateLimit(1000, perSeconds: 1, burst: 2000)
    ]

    public init() {}

    static var off: AdmissionConfiguration {
        var configuration = AdmissionConfiguration()
        configuration.isOn = false
        return configuration
    }
}
