// The binary format of a one-dimensional array (src/backend/utils/adt/arrayfuncs.c, array_send): number of dimensions,
// a flag "has NULLs", the element type, then length and lower bound of the dimension, then each element with its
// length in front, -1 for NULL. All are big-endian 32-bit integers.

extension PostgresArrayElement where Self: PostgresCodable {
    public static var postgresArrayType: PostgresType { PostgresType(oid: postgresType.arrayOID, arrayOID: 0) }

    public static func encode(array: [Self], into bytes: inout [UInt8]) {
        bytes.append(bigEndian: Int32(array.isEmpty ? 0 : 1))
        let flags = bytes.count
        bytes.append(bigEndian: Int32(0))
        bytes.append(bigEndian: postgresType.oid)
        guard !array.isEmpty else { return }
        bytes.append(bigEndian: Int32(array.count))
        bytes.append(bigEndian: Int32(1))
        for element in array {
            let lengthAt = bytes.count
            bytes.append(bigEndian: Int32(-1))
            if element.encode(into: &bytes) {
                bytes.set(bigEndian: Int32(bytes.count - lengthAt - 4), at: lengthAt)
            } else {
                bytes.set(bigEndian: Int32(1), at: flags)
            }
        }
    }

    public static func decode(array field: PostgresField) -> [Self]? {
        guard field.oid == postgresType.arrayOID, let bytes = field.bytes, bytes.count >= 12 else { return nil }
        let dimensions = bytes.bigEndian(Int32.self, at: 0)
        guard dimensions <= 1 else { return nil }
        let elementOID = bytes.bigEndian(UInt32.self, at: 8)
        guard dimensions == 1 else { return [] }
        let count = Int(bytes.bigEndian(Int32.self, at: 12))
        var elements: [Self] = []
        elements.reserveCapacity(count)
        var at = 20
        for _ in 0..<count {
            let length = Int(bytes.bigEndian(Int32.self, at: at))
            at += 4
            let content = length < 0 ? nil : UnsafeRawBufferPointer(rebasing: bytes[at..<at + length])
            guard let element = Self(postgres: PostgresField(oid: elementOID, bytes: content)) else { return nil }
            elements.append(element)
            at += max(0, length)
        }
        return elements
    }
}

extension Optional: PostgresArrayElement where Wrapped: PostgresScalar {}

/// `[UInt8]` is `bytea`, not an array of numbers.
extension UInt8: PostgresArrayElement {
    public static var postgresArrayType: PostgresType { .bytea }

    public static func encode(array: [UInt8], into bytes: inout [UInt8]) { bytes += array }

    public static func decode(array field: PostgresField) -> [UInt8]? {
        guard field.oid == PostgresType.bytea.oid, let bytes = field.bytes else { return nil }
        return [UInt8](bytes)
    }
}

extension Array: PostgresCodable where Element: PostgresArrayElement {
    public static var postgresType: PostgresType { Element.postgresArrayType }

    public func encode(into bytes: inout [UInt8]) -> Bool {
        Element.encode(array: self, into: &bytes)
        return true
    }

    public init?(postgres field: PostgresField) {
        guard let elements = Element.decode(array: field) else { return nil }
        self = elements
    }
}

/// `[[UInt8]]` is `bytea[]`.
extension Array: PostgresArrayElement where Element == UInt8 {}
