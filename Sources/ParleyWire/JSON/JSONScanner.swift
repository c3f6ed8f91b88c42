/// A strict pull scanner of RFC 8259 JSON over bytes that the caller keeps alive.
///
/// Single pass, nothing allocated: values come back as ``JSONValue`` slices, decoded when asked. Containers nest
/// at most ``maximumDepth`` deep, and scanning them does not recurse. Duplicate keys are all reported; whoever
/// overwrites lets the last one win. The bytes are taken to be UTF-8, checked before by the WebSocket layer;
/// invalid ones never trap, and come out of strings as U+FFFD.
///
/// ```swift
/// var scanner = JSONScanner(bytes)
/// try scanner.beginObject()
/// while let key = try scanner.nextKey() { fields[key.string()] = try scanner.value() }
/// try scanner.finish()
/// ```
public struct JSONScanner {
    public static let maximumDepth = 32

    private let bytes: UnsafeRawBufferPointer
    /// Of the next byte, from the start of the input.
    public private(set) var offset = 0
    private var depth = 0
    // One bit a level: whether the container is an object, and whether it already has an element.
    private var isObject: UInt64 = 0
    private var hasElements: UInt64 = 0

    public init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    /// Enters the object that must come next.
    public mutating func beginObject() throws(JSONError) {
        try open(UInt8(ascii: "{"))
    }

    /// Enters the array that must come next.
    public mutating func beginArray() throws(JSONError) {
        try open(UInt8(ascii: "["))
    }

    /// The next key of the object entered last, whose value must be scanned before the next call; nil leaves it.
    public mutating func nextKey() throws(JSONError) -> JSONValue? {
        guard try advance(closing: UInt8(ascii: "}")) else { return nil }
        guard try peek() == UInt8(ascii: "\"") else { throw error(.unexpectedByte) }
        let key = try string()
        guard try peek() == UInt8(ascii: ":") else { throw error(.unexpectedByte) }
        offset &+= 1
        return key
    }

    /// Whether the array entered last has another element, which must be scanned before the next call; false
    /// leaves the array.
    public mutating func nextElement() throws(JSONError) -> Bool {
        try advance(closing: UInt8(ascii: "]"))
    }

    /// Scans one whole value, checked to its last byte.
    public mutating func value() throws(JSONError) -> JSONValue {
        switch try peek() {
        case UInt8(ascii: "{"): return try container(.object)
        case UInt8(ascii: "["): return try container(.array)
        default: return try scalar()
        }
    }

    public mutating func skipValue() throws(JSONError) {
        _ = try value()
    }

    /// The exact bytes of the next value, a string's quotes included.
    public mutating func rawValue() throws(JSONError) -> UnsafeRawBufferPointer {
        try value().bytes
    }

    /// Checks that nothing but white space is left.
    public mutating func finish() throws(JSONError) {
        skipWhitespace()
        guard depth == 0 else { throw error(offset < bytes.count ? .unexpectedByte : .unexpectedEnd) }
        guard offset == bytes.count else { throw error(.trailingBytes) }
    }
}

extension JSONScanner {
    private func error(_ code: JSONError.Code) -> JSONError {
        JSONError(code: code, offset: offset)
    }

    private func slice(from start: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[start..<offset])
    }

    @inline(__always)
    private mutating func skipWhitespace() {
        while offset < bytes.count {
            let byte = bytes[offset]
            guard byte <= 0x20, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 else { return }
            offset &+= 1
        }
    }

    /// The next byte that is not white space, left in place.
    @inline(__always)
    private mutating func peek() throws(JSONError) -> UInt8 {
        skipWhitespace()
        guard offset < bytes.count else { throw error(.unexpectedEnd) }
        return bytes[offset]
    }

    private mutating func open(_ bracket: UInt8) throws(JSONError) {
        guard try peek() == bracket else { throw error(.unexpectedByte) }
        guard depth < Self.maximumDepth else { throw error(.tooDeep) }
        offset &+= 1
        depth &+= 1
        let bit: UInt64 = 1 << UInt64(depth)
        isObject = bracket == UInt8(ascii: "{") ? isObject | bit : isObject & ~bit
        hasElements &= ~bit
    }

    /// Moves to the next element of the innermost container, or past its closing bracket.
    private mutating func advance(closing bracket: UInt8) throws(JSONError) -> Bool {
        let bit: UInt64 = 1 << UInt64(depth)
        guard depth > 0, (isObject & bit != 0) == (bracket == UInt8(ascii: "}")) else { throw error(.unexpectedByte) }
        let next = try peek()
        if next == bracket {
            offset &+= 1
            depth &-= 1
            return false
        }
        if hasElements & bit != 0 {
            guard next == UInt8(ascii: ",") else { throw error(.unexpectedByte) }
            offset &+= 1
        }
        hasElements |= bit
        return true
    }

    private mutating func container(_ kind: JSONValue.Kind) throws(JSONError) -> JSONValue {
        let (start, outer) = (offset, depth)
        try open(bytes[offset])
        while depth > outer {
            let more = isObject & (1 << UInt64(depth)) != 0 ? try nextKey() != nil : try nextElement()
            guard more else { continue }
            let next = try peek()
            if next == UInt8(ascii: "{") || next == UInt8(ascii: "[") {
                try open(next)
            } else {
                _ = try scalar()
            }
        }
        return JSONValue(kind, slice(from: start))
    }

    private mutating func scalar() throws(JSONError) -> JSONValue {
        let start = offset
        switch bytes[offset] {
        case UInt8(ascii: "\""):
            return try string()
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            try number()
            return JSONValue(.number, slice(from: start))
        case UInt8(ascii: "t"):
            try literal("true")
            return JSONValue(.true, slice(from: start))
        case UInt8(ascii: "f"):
            try literal("false")
            return JSONValue(.false, slice(from: start))
        case UInt8(ascii: "n"):
            try literal("null")
            return JSONValue(.null, slice(from: start))
        default:
            throw error(.unexpectedByte)
        }
    }

    private mutating func literal(_ text: StaticString) throws(JSONError) {
        for index in 0..<text.utf8CodeUnitCount {
            guard offset < bytes.count else { throw error(.unexpectedEnd) }
            guard bytes[offset] == text.utf8Start[index] else { throw error(.unexpectedByte) }
            offset &+= 1
        }
    }

    private mutating func number() throws(JSONError) {
        if bytes[offset] == UInt8(ascii: "-") { offset &+= 1 }
        if offset < bytes.count, bytes[offset] == UInt8(ascii: "0") {
            offset &+= 1
        } else {
            try digits()
        }
        if offset < bytes.count, bytes[offset] == UInt8(ascii: ".") {
            offset &+= 1
            try digits()
        }
        if offset < bytes.count, bytes[offset] | 0x20 == UInt8(ascii: "e") {
            offset &+= 1
            if offset < bytes.count, bytes[offset] == UInt8(ascii: "+") || bytes[offset] == UInt8(ascii: "-") {
                offset &+= 1
            }
            try digits()
        }
    }

    private mutating func digits() throws(JSONError) {
        guard offset < bytes.count else { throw error(.unexpectedEnd) }
        guard bytes[offset].isDigit else { throw error(.unexpectedByte) }
        while offset < bytes.count, bytes[offset].isDigit { offset &+= 1 }
    }

    private mutating func string() throws(JSONError) -> JSONValue {
        let start = offset
        var hasEscapes = false
        offset &+= 1
        while true {
            offset = JSONWord.firstSpecial(in: bytes, from: offset)
            guard offset < bytes.count else { throw error(.unexpectedEnd) }
            switch bytes[offset] {
            case UInt8(ascii: "\""):
                offset &+= 1
                return JSONValue(.string, slice(from: start), hasEscapes: hasEscapes)
            case UInt8(ascii: "\\"):
                hasEscapes = true
                try escape()
            default:
                throw error(.controlCharacter)
            }
        }
    }

    private mutating func escape() throws(JSONError) {
        guard offset &+ 1 < bytes.count else { throw error(.unexpectedEnd) }
        switch bytes[offset &+ 1] {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
            UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            offset &+= 2
        case UInt8(ascii: "u"):
            guard let scalar = JSONEscape.scalar(in: bytes, at: offset) else { throw error(.invalidEscape) }
            offset &+= scalar.length
        default:
            throw error(.invalidEscape)
        }
    }
}
