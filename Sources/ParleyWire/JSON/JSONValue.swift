/// One scanned value: a slice of the scanner's bytes, valid as long as they are, decoded when asked.
public struct JSONValue {
    public enum Kind: UInt8, Hashable, Sendable {
        case object, array, string, number, `true`, `false`, null
    }

    public let kind: Kind
    private let hasEscapes: Bool
    /// The value exactly as it stood, a string's quotes included.
    public let bytes: UnsafeRawBufferPointer

    init(_ kind: Kind, _ bytes: UnsafeRawBufferPointer, hasEscapes: Bool = false) {
        self.kind = kind
        self.bytes = bytes
        self.hasEscapes = hasEscapes
    }

    /// The value's own JSON text.
    public var raw: String { String(decoding: bytes, as: UTF8.self) }

    /// The bytes between a string's quotes if none of them is escaped; nil otherwise, and for other kinds.
    public var plainContent: UnsafeRawBufferPointer? {
        kind == .string && !hasEscapes ? content : nil
    }

    private var content: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[1..<bytes.count - 1])
    }

    /// A string's text; nil for other kinds.
    public func string() -> String? {
        guard kind == .string else { return nil }
        return hasEscapes ? JSONEscape.unescape(content) : String(decoding: content, as: UTF8.self)
    }

    /// The identifier that a string holds; nil for other kinds, and where it does not parse.
    public func identifier<ID: WireIdentifier>(as type: ID.Type = ID.self) -> ID? {
        if let plainContent { return ID(utf8: plainContent) }
        return string().flatMap { ID($0) }
    }

    /// An integer of at most 2^53−1 in magnitude, written without fraction or exponent; nil otherwise.
    public func integer() -> Int64? {
        guard kind == .number, bytes.count <= 17 else { return nil }
        let isNegative = bytes[0] == UInt8(ascii: "-")
        var value: Int64 = 0
        for byte in bytes.dropFirst(isNegative ? 1 : 0) {
            guard byte.isDigit else { return nil }
            // At most seventeen digits: no overflow.
            value = value &* 10 &+ Int64(byte &- UInt8(ascii: "0"))
        }
        guard value < 1 << 53 else { return nil }
        return isNegative ? -value : value
    }

    /// Any finite number, rounded to the nearest double; nil for other kinds.
    public func double() -> Double? {
        guard kind == .number, let value = Double(raw), value.isFinite else { return nil }
        return value
    }

    public func bool() -> Bool? {
        switch kind {
        case .true: true
        case .false: false
        default: nil
        }
    }
}
