public import NIOCore

/// Writes JSON straight into a buffer. Commas need no bookkeeping: a key or an element puts one in front of
/// itself unless a container has just begun. Names and raw values are the caller's to keep well formed.
extension ByteBuffer {
    public mutating func beginJSONObject() {
        writeInteger(UInt8(ascii: "{"))
    }

    public mutating func endJSONObject() {
        writeInteger(UInt8(ascii: "}"))
    }

    public mutating func endJSONArray() {
        writeInteger(UInt8(ascii: "]"))
    }

    public mutating func beginJSONArray() {
        writeInteger(UInt8(ascii: "["))
    }

    /// Starts an array's next element.
    public mutating func beginJSONElement() {
        if !isJSONContainerStart { writeInteger(UInt8(ascii: ",")) }
    }

    /// Starts an object's next member. The name must not need escaping.
    public mutating func writeJSONKey(_ name: StaticString) {
        let needsComma = !isJSONContainerStart
        let length = name.utf8CodeUnitCount
        writeWithUnsafeMutableBytes(minimumWritableBytes: length + 4) { bytes in
            var index = 0
            if needsComma {
                bytes[0] = UInt8(ascii: ",")
                index = 1
            }
            bytes[index] = UInt8(ascii: "\"")
            bytes.fill(UnsafeRawBufferPointer(start: name.utf8Start, count: length), at: index + 1)
            bytes[index + 1 + length] = UInt8(ascii: "\"")
            bytes[index + 2 + length] = UInt8(ascii: ":")
            return index + 3 + length
        }
    }

    private var isJSONContainerStart: Bool {
        guard readableBytes > 0, let last = getInteger(at: writerIndex - 1, as: UInt8.self) else { return true }
        return last == UInt8(ascii: "{") || last == UInt8(ascii: "[")
    }

    public mutating func writeJSONField(_ name: StaticString, _ text: String) {
        writeJSONKey(name)
        writeJSONString(text)
    }

    public mutating func writeJSONField(_ name: StaticString, _ number: some FixedWidthInteger) {
        writeJSONKey(name)
        writeDecimal(number)
    }

    public mutating func writeJSONField(_ name: StaticString, _ flag: Bool) {
        writeJSONKey(name)
        writeStaticString(flag ? "true" : "false")
    }

    public mutating func writeJSONField(_ name: StaticString, _ identifier: some WireIdentifier) {
        writeJSONKey(name)
        writeJSONIdentifier(identifier)
    }

    /// Writes a value that is JSON already.
    public mutating func writeJSONField(_ name: StaticString, raw json: String) {
        writeJSONKey(name)
        writeString(json)
    }

    public mutating func writeJSONIdentifier(_ identifier: some WireIdentifier) {
        writeInteger(UInt8(ascii: "\""))
        identifier.write(into: &self)
        writeInteger(UInt8(ascii: "\""))
    }

    /// A quoted string, with the escapes that RFC 8259 requires and no others.
    public mutating func writeJSONString(_ text: String) {
        var text = text
        text.withUTF8 { writeJSONString(utf8: UnsafeRawBufferPointer($0)) }
    }

    /// As ``writeJSONString(_:)``, for UTF-8 bytes.
    public mutating func writeJSONString(utf8 bytes: UnsafeRawBufferPointer) {
        var special = JSONWord.firstSpecial(in: bytes, from: 0)
        guard special < bytes.count else { return writeQuoted(bytes) }
        var start = 0
        writeInteger(UInt8(ascii: "\""))
        while true {
            writeBytes(UnsafeRawBufferPointer(rebasing: bytes[start..<special]))
            guard special < bytes.count else { break }
            writeJSONEscape(bytes[special])
            start = special + 1
            special = JSONWord.firstSpecial(in: bytes, from: start)
        }
        writeInteger(UInt8(ascii: "\""))
    }

    private mutating func writeQuoted(_ bytes: UnsafeRawBufferPointer) {
        writeWithUnsafeMutableBytes(minimumWritableBytes: bytes.count + 2) { target in
            target[0] = UInt8(ascii: "\"")
            target.fill(bytes, at: 1)
            target[bytes.count + 1] = UInt8(ascii: "\"")
            return bytes.count + 2
        }
    }

    private mutating func writeJSONEscape(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""): writeStaticString("\\\"")
        case UInt8(ascii: "\\"): writeStaticString("\\\\")
        case 0x08: writeStaticString("\\b")
        case 0x0C: writeStaticString("\\f")
        case 0x0A: writeStaticString("\\n")
        case 0x0D: writeStaticString("\\r")
        case 0x09: writeStaticString("\\t")
        default:
            writeStaticString("\\u00")
            writeInteger(UInt8(hexDigit: byte >> 4))
            writeInteger(UInt8(hexDigit: byte & 15))
        }
    }

    /// A finite number; nothing else has a JSON form, and `null` stands for it.
    public mutating func writeJSONNumber(_ number: Double) {
        writeString(number.isFinite ? number.description : "null")
    }

    /// The decimal digits of an integer of at most 64 bits.
    public mutating func writeDecimal(_ number: some FixedWidthInteger) {
        writeWithUnsafeMutableBytes(minimumWritableBytes: 20) { bytes in
            bytes.fill(decimal: UInt64(number.magnitude), isNegative: number < 0)
        }
    }
}

extension UnsafeMutableRawBufferPointer {
    /// Puts the decimal digits of a number at the front of at least twenty bytes.
    /// - Returns: how many bytes they take.
    func fill(decimal magnitude: UInt64, isNegative: Bool) -> Int {
        // Last digit first, then moved to the front.
        var rest = magnitude
        var start = 20
        repeat {
            start &-= 1
            self[start] = UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        } while rest > 0
        if isNegative {
            start &-= 1
            self[start] = UInt8(ascii: "-")
        }
        copyMemory(from: UnsafeRawBufferPointer(rebasing: self[start..<20]))
        return 20 &- start
    }

    /// Puts `bytes` at `offset`, with room checked.
    func fill(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        UnsafeMutableRawBufferPointer(rebasing: self[offset...]).copyMemory(from: bytes)
    }
}
