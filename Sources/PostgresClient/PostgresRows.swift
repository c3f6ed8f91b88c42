internal import CLibpq

/// Owns a `PGresult`. A result is never changed once it is here, so that any thread may read it.
final class LibpqResult: @unchecked Sendable {
    let pointer: OpaquePointer

    init(_ pointer: OpaquePointer) {
        self.pointer = pointer
    }

    deinit { PQclear(pointer) }

    func field(_ row: Int, _ column: Int) -> PostgresField {
        let (row, column) = (Int32(row), Int32(column))
        let oid = PQftype(pointer, column)
        guard PQgetisnull(pointer, row, column) == 0 else { return PostgresField(oid: oid, bytes: nil) }
        let bytes = UnsafeRawBufferPointer(
            start: PQgetvalue(pointer, row, column),
            count: Int(PQgetlength(pointer, row, column))
        )
        return PostgresField(oid: oid, bytes: bytes)
    }

    func decode<T: PostgresCodable>(_: T.Type, _ row: Int, _ column: Int) throws(PostgresError) -> T {
        let field = field(row, column)
        if let value = T(postgres: field) { return value }
        let name = PQfname(pointer, Int32(column)).map { String(cString: $0) } ?? "\(column)"
        let what = field.bytes == nil ? "is NULL" : "has type \(field.oid)"
        throw PostgresError(.decoding, "column \"\(name)\" \(what), which does not read as \(T.self)")
    }
}

/// The rows of one answer. Values are decoded when they are asked for.
public struct PostgresRows: Sendable {
    let result: LibpqResult

    /// The rows that an INSERT, UPDATE or DELETE touched, or a SELECT gave.
    public var affected: Int { Int(String(cString: PQcmdTuples(result.pointer))) ?? 0 }

    /// All rows as tuples, column by column: `rows.decode((String, Int64?).self)`.
    /// Throws `.decoding` when the number of columns or a type differs, or a NULL meets a type that is not optional.
    public func decode<each T: PostgresCodable>(
        _: (repeat each T).Type
    ) throws(PostgresError) -> [(repeat each T)] {
        var asked = 0
        for _ in repeat (each T).self { asked += 1 }
        let columns = Int(PQnfields(result.pointer))
        guard asked == columns else {
            throw PostgresError(.decoding, "the answer has \(columns) columns, not \(asked)")
        }
        var tuples: [(repeat each T)] = []
        tuples.reserveCapacity(count)
        for row in 0..<count {
            var column = -1
            func next<V: PostgresCodable>(_: V.Type) throws(PostgresError) -> V {
                column += 1
                return try result.decode(V.self, row, column)
            }
            tuples.append((repeat try next((each T).self)))
        }
        return tuples
    }
}

extension PostgresRows: RandomAccessCollection {
    public var startIndex: Int { 0 }
    public var endIndex: Int { Int(PQntuples(result.pointer)) }
    public subscript(position: Int) -> PostgresRow {
        precondition(indices.contains(position), "row \(position) of \(count)")
        return PostgresRow(result: result, index: position)
    }
}

/// One row, for access by the column's name.
public struct PostgresRow: Sendable {
    let result: LibpqResult
    let index: Int

    public func decode<T: PostgresCodable>(_ column: String, as: T.Type = T.self) throws(PostgresError) -> T {
        // PQfnumber folds case as SQL does; names in quotes are taken as they are.
        let number = PQfnumber(result.pointer, column)
        guard number >= 0 else { throw PostgresError(.decoding, "the answer has no column \"\(column)\"") }
        return try result.decode(T.self, index, Int(number))
    }
}
