/// What went wrong with a command. The question that matters is `outcome`: may it have taken effect?
public struct RedisError: Error, Sendable, Hashable, CustomStringConvertible {
    public enum Code: Sendable, Hashable {
        /// The server answered with an error.
        case server(RedisServerError)
        /// No connection could be had within the command's time; it was never written.
        case notConnected
        /// The connection was lost, or its time was up, after the command had been written.
        case connectionLost, timeout
        /// Too many commands wait on this connection; this one was never written.
        case queueFull
        /// The client was shut down.
        case closed
        /// The server spoke something that is not RESP, or answered in a shape nobody expects.
        case protocolViolation
        /// The configuration is wrong (URL, certificate, password).
        case configuration
    }

    public enum Outcome: Sendable, Hashable {
        /// The command had no effect.
        case failed
        /// The command may have taken effect, or may do so later.
        case unknown
    }

    public let code: Code
    public let outcome: Outcome
    public let message: String

    public init(_ code: Code, outcome: Outcome, _ message: String) {
        self.code = code
        self.outcome = outcome
        self.message = message
    }

    public static func server(_ error: RedisServerError) -> RedisError {
        RedisError(.server(error), outcome: .failed, error.message)
    }

    static func unexpected(_ value: RESPValue) -> RedisError {
        RedisError(.protocolViolation, outcome: .unknown, "unexpected reply \(value)")
    }

    public var description: String { "redis: \(message)\(outcome == .unknown ? " (outcome unknown)" : "")" }
}
