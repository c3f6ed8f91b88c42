import ParleyCore
import ParleyWire
import Testing

/// A conversation's lane and a user's shard are for good: keys and message ids on disk depend on them.
@Suite struct LaneTests {
    @Test(arguments: [("d:ann:bob", 190), ("d:0123456789ab:zyxwvtsrqpnm", 206), ("g:lobby", 37), ("g:0", 180)])
    func `lanes stay what they are`(conversation: String, lane: Int) throws {
        #expect(Lane(of: try #require(ConversationID(conversation))).number == lane)
    }

    @Test(arguments: [("ann", 417), ("bob", 589), ("0123456789ab", 719)])
    func `shards stay what they are`(user: String, shard: Int) throws {
        #expect(UserShard(of: try #require(UserID(user))).number == shard)
    }

    @Test func `the counts are part of the layout`() {
        #expect(Lane.count == 256)
        #expect(UserShard.count == 1024)
        #expect(Lane.all.map(\.number) == Array(0..<256))
        #expect(Lane(number: 17).description == "L17")
    }

    @Test func `random conversations spread evenly`() throws {
        var random = SplitMix64(state: 1)
        let alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
        func user() throws -> UserID {
            try #require(UserID(String((0..<12).compactMap { _ in alphabet.randomElement(using: &random) })))
        }
        var load = [Int](repeating: 0, count: Lane.count)
        for _ in 0..<10_000 { load[Lane(of: .direct(try user(), try user())).number] += 1 }
        let mean = 10_000 / Double(Lane.count)
        #expect(Double(try #require(load.max())) / mean <= 2)
        #expect(try #require(load.min()) > 0)
    }
}
