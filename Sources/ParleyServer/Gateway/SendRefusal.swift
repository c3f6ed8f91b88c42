import ParleyWire
import RedisClient

/// Why a send was not committed, or may not have been.
struct SendRefusal: Error, Sendable, Hashable {
    let code: ErrorCode
    let message: String
    /// When to repeat it; nil for what is refused for good.
    let retryMilliseconds: Int64?

    /// - Parameter retryMilliseconds: counts for what may be repeated.
    init(_ code: ErrorCode, _ message: String, retryMilliseconds: Int64 = 1000) {
        self.code = code
        self.message = message
        let isTransient = code == .unavailable || code == .overloaded || code == .rateLimited
        self.retryMilliseconds = isTransient ? retryMilliseconds : nil
    }

    /// What a store said instead of an answer.
    init(_ error: any Error) {
        guard let error = error as? RedisError else {
            self.init(.unavailable, "a store cannot be reached")
            return
        }
        if case .server(let answer) = error.code, answer.isRefusingWrites {
            self.init(.overloaded, "the sync queues are full", retryMilliseconds: 5000)
        } else if error.code == .queueFull {
            self.init(.overloaded, "too much waits for the sync queues")
        } else {
            self.init(.unavailable, "the sync queues cannot be reached; the outcome is unknown")
        }
    }

    /// The same for whoever is blocked, blocks, or is no friend of who takes messages from friends alone.
    static let forbidden = SendRefusal(.forbidden, "you may not write to this user")
    static let conflict = SendRefusal(.conflict, "this cid was sent before with other content")
    static let epochChanged = SendRefusal(.unavailable, "the sync epoch has changed")
}
