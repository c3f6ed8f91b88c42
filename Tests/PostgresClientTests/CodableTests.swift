import PostgresClient
import Testing

@Suite struct CodableTests {
    private struct Name: RawRepresentable, PostgresScalar, Equatable {
        var rawValue: String
    }

    /// Sends `value`, has the server check it against `literal`, and reads both back.
    private func check<T: PostgresCodable & Equatable>(
        _ pool: PostgresPool,
        _ value: T,
        _ type: String,
        is literal: String
    ) async throws {
        let query: PostgresQuery = """
            SELECT \(value)::\(unescaped: type) IS NOT DISTINCT FROM \(unescaped: literal)::\(unescaped: type),
                \(value)::\(unescaped: type), \(unescaped: literal)::\(unescaped: type)
            """
        let rows = try await pool.query(query).decode((Bool, T, T).self)
        let (isSame, sent, written) = try #require(rows.first)
        #expect(isSame, "\(value) is not \(literal)")
        #expect(sent == value)
        #expect(written == value)
    }

    @Test func scalars() async throws {
        let pool = try await makePool(connections: 1)
        for value in [Int64.min, -1, 0, 1, 4_294_967_296, .max] {
            // The least integer has no literal of its own: its digits without the sign are out of range.
            try await check(pool, value, "bigint", is: "'\(value)'")
            try await check(pool, Int(value), "bigint", is: "'\(value)'")
        }
        for value in [Int32.min, -1, 0, .max] { try await check(pool, value, "integer", is: "'\(value)'") }
        for value in [true, false] { try await check(pool, value, "boolean", is: "\(value)") }
        for value in [0, -1.5, 1e300, .leastNonzeroMagnitude, .infinity, -.infinity] {
            try await check(pool, value, "double precision", is: "'\(value)'")
        }
        #expect(try await pool.value("SELECT \(Double.nan)", as: Double.self).isNaN)
        for value in ["", "it's", "Grüße, 世界 👩‍👩‍👧‍👦", "e\u{301}", "\u{FEFF}\u{10FFFF}", "$1 \\ % \" \t\r\n"] {
            try await check(pool, value, "text", is: "'\(value.replacing("'", with: "''"))'")
            try await check(pool, Name(rawValue: value), "text", is: "'\(value.replacing("'", with: "''"))'")
        }
        try await check(pool, [UInt8](0...255), "bytea", is: "'\\x" + (0...255).map(hex).joined() + "'")
        try await check(pool, [UInt8](), "bytea", is: "''")
        await pool.shutdown()
    }

    private func hex(_ byte: Int) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }

    @Test func nulls() async throws {
        let pool = try await makePool(connections: 1)
        try await check(pool, Int64?.none, "bigint", is: "NULL")
        try await check(pool, Int?.none, "bigint", is: "NULL")
        try await check(pool, Int32?.none, "integer", is: "NULL")
        try await check(pool, Bool?.none, "boolean", is: "NULL")
        try await check(pool, Double?.none, "double precision", is: "NULL")
        try await check(pool, String?.none, "text", is: "NULL")
        try await check(pool, [UInt8]?.none, "bytea", is: "NULL")
        try await check(pool, [Int64]?.none, "bigint[]", is: "NULL")
        try await check(pool, Int64?.some(7), "bigint", is: "7")
        try await check(pool, String?.some(""), "text", is: "''")
        await pool.shutdown()
    }

    @Test func arrays() async throws {
        let pool = try await makePool(connections: 1)
        try await check(pool, [Int64](), "bigint[]", is: "'{}'")
        try await check(pool, [Int64.min, 0, .max], "bigint[]", is: "'{\(Int64.min),0,\(Int64.max)}'")
        try await check(pool, [1, nil, 3] as [Int64?], "bigint[]", is: "'{1,NULL,3}'")
        try await check(pool, ["a", "", "ü,\"\\"], "text[]", is: #"ARRAY['a', '', E'ü,"\\']"#)
        try await check(pool, ["a", nil, "NULL"] as [String?], "text[]", is: "ARRAY['a', NULL, 'NULL']")
        try await check(pool, [nil] as [String?], "text[]", is: "ARRAY[NULL]")
        try await check(pool, [true, false], "boolean[]", is: "'{t,f}'")
        try await check(pool, [0.5, -2], "double precision[]", is: "'{0.5,-2}'")
        try await check(pool, [[0, 255], []] as [[UInt8]], "bytea[]", is: #"ARRAY['\x00ff', '\x']::bytea[]"#)
        try await check(pool, [Name(rawValue: "x")], "text[]", is: "'{x}'")
        await pool.shutdown()
    }

    @Test func manyRowsFromArrays() async throws {
        let pool = try await makePool(connections: 1)
        try await pool.withConnection { connection in
            try await connection.execute(script: "CREATE TEMPORARY TABLE t (id bigint, name text, note text, n bigint)")
            let ids = (0..<5000).map(Int64.init)
            let names = ids.map { "name \($0) 名" }
            let notes: [String?] = ids.map { $0.isMultiple(of: 3) ? nil : String(repeating: "x", count: Int($0 % 97)) }
            let inserted = try await connection.query(
                """
                INSERT INTO t SELECT a, b, c, d
                FROM unnest(\(ids)::bigint[], \(names)::text[], \(notes)::text[], \(ids.map(Optional.some))::bigint[])
                    AS rows (a, b, c, d)
                """
            )
            #expect(inserted.affected == 5000)
            let rows = try await connection.query("SELECT id, name, note, n FROM t ORDER BY id")
                .decode((Int64, String, String?, Int?).self)
            #expect(rows.map(\.0) == ids)
            #expect(rows.map(\.1) == names)
            #expect(rows.map(\.2) == notes)
            #expect(rows.map(\.3) == ids.map(Int.init))
            let arrays = try await connection.query(
                "SELECT array_agg(note ORDER BY id), array_agg(id ORDER BY id) FROM t"
            )
            .decode(([String?], [Int64]).self)
            #expect(arrays.first?.0 == notes)
            #expect(arrays.first?.1 == ids)
        }
        await pool.shutdown()
    }

    @Test func textFitsTypesThatReadText() async throws {
        let pool = try await makePool(connections: 1)
        let uuid = "0190a5c8-0f00-7abc-8def-0123456789ab"
        try await pool.withConnection { connection in
            try await connection.execute(
                script:
                    "CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE TABLE t (a uuid, b jsonb, c mood, d varchar(9))"
            )
            let returned = try await connection.query(
                """
                INSERT INTO t VALUES (\(uuid), \(#"{"a": 1}"#), \("sad"), \("short"))
                RETURNING a, b, c, d, a::text::name, '{"a":1}'::json
                """
            ).decode((String, String, String, String, String, String).self)
            let row = try #require(returned.first)
            #expect(row == (uuid, #"{"a": 1}"#, "sad", "short", uuid, #"{"a":1}"#))
        }
        await pool.shutdown()
    }

    @Test func badValuesAreRefused() async throws {
        let pool = try await makePool(connections: 1)
        #expect(await code { try await pool.query("SELECT \("a\0b")") } == .invalidStatement)
        #expect(await code { try await pool.query("SELECT 1 -- \0") } == .invalidStatement)
        #expect(await failure { try await pool.query("SELECT \(["a\0b"])::text[]") }?.sqlState == "22021")
        #expect(await code { try await pool.query("SELECT 1").decode(String.self) } == .decoding)
        #expect(await code { try await pool.query("SELECT NULL::bigint").decode(Int64.self) } == .decoding)
        #expect(await code { try await pool.query("SELECT 5000000000").decode(Int32.self) } == .decoding)
        #expect(await code { try await pool.query("SELECT 1, 2").decode(Int.self) } == .decoding)
        #expect(await code { try await pool.query("SELECT '{{1,2}}'::bigint[]").decode([Int64].self) } == .decoding)
        #expect(await code { try await pool.query("COPY (SELECT 1) TO STDOUT") } == .invalidStatement)
        let many = (0..<65_536).reduce(
            into: PostgresQuery.StringInterpolation(literalCapacity: 0, interpolationCount: 0)
        ) {
            $0.appendInterpolation($1)
        }
        #expect(await code { try await pool.query(PostgresQuery(stringInterpolation: many)) } == .invalidStatement)
        #expect(try await pool.value("SELECT 1", as: Int32.self) == 1)
        await pool.shutdown()
    }

    @Test func rowsByName() async throws {
        let pool = try await makePool(connections: 1)
        let rows = try await pool.query(#"SELECT 1::bigint AS id, 'x' AS "Name", NULL::text AS note"#)
        #expect(rows.count == 1)
        let row = try #require(rows.first)
        #expect(try row.decode("id", as: Int.self) == 1)
        #expect(try row.decode(#""Name""#, as: String.self) == "x")
        #expect(try row.decode("note", as: String?.self) == nil)
        #expect(await code { try row.decode("absent", as: String.self) } == .decoding)
        await pool.shutdown()
    }

    @Test func interpolationNeverBecomesText() async throws {
        let pool = try await makePool(connections: 1)
        let evil = "'; DROP TABLE t; --"
        let query: PostgresQuery = "SELECT \(evil), \(7) AS \(identifier: "a\"b")"
        #expect(query.sql == #"SELECT $1, $2 AS "a""b""#)
        let rows = try await pool.query(query)
        #expect(try rows.first?.decode("\"a\"\"b\"", as: Int.self) == 7)
        #expect(try rows.decode((String, Int).self).first?.0 == evil)
        await pool.shutdown()
    }
}
