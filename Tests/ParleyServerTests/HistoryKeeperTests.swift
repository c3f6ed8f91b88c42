import ParleyCore
import ParleyWire
import PostgresClient
import Testing

@testable import ParleyServer

/// Partitions come before they are needed and go when retention has done with them.
@Suite struct HistoryKeeperTests {
    private let day = HistoryStack.day

    /// Neighbours touch, and none overlap.
    private func expectContiguous(_ partitions: [Partition]) {
        #expect(zip(partitions, partitions.dropFirst()).allSatisfy { $0.range.upperBound == $1.range.lowerBound })
    }

    @Test(arguments: PartitionKeeper.Period.allCases)
    func `the present and what is ahead have partitions`(_ period: PartitionKeeper.Period) async throws {
        try await HistoryStack.with { stack in
            let keeper = stack.keeper(period)
            try await keeper.ensure()
            let partitions = try await stack.partitions()
            #expect(partitions.count == 3)
            expectContiguous(partitions)
            let now = MessageID.lowest(at: WallClock.milliseconds())
            #expect(partitions[0].range.contains(now) || partitions[1].range.contains(now), "or midnight has passed")
            try await keeper.ensure()
            #expect(try await stack.partitions() == partitions)
        }
    }

    @Test func `rows that came before their partition move into it`() async throws {
        try await HistoryStack.with { stack in
            let talk = ConversationID.direct(stack.ann, .random())
            // A message every ten days, for a year that nobody made partitions for.
            let ids = try await stack.archive(36, in: talk, from: WallClock.milliseconds() - 360 * day, step: 10 * day)
            #expect(try await stack.count("messages_default") == 36)
            try await stack.keeper().ensure()
            #expect(try await stack.count("messages_default") == 0)
            let partitions = try await stack.partitions()
            #expect(partitions.count >= 14)
            for partition in partitions {
                let held = ids.count { partition.range.contains(Int64($0.rawValue)) }
                #expect(try await stack.count(partition.name) == Int64(held), "\(partition.name)")
            }
            let page = try await stack.history.page(of: talk, .before(nil), limit: 50)
            #expect(page.messages.map(\.mid) == ids.reversed())
            // They have their indexes like all others.
            let indexes = try await stack.postgres.query(
                """
                SELECT count(*) FROM pg_indexes WHERE tablename LIKE 'messages_2%'
                """
            ).decode(Int64.self)
            #expect(indexes == [Int64(3 * partitions.count)])
        }
    }

    @Test func `another period fills what the old one left`() async throws {
        try await HistoryStack.with { stack in
            try await stack.keeper(.month).ensure()
            let months = try await stack.partitions()
            try await stack.keeper(.week).ensure()
            // But a week that began before the month did.
            #expect(try await stack.partitions().suffix(3) == months[...])
            var keeper = stack.keeper(.week)
            keeper.ahead = 20
            try await keeper.ensure()
            let weeks = try await stack.partitions()
            #expect(weeks.count > months.count + 5)
            #expect(Set(weeks).isSuperset(of: months))
            expectContiguous(weeks)
            keeper = stack.keeper(.month)
            keeper.ahead = 8
            try await keeper.ensure()
            let all = try await stack.partitions()
            #expect(all.starts(with: weeks))
            #expect(all.count > weeks.count)
            expectContiguous(all)
        }
    }

    /// Two workers, and an archiver that goes on writing into the default partition.
    @Test func `nothing is lost or doubled while rows move`() async throws {
        try await HistoryStack.with { stack in
            let pool = PostgresPool(configuration: PostgresConfiguration(url: stack.databaseURL, connections: 3))
            let talk = ConversationID.direct(stack.ann, .random())
            let start = WallClock.milliseconds() - 200 * day
            try await stack.archive(2000, in: talk, from: start, step: day / 20)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for period in [PartitionKeeper.Period.week, .week] {
                    group.addTask {
                        let keeper = PartitionKeeper(postgres: pool, period: period, logger: HistoryStack.logger)
                        // A row that slips in between the move and the lock ends a try, not the next one.
                        for _ in 0..<5 { try? await keeper.ensure() }
                    }
                }
                group.addTask {
                    for number in 0..<40 {
                        // A partition that is attached at the moment may refuse what was meant for the default one: the
                        // archiver comes again with all of it, and so does this.
                        let first = start + Int64(number) * 2 * day + 1
                        while (try? await stack.archive(10, in: talk, from: first, step: day / 5)) == nil {
                            try await Task.sleep(for: .milliseconds(10))
                        }
                    }
                }
                try await group.waitForAll()
            }
            try await stack.keeper(.week).ensure()
            #expect(try await stack.count("messages_default") == 0)
            #expect(try await stack.count("messages") == 2400)
            let partitions = try await stack.partitions()
            #expect(zip(partitions, partitions.dropFirst()).allSatisfy { $0.range.upperBound <= $1.range.lowerBound })
            await pool.shutdown()
        }
    }

    // MARK: Retention

    /// A conversation with a message a day for a hundred days, and one that ended after the first twenty.
    private func withOldTalks(
        _ body: (HistoryStack, _ talk: ConversationID, _ ended: ConversationID, _ ids: [MessageID]) async throws -> Void
    ) async throws {
        try await HistoryStack.with { stack in
            let talk = ConversationID.direct(stack.ann, .random())
            let ended = ConversationID.direct(stack.ann, .random())
            let begin = WallClock.milliseconds() - 100 * day
            let ids = try await stack.archive(100, in: talk, from: begin, step: day)
            try await stack.archive(20, in: ended, from: begin, step: day)
            try await stack.keeper(.week).ensure()
            try await body(stack, talk, ended, ids)
        }
    }

    @Test func `without retention nothing goes`() async throws {
        try await withOldTalks { stack, _, _, _ in
            try await stack.keeper(.week).drop()
            #expect(try await stack.count("messages") == 120)
        }
    }

    @Test func `partitions go when all of them is older than is kept`() async throws {
        try await withOldTalks { stack, talk, ended, ids in
            let before = try await stack.partitions()
            let kept = MessageID.lowest(at: WallClock.milliseconds() - 30 * day)
            try await stack.keeper(.week, retentionDays: 30).drop()
            let after = try await stack.partitions()
            #expect(after == before.filter { $0.range.upperBound > kept })
            #expect(after.count < before.count)
            let floor = try #require(after.first).range.lowerBound
            let left = ids.filter { $0.rawValue >= UInt64(floor) }
            #expect((30...37).contains(left.count))

            // Paging ends where history does; by sequence numbers it begins there.
            let page = try await stack.history.page(of: talk, .before(nil), limit: 100)
            #expect(page.messages.map(\.mid) == left.reversed())
            #expect(!page.hasMore)
            let resync = try await stack.history.page(of: talk, .afterSequence(3), limit: 100)
            #expect(resync.messages.map(\.mid) == left)
            #expect(try await stack.history.page(of: ended, .before(nil), limit: 10).messages.isEmpty)
            let heads = try await stack.postgres.query("SELECT conversation_id FROM conversation_heads")
            #expect(try heads.decode(String.self) == [talk.description])

            // Numbers go on where they were, also of what is gone.
            #expect(try await stack.history.lastSequence(of: talk) == 100)
            #expect(try await stack.history.lastSequence(of: ended) == 20)
            let jumps = try await stack.postgres.query(
                """
                SELECT conversation_id, after_seq, to_seq FROM conversation_jumps WHERE epoch = 'retention'
                ORDER BY conversation_id = \(ended.description)
                """
            ).decode((String, Int64, Int64).self)
            #expect(jumps.map { $0.0 } == [talk.description, ended.description])
            #expect(jumps.map { $0.1 } == [0, 0])
            #expect(jumps.map { $0.2 } == [100 - Int64(left.count), 20])

            try await stack.keeper(.week, retentionDays: 30).drop()
            #expect(try await stack.partitions() == after)
        }
    }

    @Test func `a jump within what is dropped is counted once`() async throws {
        try await withOldTalks { stack, talk, _, _ in
            _ = try await stack.postgres.query(
                """
                INSERT INTO conversation_jumps (conversation_id, after_seq, to_seq, epoch)
                VALUES (\(talk.description), 5, 10, 'old'), (\(talk.description), 95, 99, 'new')
                """
            )
            try await stack.keeper(.week, retentionDays: 30).drop()
            let epochs = try await stack.postgres.query(
                "SELECT epoch FROM conversation_jumps WHERE conversation_id = \(talk.description) ORDER BY after_seq"
            ).decode(String.self)
            #expect(epochs == ["retention", "new"])
        }
    }

    @Test func `with messages goes what their changes left`() async throws {
        try await withOldTalks { stack, talk, _, ids in
            _ = try await stack.postgres.query(
                """
                INSERT INTO message_changes (conversation_id, change_id, seq, sender_id, content_hash)
                SELECT \(talk.description), id + 1, 1, \(stack.ann.description), ''
                FROM unnest(\(ids.map { Int64($0.rawValue) })::bigint[]) AS id
                """
            )
            try await stack.keeper(.week, retentionDays: 30).drop()
            let messages = try await stack.count("messages")
            #expect(try await stack.count("message_changes") == messages)
            #expect(messages < 40)
        }
    }

    @Test func `a late send that may be among what was dropped is not judged`() async throws {
        try await withOldTalks { stack, talk, _, _ in
            let now = WallClock.milliseconds()
            func find(_ age: Int64) async throws -> History.Commit? {
                let cid = HistoryStack.cid(77_777, milliseconds: now - age)
                return try await stack.history.find(cid, from: stack.ann, in: talk)
            }
            #expect(try await find(90 * day) == nil, "nothing is dropped yet: it was never sent")
            try await stack.keeper(.week, retentionDays: 30).drop()
            #expect(try await find(11 * 60_000) == nil)
            #expect(try await find(28 * day) == nil)
            for age in [39, 90] {
                await #expect(throws: HistoryError.beyondRetention) { try await find(Int64(age) * day) }
            }
            // What is still there is found, also the oldest.
            let kept = try await stack.postgres.query(
                "SELECT cid FROM messages WHERE conversation_id = \(talk.description) ORDER BY message_id LIMIT 1"
            ).decode(String.self)
            let cid = try #require(kept.first.flatMap { ClientMessageID($0) })
            #expect(try await stack.history.find(cid, from: stack.ann, in: talk) != nil)
        }
    }

    /// Readers that wait for the lock wait behind who waits for it: the keeper gives up soon and tries again.
    @Test func `a reader that takes its time delays the drop, not the others`() async throws {
        try await withOldTalks { stack, talk, _, _ in
            let pool = PostgresPool(configuration: PostgresConfiguration(url: stack.databaseURL, connections: 2))
            try await pool.withConnection { reader in
                try await reader.execute(script: "BEGIN; SELECT count(*) FROM messages")
                await #expect(throws: PostgresError.self) { try await stack.keeper(.week, retentionDays: 30).drop() }
                _ = try await reader.query("SELECT count(*) FROM messages")
            }
            #expect(try await stack.count("messages") == 120)
            #expect(try await stack.history.lastSequence(of: talk) == 100)
            try await stack.keeper(.week, retentionDays: 30).drop()
            #expect(try await stack.count("messages") < 60)
            await pool.shutdown()
        }
    }
}
