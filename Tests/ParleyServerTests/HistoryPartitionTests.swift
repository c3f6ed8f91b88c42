import ParleyCore
import ParleyWire
import PostgresClient
import Testing

@testable import PostgresClient
@testable import ParleyServer

/// Pages of history read the partitions that hold their messages, and no others.
@Suite struct HistoryPartitionTests {
    /// A stack with five hundred days in weekly partitions and these conversations in it.
    private struct Archive {
        /// The newest message's time: the middle of a week, 2026-06-18T00:00Z.
        static let now: Int64 = 1_781_740_800_000
        let stack: HistoryStack
        let history: History
        /// 20,000 messages, one every 36 minutes, the last one just now.
        let busy: ConversationID
        let ids: [MessageID]
        /// Three messages of today.
        let young: ConversationID
        /// Sixty messages of one minute, 300 days ago.
        let silent: ConversationID
        /// Twenty messages, one in 25 days.
        let rare: ConversationID

        static func with(
            settings: [String: String] = [:],
            _ body: (Archive) async throws -> Void
        ) async throws {
            try await HistoryStack.with(settings: settings) { stack in
                let conversations = (0..<4).map { _ in ConversationID.direct(stack.ann, .random()) }
                let (minute, day) = (HistoryStack.day / 1440, HistoryStack.day)
                let begin = now - 19_999 * 36 * minute
                let ids = try await stack.archive(20_000, in: conversations[0], from: begin, step: 36 * minute)
                try await stack.archive(3, in: conversations[1], from: now - 3000, step: 1000)
                try await stack.archive(60, in: conversations[2], from: now - 300 * day, step: 1000)
                try await stack.archive(20, in: conversations[3], from: now - 19 * 25 * day, step: 25 * day)
                // Others', so that the planner has something to choose from: 30,000 of all the time, 10,000 of today.
                _ = try await stack.postgres.query(
                    """
                    INSERT INTO messages (conversation_id, message_id, seq, sender_id, cid, body)
                    SELECT 'd:other:' || number % 500,
                        (\(now - MessageID.epochUnixMilliseconds) - CASE WHEN number <= 30000 THEN number * 24 * \(minute)
                            ELSE number - 30000 END) << 22, 50000 - number, 'other', 'cid' || number, 'noise'
                    FROM generate_series(1, 40000) AS number
                    """
                )
                try await stack.keeper(.week).ensure()
                _ = try await stack.postgres.query("ANALYZE messages")
                try await body(
                    Archive(
                        stack: stack,
                        history: stack.history,
                        busy: conversations[0],
                        ids: ids,
                        young: conversations[1],
                        silent: conversations[2],
                        rare: conversations[3]
                    )
                )
            }
        }

        /// The partition that a message belongs into.
        func home(of mid: MessageID) async throws -> String? {
            try await stack.partitions().first { $0.range.contains(Int64(mid.rawValue)) }?.name
        }

        func searched(_ body: () async throws -> Void) async throws -> [String] { try await stack.searched(body) }
    }

    @Test(arguments: ["auto", "force_custom_plan", "force_generic_plan"])
    func `pages and look-ups search one partition`(_ planning: String) async throws {
        try await Archive.with(settings: ["plan_cache_mode": planning]) { archive in
            #expect(try await archive.stack.partitions().count > 70)
            #expect(try await archive.stack.count("messages_default") == 0)
            let (history, busy, ids) = (archive.history, archive.busy, archive.ids)
            let newest = try #require(try await archive.home(of: ids[19_999]))

            // Often enough that a plan for all parameters is considered.
            let recent = try await archive.searched {
                for _ in 0..<8 {
                    let page = try await history.page(of: busy, .before(nil), limit: 50)
                    #expect(page.messages.map(\.mid) == ids.suffix(50).reversed())
                    #expect(page.hasMore)
                }
            }
            #expect(recent == [newest])

            // In the middle of a week, two hundred days ago.
            let week = try #require(
                try await archive.stack.partitions().first { $0.range.contains(Int64(ids[13_600].rawValue)) }
            )
            let place = try #require(
                ids.lastIndex { $0.rawValue < UInt64(week.range.lowerBound + week.range.upperBound) / 2 }
            )
            let deep = try await archive.searched {
                for _ in 0..<8 {
                    let page = try await history.page(of: busy, .before(ids[place]), limit: 50)
                    #expect(page.messages.map(\.mid) == ids[(place - 50)..<place].reversed())
                }
            }
            #expect(deep == [week.name])
            let forward = try await archive.searched {
                let page = try await history.page(of: busy, .after(ids[place]), limit: 50)
                #expect(page.messages.map(\.mid) == Array(ids[(place + 1)...(place + 50)]))
            }
            #expect(forward == [week.name])

            // What a client missed: ten messages of the recent end, by their sequence numbers.
            let missed = try await archive.searched {
                for _ in 0..<8 {
                    let page = try await history.page(of: busy, .afterSequence(19_990), limit: 50)
                    #expect(page.messages.map(\.seq) == Array(19_991...20_000))
                    #expect(!page.hasMore)
                }
            }
            #expect(missed == [newest])

            // All that a young conversation has, though the page is not full.
            let young = try await archive.searched {
                for window in [History.Window.before(nil), .afterSequence(0)] {
                    let page = try await history.page(of: archive.young, window, limit: 50)
                    #expect(page.messages.count == 3)
                }
                let last = try await history.lastSequence(of: archive.young)
                #expect(last == 3)
            }
            #expect(young == [newest])

            // As the list of conversations asks, which knows the newest message of each.
            let list = try await archive.searched {
                for _ in 0..<8 {
                    let found = try await history.archive.entries([(busy, ids[19_999]), (busy, ids[19_990])])
                    #expect(Set(found.map(\.seq)) == [20_000, 19_991])
                }
            }
            #expect(list == [newest])
        }
    }

    @Test func `a late send is looked up from its cid's time on`() async throws {
        try await Archive.with { archive in
            let (history, ann) = (archive.history, archive.stack.ann)
            let newest = try #require(try await archive.home(of: archive.ids[19_999]))
            let searched = try await archive.searched {
                for number in 0..<8 {
                    let cid = HistoryStack.cid(1_000_000 + number, milliseconds: Archive.now - 660_000)
                    let found = try await history.find(cid, from: ann, in: archive.busy)
                    #expect(found == nil)
                }
            }
            #expect(searched == [newest])
        }
    }

    @Test func `what stands far back is found, partition after partition`() async throws {
        try await Archive.with { archive in
            let history = archive.history
            let page = try await history.page(of: archive.silent, .before(nil), limit: 50)
            #expect(page.messages.map(\.seq) == (11...60).reversed())
            #expect(page.hasMore)
            let rest = try await history.page(of: archive.silent, .before(page.messages[49].mid), limit: 50)
            #expect(rest.messages.map(\.seq) == (1...10).reversed())
            #expect(!rest.hasMore)
            for window in [History.Window.before(nil), .afterSequence(0), .afterSequence(7)] {
                let rare = try await history.page(of: archive.rare, window, limit: 50)
                let first = window == .afterSequence(7) ? 8 : 1
                #expect(rare.messages.map(\.seq).sorted() == (first...20).map(Int64.init))
            }

            // Every message once, from both ends.
            var (seen, cursor): ([Int64], MessageID?) = ([], nil)
            repeat {
                let page = try await history.page(of: archive.busy, .before(cursor), limit: 1500)
                seen += page.messages.map(\.seq)
                cursor = page.hasMore ? page.messages.last?.mid : nil
            } while cursor != nil
            #expect(seen == (1...20_000).reversed())
            var (up, after): ([Int64], MessageID?) = ([], MessageID(rawValue: 0))
            while let place = after {
                let page = try await history.page(of: archive.busy, .after(place), limit: 1500)
                up += page.messages.map(\.seq)
                after = page.hasMore ? page.messages.last?.mid : nil
            }
            #expect(up == (1...20_000).map(Int64.init))
            // A floor is a conversation's beginning for who joined there.
            let floor = archive.ids[19_980]
            for window in [History.Window.before(nil), .afterSequence(0), .after(archive.ids[5])] {
                let page = try await history.page(of: archive.busy, window, from: floor, limit: 50)
                #expect(page.messages.count == 20)
                #expect(!page.hasMore)
            }
        }
    }

    /// Of a group: 1, 2, ten changes of members in ten weeks, all numbered 2, and 3.
    @Test func `the changes that carry a number come with what follows it`() async throws {
        try await HistoryStack.with { stack in
            let group = try #require(ConversationID("g:team"))
            let (day, lane) = (HistoryStack.day, Lane(of: group).number)
            let numbers: [Int64] = [1, 2] + Array(repeating: 2, count: 10) + [3]
            let ids = numbers.indices.compactMap {
                MessageID(unixMilliseconds: Archive.now - 91 * day + Int64($0) * 7 * day, lane: lane, sequence: 0)
            }
            _ = try await stack.postgres.query(
                """
                INSERT INTO messages (conversation_id, message_id, seq, sender_id, body, type)
                SELECT \(group.description), id, seq, \(stack.ann.description), '',
                    CASE WHEN place BETWEEN 3 AND 12 THEN 'member_added' END
                FROM unnest(\(ids.map { Int64($0.rawValue) })::bigint[], \(numbers)::bigint[])
                    WITH ORDINALITY AS t(id, seq, place)
                """
            )
            _ = try await stack.postgres.query("UPDATE lanes SET position = \(Int64(ids[12].rawValue))")
            try await stack.keeper(.week).ensure()
            #expect(try await stack.partitions().count > 12)
            func after(_ seq: Int64, limit: Int = 50) async throws -> ArraySlice<MessageID> {
                let page = try await stack.history.page(of: group, .afterSequence(seq), limit: limit)
                #expect(page.messages.allSatisfy { ($0.type == .memberAdded) == ids[2...11].contains($0.mid) })
                return page.messages.map(\.mid)[...]
            }
            #expect(try await after(0) == ids[...])
            #expect(try await after(1) == ids[1...])
            #expect(try await after(2) == ids[2...])
            #expect(try await after(2, limit: 6) == ids[9...], "the newest of them, and there is progress")
            #expect(try await after(3) == [])
            let found = try await stack.history.entry(ids[5], in: group)
            #expect(found?.type == .memberAdded && found?.seq == 2)
        }
    }

    /// A reader knows the position of a moment before: messages may have been archived in a later partition since.
    @Test func `a partition that begins while a page is read is read too`() async throws {
        try await Archive.with { archive in
            let (old, ids) = (archive.ids[19_000], archive.ids)
            let position = Int64(old.rawValue)
            let messages = archive.history.archive
            let question = ArchivedMessages.Question(conversation: archive.busy, limit: 1200)
            let newest = try await messages.newest(question, archived: position)
            #expect(newest.map(\.mid).prefix(1200) == ArraySlice(ids.suffix(1200).reversed()))
            var bounded = question
            bounded.upper = Int64(ids[19_990].rawValue)
            #expect(try await messages.newest(bounded, archived: position).first?.mid == ids[19_989])
            var later = question
            later.lower = position
            #expect(try await messages.oldest(later, archived: position).map(\.mid) == Array(ids[19_000...]))
            let cid = try await messages.postgres.query(
                "SELECT cid FROM messages WHERE message_id = \(Int64(ids[19_999].rawValue))"
            ).decode(String.self)
            let found = try await messages.find(
                try #require(cid.first.flatMap { ClientMessageID($0) }),
                from: archive.stack.ann,
                in: archive.busy,
                earliest: position,
                archived: position
            )
            #expect(found?.mid == ids[19_999])
        }
    }

    /// The plan itself names one partition, by whatever parameters: nothing else is planned or locked.
    @Test func `EXPLAIN shows one partition`() async throws {
        try await Archive.with { archive in
            let edges = try await archive.history.archive.partitions.edges()
            let newest = Int64(archive.ids[19_999].rawValue)
            let (range, busy) = (edges.range(of: newest), archive.busy)
            let home = try #require(try await archive.home(of: archive.ids[19_999]))
            var bounded = ArchivedMessages.Question(conversation: busy, limit: 51)
            bounded.upper = newest
            let late = HistoryStack.cid(77_777, milliseconds: Archive.now)
            let questions: [(String, PostgresQuery)] = [
                ("recent", ArchivedMessages.newest(.init(conversation: busy, limit: 51), in: range)),
                ("before", ArchivedMessages.newest(bounded, in: range)),
                ("after", ArchivedMessages.oldest(.init(conversation: busy, lower: newest, limit: 51), in: range)),
                ("place", ArchivedMessages.place(of: busy, below: 19_990, in: range)),
                ("late", ArchivedMessages.search(late, from: archive.stack.ann, in: busy, range)),
            ]
            for (name, query) in questions {
                let plan = try await explain(query, archive.stack.postgres)
                let scans = plan.filter { $0.contains("messages") && $0.contains("Scan") }
                #expect(scans.count == 1, "\(name): \(plan.joined(separator: "\n"))")
                #expect(scans.allSatisfy { $0.contains("Index") && $0.contains(" on \(home) ") }, "\(name): \(scans)")
                #expect(!plan.contains { $0.contains("Sort") || $0.contains("Append") }, "\(name): \(plan)")
            }
        }
    }

    private func explain(_ query: PostgresQuery, _ postgres: PostgresPool) async throws -> [String] {
        var query = query
        query.sql = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) " + query.sql
        return try await postgres.query(query).decode(String.self)
    }
}
