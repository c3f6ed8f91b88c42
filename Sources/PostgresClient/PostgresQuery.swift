/// SQL with its parameters. Every interpolated value becomes a bound parameter (`$1`, `$2` …), never text of the SQL:
///
///     let query: PostgresQuery = "SELECT id FROM users WHERE name = \(name)"
public struct PostgresQuery: Sendable {
    struct Parameter: Sendable {
        /// 0 leaves the type to the server.
        var oid: UInt32
        /// Where the value stands in `bytes`; `nil` is NULL.
        var range: Range<Int>?
        /// 0 is text, 1 is binary.
        var format: Int32
    }

    public internal(set) var sql: String
    private(set) var parameters: [Parameter] = []
    /// All values, each followed by a zero byte, so that one buffer serves the call into libpq.
    private(set) var bytes: [UInt8] = []

    /// SQL without parameters, made at run time: the caller vouches for it.
    public init(unescaped sql: String) {
        self.sql = sql
    }

    mutating func bind<T: PostgresCodable>(_ value: T) {
        let start = bytes.count
        let isValue = value.encode(into: &bytes)
        let isText = T.postgresType.oid == PostgresType.text.oid
        let range = isValue ? start..<bytes.count : nil
        parameters.append(Parameter(oid: isText ? 0 : T.postgresType.oid, range: range, format: isText ? 0 : 1))
        bytes.append(0)
        sql += "$\(parameters.count)"
    }
}

extension PostgresQuery: ExpressibleByStringInterpolation {
    public struct StringInterpolation: StringInterpolationProtocol, Sendable {
        var query = PostgresQuery(unescaped: "")

        public init(literalCapacity: Int, interpolationCount: Int) {
            query.sql.reserveCapacity(literalCapacity + 3 * interpolationCount)
        }

        public mutating func appendLiteral(_ literal: String) { query.sql += literal }

        public mutating func appendInterpolation(_ value: some PostgresCodable) { query.bind(value) }

        /// Without this, the compiler warns at every optional parameter.
        public mutating func appendInterpolation(_ value: (some PostgresCodable)?) { query.bind(value) }

        /// A table's or column's name, quoted.
        public mutating func appendInterpolation(identifier: String) {
            query.sql += "\""
            for character in identifier.unicodeScalars {
                query.sql += character == "\"" ? "\"\"" : String(character)
            }
            query.sql += "\""
        }

        /// Text of the SQL itself: the caller vouches for it.
        public mutating func appendInterpolation(unescaped sql: String) { query.sql += sql }
    }

    public init(stringLiteral value: String) { self.init(unescaped: value) }

    public init(stringInterpolation: StringInterpolation) { self = stringInterpolation.query }
}
