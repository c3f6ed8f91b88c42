/// Delays between attempts to connect: full jitter from the first retry on, under a ceiling that doubles up to 30 s
/// (Brooker, "Exponential Backoff and Jitter", 2015). A connection that stayed for a minute starts it anew.
public struct Backoff: Sendable {
    public static let capMilliseconds: Int64 = 30_000
    public static let stableMilliseconds: Int64 = 60_000

    /// Of the first retry; doubles with each.
    public let baseMilliseconds: Int64
    private var attempts: Int64 = 0

    public init(baseMilliseconds: Int64 = 500) {
        self.baseMilliseconds = baseMilliseconds
    }

    /// How long to wait before the next attempt, in milliseconds.
    public mutating func next(using generator: inout some RandomNumberGenerator) -> Int64 {
        let ceiling = min(Self.capMilliseconds, baseMilliseconds << min(attempts, 16))
        attempts += 1
        return Int64.random(in: 0...ceiling, using: &generator)
    }

    /// A connection ended that had been ready for so long.
    public mutating func ended(afterMilliseconds milliseconds: Int64) {
        if milliseconds >= Self.stableMilliseconds { attempts = 0 }
    }
}
