extension [UInt8] {
    mutating func append(bigEndian value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.bigEndian) { self.append(contentsOf: $0) }
    }

    mutating func set(bigEndian value: Int32, at index: Int) {
        withUnsafeMutableBytes { $0.storeBytes(of: value.bigEndian, toByteOffset: index, as: Int32.self) }
    }
}

extension UnsafeRawBufferPointer {
    func bigEndian<T: FixedWidthInteger & BitwiseCopyable>(_: T.Type, at index: Int) -> T {
        T(bigEndian: loadUnaligned(fromByteOffset: index, as: T.self))
    }
}

extension PostgresField {
    /// `bigint`, `integer`, `smallint` and `oid`, widened.
    var integer: Int64? {
        guard let bytes else { return nil }
        switch oid {
        case 20: return bytes.bigEndian(Int64.self, at: 0)
        case 21: return Int64(bytes.bigEndian(Int16.self, at: 0))
        case 23: return Int64(bytes.bigEndian(Int32.self, at: 0))
        case 26: return Int64(bytes.bigEndian(UInt32.self, at: 0))
        default: return nil
        }
    }
}

extension Int64: PostgresScalar {
    public static var postgresType: PostgresType { .bigint }
    public func encode(into bytes: inout [UInt8]) -> Bool {
        bytes.append(bigEndian: self)
        return true
    }
    public init?(postgres field: PostgresField) {
        guard let value = field.integer else { return nil }
        self = value
    }
}

/// Bound as `bigint`, like `Int64`.
extension Int: PostgresScalar {
    public static var postgresType: PostgresType { .bigint }
    public func encode(into bytes: inout [UInt8]) -> Bool { Int64(self).encode(into: &bytes) }
    public init?(postgres field: PostgresField) {
        guard let value = field.integer else { return nil }
        self.init(value)
    }
}

extension Int32: PostgresScalar {
    public static var postgresType: PostgresType { .integer }
    public func encode(into bytes: inout [UInt8]) -> Bool {
        bytes.append(bigEndian: self)
        return true
    }
    public init?(postgres field: PostgresField) {
        guard let value = field.integer else { return nil }
        self.init(exactly: value)
    }
}

extension Bool: PostgresScalar {
    public static var postgresType: PostgresType { .boolean }
    public func encode(into bytes: inout [UInt8]) -> Bool {
        bytes.append(self ? 1 : 0)
        return true
    }
    public init?(postgres field: PostgresField) {
        guard field.oid == PostgresType.boolean.oid, let bytes = field.bytes else { return nil }
        self = bytes[0] != 0
    }
}

extension Double: PostgresScalar {
    public static var postgresType: PostgresType { .double }
    public func encode(into bytes: inout [UInt8]) -> Bool {
        bytes.append(bigEndian: bitPattern)
        return true
    }
    public init?(postgres field: PostgresField) {
        guard let bytes = field.bytes else { return nil }
        switch field.oid {
        case PostgresType.double.oid: self.init(bitPattern: bytes.bigEndian(UInt64.self, at: 0))
        case 700: self.init(Float(bitPattern: bytes.bigEndian(UInt32.self, at: 0)))
        default: return nil
        }
    }
}

/// Alone, a string is sent as a literal of unknown type, so that it also fits `uuid`, `jsonb` and enum columns;
/// in arrays it is `text`. Reads every text type, `json`, `jsonb`, `uuid` (lower-case) and enums.
extension String: PostgresScalar {
    public static var postgresType: PostgresType { .text }

    public func encode(into bytes: inout [UInt8]) -> Bool {
        bytes += utf8
        return true
    }

    public init?(postgres field: PostgresField) {
        guard let bytes = field.bytes else { return nil }
        switch field.oid {
        case 18, 19, 25, 114, 705, 1042, 1043: self.init(decoding: bytes, as: UTF8.self)
        case 3802: self.init(decoding: bytes.dropFirst(), as: UTF8.self)  // jsonb: a version byte stands in front
        case 2950: self = Self.uuid(bytes)
        case 16384...: self.init(decoding: bytes, as: UTF8.self)  // types made by users; enums arrive as their label
        default: return nil
        }
    }

    private static func uuid(_ bytes: UnsafeRawBufferPointer) -> String {
        var text = ""
        for (index, byte) in bytes.enumerated() {
            if [4, 6, 8, 10].contains(index) { text += "-" }
            text += (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }
        return text
    }
}
