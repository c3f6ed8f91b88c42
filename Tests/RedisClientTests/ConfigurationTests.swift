import NIOCore
import Testing

@testable import RedisClient

@Suite struct ConfigurationTests {
    struct URLCase: Sendable, CustomTestStringConvertible {
        let url: String
        var host = "h"
        var port = 6379
        var user: String?
        var password: String?
        var database = 0
        var usesTLS = false
        var caFile: String?
        var testDescription: String { url }
    }

    @Test(arguments: [
        URLCase(url: "redis://h"),
        URLCase(url: "redis://h/"),
        URLCase(url: "redis://h:6380/3", port: 6380, database: 3),
        URLCase(url: "rediss://redis.example:6390", host: "redis.example", port: 6390, usesTLS: true),
        URLCase(url: "redis://:secret@h", password: "secret"),
        URLCase(url: "redis://ann:secret@h:1", port: 1, user: "ann", password: "secret"),
        URLCase(url: "redis://ann:s%3Ae%2Fc%40%25@h", user: "ann", password: "s:e/c@%"),
        URLCase(url: "redis://ann:a:b@h", user: "ann", password: "a:b"),
        URLCase(url: "redis://%C3%A4:x@h", user: "ä", password: "x"),
        URLCase(url: "redis://[::1]", host: "::1"),
        URLCase(url: "redis://u:p@[::1]:7000/1", host: "::1", port: 7000, user: "u", password: "p", database: 1),
        URLCase(url: "rediss://h/2?ca=/etc/my%20ca.pem", database: 2, usesTLS: true, caFile: "/etc/my ca.pem"),
    ]) func `good URLs`(expected: URLCase) throws {
        let found = try RedisConfiguration(url: expected.url)
        #expect(found.host == expected.host)
        #expect(found.port == expected.port)
        #expect(found.user == expected.user)
        #expect(found.password == expected.password)
        #expect(found.database == expected.database)
        #expect(found.usesTLS == expected.usesTLS)
        #expect(found.caFile == expected.caFile)
    }

    @Test(arguments: [
        "", "h", "h:6379", "http://h", "redis:/h", "redis://", "redis://:6379", "redis://h:", "redis://h:0",
        "redis://h:65536", "redis://h:x", "redis://h/x", "redis://h/-1", "redis://h/+1", "redis://a:%zz@h",
        "redis://a:%4@h", "redis://a:%+1@h", "redis://a:%ff@h", "redis://h?ca=/x", "rediss://h?ca=", "rediss://h?x=1",
    ]) func `bad URLs`(url: String) {
        #expect {
            try RedisConfiguration(url: url)
        } throws: {
            ($0 as? RedisError)?.code == .configuration
        }
    }

    @Test func `what is shown never holds the password`() throws {
        let configuration = try RedisConfiguration(url: "redis://ann:secret@h:1/2")
        #expect(configuration.endpoint == "redis://h:1/2")
        #expect {
            try RedisConfiguration(url: "redis://ann:secret@h:bad")
        } throws: {
            !"\($0)".contains("secret")
        }
    }

    @Test func `backoff doubles up to its cap, with full jitter`() {
        let backoff = RedisBackoff()
        for attempt in [0, 1, 3, 5, 6, 20, 21, 63, 1_000_000] {
            let ceiling = min(Int64(2_000_000_000), Int64(50_000_000) << Int64(min(attempt, 10)))
            let delays = (0..<500).map { _ in backoff.delay(attempt: attempt).nanoseconds }
            #expect(delays.allSatisfy { (0...ceiling).contains($0) })
            #expect(delays.max()! > ceiling / 2, "the range is used")
            #expect(delays.min()! < ceiling / 2)
        }
    }
}

@Suite struct PlacementTests {
    /// Redis Cluster specification: the CRC of "123456789" is 0x31C3; the slots are those of CLUSTER KEYSLOT.
    @Test(arguments: [("123456789", 0x31C3), ("foo", 12182), ("", 0), ("bar", 5061), ("hello", 866)])
    func `slots are Redis Cluster's`(tag: String, slot: Int) {
        #expect(RedisPlacement.slot(ofTag: tag) == slot)
    }

    @Test func `one server holds everything, a cluster what shares a slot`() {
        #expect(RedisPlacement.singleServer.areColocated("foo", "bar"))
        #expect(!RedisPlacement.hashSlots.areColocated("foo", "bar"))
        #expect(RedisPlacement.hashSlots.areColocated("foo", "foo"))
    }
}
