public import Logging
import PostgresClient

/// `parley migrate`: brings the database's schema to this version.
public struct MigrationProcess {
    private let settings: Settings
    private let logger: Logger

    public init(settings: Settings, logger: Logger) {
        self.settings = settings
        self.logger = logger
    }

    /// - Returns: the versions that were applied.
    /// - Throws: `Settings.Problem`.
    public func run() async throws -> [Int] {
        let pool = PostgresPool(configuration: settings.postgres, logger: logger)
        let deadline = ContinuousClock.now + .seconds(20)
        while true {
            do {
                let applied = try await Migrator(pool: pool).migrate(SchemaMigrations.all)
                await pool.shutdown()
                return applied
            } catch let error as PostgresError {
                guard error.code == .connectionFailed, ContinuousClock.now < deadline else {
                    await pool.shutdown()
                    let hint = error.code == .connectionFailed ? " Set PARLEY_POSTGRES_URL." : ""
                    throw Settings.Problem("The database cannot be migrated: \(error.message).\(hint)")
                }
                try await Task.sleep(for: .seconds(1))
            }
        }
    }
}
