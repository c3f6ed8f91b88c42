public import NIOCore

/// One reply of a Redis server in RESP2.
public enum RESPValue: Sendable, Hashable {
    case simple(String)
    case error(RedisServerError)
    case integer(Int64)
    case bulk(ByteBuffer)
    case null
    case array([RESPValue])

    /// The text of a simple or bulk string (bad UTF-8 is repaired), or of an integer.
    public var string: String? {
        switch self {
        case .simple(let text): text
        case .bulk(let bytes): String(buffer: bytes)
        case .integer(let number): String(number)
        case .error, .null, .array: nil
        }
    }

    /// An integer reply, or a string that reads as one.
    public var integer: Int64? {
        switch self {
        case .integer(let number): number
        case .simple, .bulk: string.flatMap(Int64.init)
        case .error, .null, .array: nil
        }
    }

    public var bytes: ByteBuffer? {
        if case .bulk(let bytes) = self { bytes } else { nil }
    }

    public var array: [RESPValue]? {
        if case .array(let elements) = self { elements } else { nil }
    }
}

/// An error that the server answered: the command had no effect unless its documentation says otherwise.
public struct RedisServerError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The first word, in capitals by convention: `ERR`, `OOM`, `LOADING`, `NOAUTH` …
    public let kind: String
    public let message: String

    public init(_ text: String) {
        kind = String(text.prefix { $0 != " " })
        message = text
    }

    public var description: String { message }

    /// A function of ours is not there: the server lost, or never had, the library.
    public var isFunctionMissing: Bool { message.hasPrefix("ERR Function not found") }

    /// The same command may succeed a little later, on a connection made anew.
    public var isTransient: Bool {
        ["LOADING", "BUSY", "MASTERDOWN", "READONLY", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN"].contains(kind)
    }

    /// The server is up but takes no writes for want of memory or disk.
    public var isRefusingWrites: Bool { ["OOM", "MISCONF"].contains(kind) }
}
