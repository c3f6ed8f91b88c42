import TestSupport
import Testing

@testable import PostgresClient

/// A pool on a fresh database of the server that all tests share.
func makePool(connections: Int = 4, _ adjust: (inout PostgresConfiguration) -> Void = { _ in }) async throws
    -> PostgresPool
{
    var configuration = PostgresConfiguration(url: try await PrivatePostgres.database(), connections: connections)
    adjust(&configuration)
    return PostgresPool(configuration: configuration)
}

/// The error that `body` throws.
func failure(_ body: () async throws -> some Any) async -> PostgresError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? PostgresError
    }
}

func code(_ body: () async throws -> some Any) async -> PostgresError.Code? {
    await failure(body)?.code
}

extension PostgresPool {
    /// The first column of the first row.
    func value<T: PostgresCodable>(_ query: PostgresQuery, as: T.Type = T.self) async throws -> T {
        let values: [T] = try await self.query(query).decode(T.self)
        return try #require(values.first)
    }
}
