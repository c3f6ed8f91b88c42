/// The escapes of JSON strings.
enum JSONEscape {
    /// The scalar of the `\uXXXX` or surrogate pair at `offset`, and how many bytes it takes; nil if malformed,
    /// cut short, or a lone surrogate.
    static func scalar(in bytes: UnsafeRawBufferPointer, at offset: Int) -> (value: Unicode.Scalar, length: Int)? {
        guard let first = codeUnit(in: bytes, at: offset) else { return nil }
        if let scalar = Unicode.Scalar(first) { return (scalar, 6) }
        guard first < 0xDC00, let second = codeUnit(in: bytes, at: offset + 6), 0xDC00...0xDFFF ~= second else {
            return nil
        }
        let value = 0x10000 + UInt32(first - 0xD800) << 10 + UInt32(second - 0xDC00)
        return Unicode.Scalar(value).map { ($0, 12) }
    }

    private static func codeUnit(in bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt16? {
        guard offset + 6 <= bytes.count, bytes[offset] == UInt8(ascii: "\\"), bytes[offset + 1] == UInt8(ascii: "u")
        else { return nil }
        var unit: UInt16 = 0
        for index in offset + 2..<offset + 6 {
            guard let digit = bytes[index].hexDigitValue else { return nil }
            unit = unit << 4 | UInt16(digit)
        }
        return unit
    }

    /// The text of a scanned string's content. Escapes only ever shrink, so the content's length suffices.
    static func unescape(_ content: UnsafeRawBufferPointer) -> String {
        String(unsafeUninitializedCapacity: content.count) { text in
            var (read, written) = (0, 0)
            func append(_ byte: UInt8) {
                text.initializeElement(at: written, to: byte)
                written += 1
            }
            while read < content.count {
                guard content[read] == UInt8(ascii: "\\"), read + 1 < content.count else {
                    append(content[read])
                    read += 1
                    continue
                }
                if let (scalar, length) = scalar(in: content, at: read) {
                    for byte in UTF8.encode(scalar)! { append(byte) }
                    read += length
                    continue
                }
                switch content[read + 1] {
                case UInt8(ascii: "b"): append(0x08)
                case UInt8(ascii: "f"): append(0x0C)
                case UInt8(ascii: "n"): append(0x0A)
                case UInt8(ascii: "r"): append(0x0D)
                case UInt8(ascii: "t"): append(0x09)
                case let other: append(other)
                }
                read += 2
            }
            return written
        }
    }
}
