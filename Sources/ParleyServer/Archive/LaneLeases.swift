import ParleyCore
import PostgresClient

/// Which lanes a worker archives: its fair share, held by leases with a fencing token.
struct LaneLeases: Sendable {
    /// A lane that this worker holds.
    struct Lease: Sendable {
        let lane: Lane
        /// Raised by each taker; the archiving transaction compares it.
        let token: Int64
        /// Message id of the last archived entry, 0 for none.
        var position: Int64
    }

    let postgres: PostgresPool
    let worker: String
    /// Milliseconds.
    static let duration: Int64 = 10_000

    /// Renews what is held, gives back what is over the fair share, and takes free lanes up to it.
    /// - Returns: the leases that hold for `duration` from now on; positions of newly taken lanes are current.
    func renew(_ held: [Lane: Lease]) async throws -> [Lane: Lease] {
        try await postgres.transaction { connection in
            _ = try await connection.query(
                """
                INSERT INTO workers (name, seen_at) VALUES (\(worker), now_ms())
                ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at
                """
            )
            let alive = try await connection.query(
                "SELECT count(*) FROM workers WHERE seen_at > now_ms() - \(Self.duration)"
            )
            let workers: [Int64] = try alive.decode(Int64.self)
            let share = (Lane.count + max(1, Int(workers.first ?? 1)) - 1) / max(1, Int(workers.first ?? 1))

            let surplus = held.values.sorted { $0.lane.number < $1.lane.number }.dropFirst(share)
            if !surplus.isEmpty { try await Self.release(Array(surplus), on: connection) }
            let kept = held.values.filter { lease in !surplus.contains { $0.lane == lease.lane } }

            let renewed = try await connection.query(
                """
                UPDATE lanes SET lease_until = now_ms() + \(Self.duration)
                FROM unnest(\(kept.map { Int64($0.lane.number) })::bigint[], \(kept.map(\.token))::bigint[]) AS mine(lane, token)
                WHERE lanes.lane = mine.lane AND lanes.token = mine.token
                RETURNING lanes.lane::bigint, lanes.token, lanes.position
                """
            )
            let taken = try await connection.query(
                """
                UPDATE lanes SET token = token + 1, owner = \(worker), lease_until = now_ms() + \(Self.duration)
                WHERE lane IN (
                    SELECT lane FROM lanes WHERE lease_until < now_ms()
                    ORDER BY lane LIMIT \(Int64(max(0, share - kept.count))) FOR UPDATE SKIP LOCKED
                )
                RETURNING lane::bigint, token, position
                """
            )
            var leases: [Lane: Lease] = [:]
            for rows in [renewed, taken] {
                for (lane, token, position) in try rows.decode((Int64, Int64, Int64).self) {
                    let lane = Lane(number: Int(lane))
                    leases[lane] = Lease(lane: lane, token: token, position: position)
                }
            }
            return leases
        }
    }

    /// Gives lanes back so that another worker need not wait for the leases to end.
    func release(_ leases: [Lease]) async throws {
        try await postgres.withConnection { connection in
            try await Self.release(leases, on: connection)
            _ = try await connection.query("DELETE FROM workers WHERE name = \(worker)")
        }
    }

    private static func release(_ leases: [Lease], on connection: PostgresConnection) async throws {
        _ = try await connection.query(
            """
            UPDATE lanes SET lease_until = 0, owner = NULL
            FROM unnest(\(leases.map { Int64($0.lane.number) })::bigint[], \(leases.map(\.token))::bigint[]) AS mine(lane, token)
            WHERE lanes.lane = mine.lane AND lanes.token = mine.token
            """
        )
    }
}
