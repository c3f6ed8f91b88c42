/// Every error that this module throws. Neither `message` nor `description` ever holds the password or bound parameters.
public struct PostgresError: Error, Sendable, Equatable {
    public enum Code: String, Sendable {
        /// The URL cannot be used. Trying again does not help.
        case invalidConfiguration
        /// No connection could be opened; the statement was not sent.
        case connectionFailed
        /// The connection went away under a statement. Alone, the statement may or may not have taken effect;
        /// inside a transaction nothing of it was committed.
        case connectionLost
        /// The answer to COMMIT was lost: the transaction may or may not be committed.
        case unknownOutcome
        /// The statement ran longer than its timeout and was cancelled; it had no effect.
        case timeout
        /// No connection of the pool became free in time; nothing was sent.
        case acquireTimeout
        /// The task was cancelled; the statement was not sent or had no effect.
        case cancelled
        /// The pool is shut down; nothing was sent.
        case poolClosed
        /// The server refused the statement; `sqlState` says why.
        case server
        /// SQLSTATE 40001 or 40P01: the transaction was rolled back and may succeed when repeated.
        case serializationFailure
        /// COMMIT rolled back, because a statement of the transaction had failed and the body went on.
        case transactionAborted
        /// A parameter that PostgreSQL cannot take (text with NUL, too many), or a statement this client cannot run (COPY).
        case invalidStatement
        /// A column has another type than asked for, or is NULL.
        case decoding
        /// The database's migrations and the given ones do not fit together.
        case migration
    }

    public var code: Code
    public var message: String
    /// The server's five-character SQLSTATE, such as `23505` for a unique violation.
    public var sqlState: String?
    /// The violated constraint, where the server names one.
    public var constraint: String?

    public init(_ code: Code, _ message: String, sqlState: String? = nil, constraint: String? = nil) {
        self.code = code
        self.message = message
        self.sqlState = sqlState
        self.constraint = constraint
    }
}

extension PostgresError: CustomStringConvertible {
    public var description: String {
        "PostgreSQL: \(code.rawValue)\(sqlState.map { " \($0)" } ?? ""): \(message)"
    }
}
