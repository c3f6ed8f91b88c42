/// Why bytes are not the JSON that was expected, and where.
public struct JSONError: Error, Hashable, Sendable {
    public enum Code: Hashable, Sendable {
        case unexpectedByte
        case unexpectedEnd
        case controlCharacter
        /// An unknown escape, bad hexadecimal digits, or a lone surrogate.
        case invalidEscape
        case tooDeep
        case trailingBytes
    }

    public var code: Code
    /// In bytes from the start of the input.
    public var offset: Int
}

extension JSONError: CustomStringConvertible {
    public var description: String {
        let what =
            switch code {
            case .unexpectedByte: "unexpected byte"
            case .unexpectedEnd: "unexpected end"
            case .controlCharacter: "control character in a string"
            case .invalidEscape: "invalid escape"
            case .tooDeep: "nested deeper than \(JSONScanner.maximumDepth)"
            case .trailingBytes: "trailing bytes"
            }
        return "\(what) at offset \(offset)"
    }
}
