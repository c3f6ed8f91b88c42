/// A PostgreSQL type by its object ids in `pg_type`.
public struct PostgresType: Sendable, Equatable {
    public var oid: UInt32
    public var arrayOID: UInt32

    public static let boolean = PostgresType(oid: 16, arrayOID: 1000)
    public static let bytea = PostgresType(oid: 17, arrayOID: 1001)
    public static let bigint = PostgresType(oid: 20, arrayOID: 1016)
    public static let integer = PostgresType(oid: 23, arrayOID: 1007)
    public static let text = PostgresType(oid: 25, arrayOID: 1009)
    public static let double = PostgresType(oid: 701, arrayOID: 1022)
}

/// One value of a result, or one element of an array, in PostgreSQL's binary format. Valid only inside
/// ``PostgresCodable/init(postgres:)``.
public struct PostgresField {
    public var oid: UInt32
    /// `nil` is NULL.
    public var bytes: UnsafeRawBufferPointer?
}

/// A Swift type that can be bound as a parameter and read from a column, in PostgreSQL's binary format.
///
/// A type of one's own joins by its raw value: `extension UserID: PostgresScalar {}` for a `RawRepresentable`.
public protocol PostgresCodable: Sendable {
    static var postgresType: PostgresType { get }
    /// Appends the value; `false` is NULL, with nothing appended.
    func encode(into bytes: inout [UInt8]) -> Bool
    /// `nil` if the field has another type or is NULL.
    init?(postgres field: PostgresField)
}

/// What an array can be made of.
public protocol PostgresArrayElement: Sendable {
    static var postgresArrayType: PostgresType { get }
    static func encode(array: [Self], into bytes: inout [UInt8])
    static func decode(array field: PostgresField) -> [Self]?
}

/// A single value, as opposed to an array or an optional.
public protocol PostgresScalar: PostgresCodable, PostgresArrayElement {}

extension PostgresScalar where Self: RawRepresentable, RawValue: PostgresScalar {
    public static var postgresType: PostgresType { RawValue.postgresType }
    public func encode(into bytes: inout [UInt8]) -> Bool { rawValue.encode(into: &bytes) }
    public init?(postgres field: PostgresField) {
        guard let value = RawValue(postgres: field) else { return nil }
        self.init(rawValue: value)
    }
}

extension Optional: PostgresCodable where Wrapped: PostgresCodable {
    public static var postgresType: PostgresType { Wrapped.postgresType }

    public func encode(into bytes: inout [UInt8]) -> Bool { self?.encode(into: &bytes) ?? false }

    public init?(postgres field: PostgresField) {
        guard field.bytes != nil else {
            self = .none
            return
        }
        guard let value = Wrapped(postgres: field) else { return nil }
        self = .some(value)
    }
}
