import ParleyCore
import ParleyWire
import PostgresClient

/// How far each lane is archived, as message ids; 0 for a lane that never was.
struct ArchivePositions: Sendable {
    let postgres: PostgresPool

    /// Indexed by lane.
    func all() async throws -> [UInt64] {
        var positions = [UInt64](repeating: 0, count: Lane.count)
        let rows = try await postgres.query("SELECT lane, position FROM lanes WHERE position > 0")
        for (lane, position) in try rows.decode((Int32, Int64).self) where positions.indices.contains(Int(lane)) {
            positions[Int(lane)] = UInt64(position)
        }
        return positions
    }

    func position(of lane: Lane) async throws -> UInt64 {
        let rows = try await postgres.query("SELECT position FROM lanes WHERE lane = \(Int32(lane.number))")
        let position: [Int64] = try rows.decode(Int64.self)
        return UInt64(position.first ?? 0)
    }
}
