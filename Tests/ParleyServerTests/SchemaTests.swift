import PostgresClient
import Testing

@testable import ParleyServer

@Suite struct SchemaTests {
    /// FNV-1a of each migration, by version. A database that has one refuses another in its place: to mend it, add one.
    private static let released: [UInt64] = [
        0x5da6e9b926246688, 0x7f9a8d1555638f07, 0x8c525e49167acc69, 0x9ca4508f2a4b7035, 0x70c2a305cd1b73b4,
        0x7dd568c0f46efd1b, 0xb02499129b783746, 0xa6d37bc4d5efafcf, 0xb2ed8810cf80de01, 0x12df1213a0ddea40,
        0xd0ec362fd8f1880d, 0x5bcca1940433920f,
    ]

    @Test func `a migration that was released is never changed`() {
        let digests = SchemaMigrations.all.map { migration in
            migration.sql.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        }
        #expect(Array(digests.prefix(Self.released.count)) == Self.released)
        #expect(SchemaMigrations.all.map(\.version) == Array(1...SchemaMigrations.newest))
    }
}
