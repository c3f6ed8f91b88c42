import Crypto
import ParleyWire
import PostgresClient

/// Users as their searches know them: keyed hashes. The key is PostgreSQL's, so that Redis alone tells nothing of who
/// searched for what, and the sets of two queries share nothing.
struct SearchPseudonyms: Sendable {
    private let key: SymmetricKey

    init(key: [UInt8]) { self.key = SymmetricKey(data: key) }

    /// - Throws: what the database says.
    init(from postgres: PostgresPool) async throws {
        let keys: [[UInt8]] = try await postgres.query("SELECT key FROM search_key").decode([UInt8].self)
        guard let key = keys.first else { throw PostgresError(.decoding, "the table search_key is empty") }
        self.init(key: key)
    }

    /// 16 bytes.
    func pseudonym(of user: UserID) -> [UInt8] { hash([Array(user.description.utf8)]) }

    /// One of the users who searched for something, told apart from the others who did and from nobody else.
    func member(_ pseudonym: [UInt8], of query: SearchedQuery) -> String {
        Base64.url.encode(hash([pseudonym, Array(query.locale.utf8), Array(query.text.utf8)]))
    }

    private func hash(_ parts: [[UInt8]]) -> [UInt8] {
        var code = HMAC<SHA256>(key: key)
        for part in parts {
            // No two lists of parts are the same bytes.
            withUnsafeBytes(of: UInt32(part.count).bigEndian) { code.update(data: $0) }
            code.update(data: part)
        }
        return Array(code.finalize().prefix(16))
    }
}
