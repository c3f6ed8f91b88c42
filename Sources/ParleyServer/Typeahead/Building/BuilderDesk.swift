import PostgresClient

/// The row of PostgreSQL in which lists are asked for and builders take turns.
struct BuilderDesk: Sendable {
    let postgres: PostgresPool

    /// Milliseconds; renewed each third of it.
    static let lease: Int64 = 30_000

    /// A turn at building.
    struct Turn: Sendable {
        let token: Int64
        /// Up to which request it answers.
        let asked: Int64
    }

    struct Standing: Sendable {
        let owner: String?
        let asked: Int64
        let answered: Int64
        /// Milliseconds from now; below 0 where it is due.
        let nextIn: Int64
        let isResting: Bool
        /// nil where nobody builds now.
        let progress: String?
        let outcome: String?
        let isGood: Bool?
        /// Milliseconds ago.
        let outcomeAgo: Int64?
    }

    /// Asks for a build; whoever rests after a rollback goes on.
    /// - Returns: the request's number.
    func ask() async throws -> Int64 {
        let rows = try await postgres.query(
            "UPDATE suggest_builder SET asked = asked + 1, is_resting = false RETURNING asked"
        )
        return try rows.decode(Int64.self).first ?? 0
    }

    /// - Returns: nil where nothing is due, or somebody builds already.
    func take(_ worker: String) async throws -> Turn? {
        let rows = try await postgres.query(
            """
            UPDATE suggest_builder
            SET token = token + 1, owner = \(worker), lease_until = now_ms() + \(Self.lease), progress = 'begins'
            WHERE lease_until < now_ms() AND (asked > answered OR next_at <= now_ms() AND NOT is_resting)
            RETURNING token, asked
            """
        )
        return try rows.decode((Int64, Int64).self).first.map { Turn(token: $0.0, asked: $0.1) }
    }

    /// - Returns: whether it is still this one's turn.
    func renew(_ turn: Turn, _ progress: String) async throws -> Bool {
        try await postgres.query(
            """
            UPDATE suggest_builder SET lease_until = now_ms() + \(Self.lease), progress = \(progress)
            WHERE token = \(turn.token) AND lease_until > 0
            """
        ).affected == 1
    }

    /// Ends a turn. What failed is tried again with the schedule's next, or when somebody asks.
    /// - Parameter period: milliseconds until the schedule's next.
    func end(_ turn: Turn, outcome: String, isGood: Bool, period: Int64) async throws {
        _ = try await postgres.query(
            """
            UPDATE suggest_builder
            SET lease_until = 0, owner = NULL, progress = NULL, answered = greatest(answered, \(turn.asked)),
                next_at = now_ms() + \(period), outcome = \(outcome), is_good = \(isGood), outcome_at = now_ms()
            WHERE token = \(turn.token)
            """
        )
    }

    /// Nothing is built by the schedule until somebody asks.
    func rest() async throws { _ = try await postgres.query("UPDATE suggest_builder SET is_resting = true") }

    func standing() async throws -> Standing {
        let row = try await postgres.query(
            """
            SELECT CASE WHEN lease_until > now_ms() THEN owner END AS owner, asked, answered,
                next_at - now_ms() AS next_in, is_resting, CASE WHEN lease_until > now_ms() THEN progress END AS progress,
                outcome, is_good, now_ms() - outcome_at AS outcome_ago
            FROM suggest_builder
            """
        )[0]
        return Standing(
            owner: try row.decode("owner"),
            asked: try row.decode("asked"),
            answered: try row.decode("answered"),
            nextIn: try row.decode("next_in"),
            isResting: try row.decode("is_resting"),
            progress: try row.decode("progress"),
            outcome: try row.decode("outcome"),
            isGood: try row.decode("is_good"),
            outcomeAgo: try row.decode("outcome_ago")
        )
    }
}
