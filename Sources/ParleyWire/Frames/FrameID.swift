/// What a client put into `id` (or a cid that does not parse), to be echoed verbatim: a JSON string or number of
/// at most 64 bytes, kept as its JSON text.
public struct FrameID: Hashable, Sendable, CustomStringConvertible {
    public static let maximumBytes = 64

    /// The JSON text, a string's quotes included.
    public let raw: String

    public var description: String { raw }

    /// Nil unless the value is a string or number of at most 64 bytes.
    public init?(_ value: JSONValue) {
        guard value.kind == .string || value.kind == .number, value.bytes.count <= Self.maximumBytes else { return nil }
        raw = value.raw
    }

    public init(_ number: Int) {
        raw = String(number)
    }

    public init(_ cid: ClientMessageID) {
        raw = "\"\(cid)\""
    }

    /// The cid that this is, if it is one: how a client finds the send that an error answers.
    public var cid: ClientMessageID? { ClientMessageID(raw.dropFirst().dropLast()) }
}
