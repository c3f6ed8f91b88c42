import NIOCore
import ParleyCore
import PostgresClient
import RedisClient

/// Fills a generation's shard in Redis from PostgreSQL, and empties it.
struct ShardFiller: Sendable {
    let store: SuggestStore
    let redis: RedisClient

    /// Keys live for as long, in seconds: those of a generation that nobody unlinked end by themselves. `ready` ends
    /// before them; then the shard is filled anew.
    static let lifetime = 14 * 86_400
    static let readyLifetime = 13 * 86_400
    /// Members of a command, and sets of one.
    private static let members = 500
    private static let sets = 50
    /// Told of each page.
    typealias Progress = @Sendable (_ entries: Int) -> Void

    enum Outcome: Sendable, Equatable {
        case filled
        /// Another process does it.
        case busy
        /// The generation is not complete, or no more.
        case gone
    }

    struct Mismatch: Error, CustomStringConvertible {
        let description: String
    }

    /// - Parameter waits: for another process that fills the same shard.
    /// - Throws: `Mismatch` when Redis does not have what was written.
    func fill(
        _ generation: SuggestGeneration,
        _ shard: Int,
        waits: Bool = false,
        progress: Progress = { _ in }
    ) async throws -> Outcome {
        // Held to the end: one process fills, and none retires meanwhile what is filled.
        try await store.postgres.transaction { connection in
            if waits {
                _ = try await connection.query("SELECT pg_advisory_xact_lock(\(generation.id), \(Int32(shard)))")
            } else {
                let isMine = try await connection.query(
                    "SELECT pg_try_advisory_xact_lock(\(generation.id), \(Int32(shard)))"
                ).decode(Bool.self)
                guard isMine == [true] else { return .busy }
            }
            let states = try await connection.query(
                "SELECT state FROM suggest_generations WHERE id = \(generation.id) FOR SHARE"
            ).decode(String.self)
            guard states == ["complete"],
                let tally = try await store.tally(of: generation, shard: shard, on: connection)
            else {
                return .gone
            }
            let keys = generation.keys(shard)
            try await fillEntries(generation, shard, keys, connection, progress)
            let prefixes = try await fillPrefixes(generation, shard, keys, connection)
            try await verify(keys, tally, prefixes: prefixes)
            _ = try await redis.send(
                "SET",
                keys.ready,
                String(tally.entries),
                "EX",
                String(Self.readyLifetime),
                repeatable: true
            )
            return .filled
        }
    }

    private func fillEntries(
        _ generation: SuggestGeneration,
        _ shard: Int,
        _ keys: SuggestGeneration.ShardKeys,
        _ connection: PostgresConnection,
        _ progress: Progress
    ) async throws {
        var last: ([UInt8], String)?
        while true {
            let page = try await store.entries(of: generation, shard: shard, after: last, on: connection)
            guard let end = page.last else { return }
            var commands: [RedisCommand] = []
            for start in stride(from: 0, to: page.count, by: Self.members) {
                var words = ["ZADD", keys.entries]
                for (key, display, weight) in page[start..<min(start + Self.members, page.count)] {
                    let member = SuggestMember(key: key, display: display, weight: weight)
                    words += ["0", String(decoding: member.bytes, as: UTF8.self)]
                }
                commands.append(RedisCommand(words))
            }
            commands.append(RedisCommand("EXPIRE", keys.entries, String(Self.lifetime)))
            _ = try await redis.connections[0].send(commands, repeatable: true)
            progress(page.count)
            last = (end.key, end.display)
        }
    }

    /// - Returns: the names of the sets.
    private func fillPrefixes(
        _ generation: SuggestGeneration,
        _ shard: Int,
        _ keys: SuggestGeneration.ShardKeys,
        _ connection: PostgresConnection
    ) async throws -> [String] {
        var names: [String] = []
        var last: [UInt8] = []
        while true {
            let page = try await store.prefixes(of: generation, shard: shard, after: last, on: connection)
            guard let end = page.last else { return names }
            var commands: [RedisCommand] = []
            for start in stride(from: 0, to: page.count, by: Self.sets) {
                let sets = page[start..<min(start + Self.sets, page.count)]
                var words = [String(Self.lifetime)]
                for (_, completions) in sets {
                    let entries = RankedCompletions.read(completions)
                    words.append(String(2 * entries.count))
                    for entry in entries { words += [SuggestMember.text(of: entry.weight), entry.display] }
                }
                let targets = sets.map { keys.prefix($0.prefix) }
                names += targets
                commands.append(RedisFunctions.call("suggest_fill", keys: targets, words))
            }
            _ = try await redis.connections[0].send(commands, repeatable: true)
            last = end.prefix
        }
    }

    private func verify(
        _ keys: SuggestGeneration.ShardKeys,
        _ tally: SuggestGeneration.ShardTally,
        prefixes: [String]
    ) async throws {
        var found = SuggestGeneration.ShardTally()
        while true {
            let members =
                try await redis.send(
                    "ZRANGE",
                    keys.entries,
                    String(found.entries),
                    String(found.entries + SuggestStore.page - 1),
                    repeatable: true
                ).array ?? []
            for member in members {
                guard let bytes = member.bytes else { continue }
                found.checksum &+= SuggestMember.checksum(of: bytes.readableBytesView)
            }
            found.entries += members.count
            if members.count < SuggestStore.page { break }
        }
        for start in stride(from: 0, to: prefixes.count, by: Self.members) {
            let names = prefixes[start..<min(start + Self.members, prefixes.count)]
            found.prefixes += Int(try await redis.send(RedisCommand(["EXISTS"] + names), repeatable: true).integer ?? 0)
        }
        guard found == tally else {
            throw Mismatch(description: "Redis has \(found) of a shard, PostgreSQL \(tally)")
        }
    }

    /// Unlinks what PostgreSQL's rows say was written.
    func empty(_ generation: SuggestGeneration, _ shard: Int) async throws {
        let keys = generation.keys(shard)
        _ = try await redis.send("UNLINK", keys.ready, keys.entries, repeatable: true)
        try await store.postgres.withConnection { connection in
            var last: [UInt8] = []
            while true {
                let page = try await store.prefixes(of: generation, shard: shard, after: last, on: connection)
                guard let end = page.last else { return }
                let commands = stride(from: 0, to: page.count, by: Self.members).map { start in
                    let sets = page[start..<min(start + Self.members, page.count)]
                    return RedisCommand(["UNLINK"] + sets.map { keys.prefix($0.prefix) })
                }
                _ = try await redis.connections[0].send(commands, repeatable: true)
                last = end.prefix
            }
        }
    }
}
