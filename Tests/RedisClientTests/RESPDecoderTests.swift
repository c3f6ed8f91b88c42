import NIOCore
import NIOEmbedded
import Testing

@testable import RedisClient

@Suite struct RESPDecoderTests {
    struct Reply: Sendable, CustomTestStringConvertible {
        let bytes: String
        let value: RESPValue
        var testDescription: String { bytes.debugDescription }
    }

    static let replies = [
        Reply(bytes: "+OK\r\n", value: .simple("OK")),
        Reply(bytes: "+\r\n", value: .simple("")),
        Reply(bytes: "-ERR no such thing\r\n", value: .error(RedisServerError("ERR no such thing"))),
        Reply(bytes: ":0\r\n", value: .integer(0)),
        Reply(bytes: ":-9223372036854775808\r\n", value: .integer(.min)),
        Reply(bytes: ":9223372036854775807\r\n", value: .integer(.max)),
        Reply(bytes: "$0\r\n\r\n", value: .bulk(ByteBuffer())),
        Reply(bytes: "$4\r\na\r\nb\r\n", value: .bulk(ByteBuffer(string: "a\r\nb"))),
        Reply(bytes: "$-1\r\n", value: .null),
        Reply(bytes: "*-1\r\n", value: .null),
        Reply(bytes: "*0\r\n", value: .array([])),
        Reply(bytes: "*3\r\n:1\r\n$-1\r\n+x\r\n", value: .array([.integer(1), .null, .simple("x")])),
        Reply(
            bytes: "*4\r\n*0\r\n*2\r\n*1\r\n:1\r\n*-1\r\n-E x\r\n:2\r\n",
            value: .array([
                .array([]), .array([.array([.integer(1)]), .null]), .error(RedisServerError("E x")), .integer(2),
            ])
        ),
    ]

    @Test(arguments: replies) func `a reply in one piece`(reply: Reply) throws {
        let decoder = RESPDecoder()
        try decoder.feed(ByteBuffer(string: reply.bytes))
        #expect(try decoder.next() == reply.value)
        #expect(try decoder.next() == nil)
    }

    @Test func `all replies, one byte at a time`() throws {
        let decoder = RESPDecoder()
        var found: [RESPValue] = []
        for byte in Self.replies.map(\.bytes).joined().utf8 {
            try decoder.feed(ByteBuffer(bytes: [byte]))
            while let value = try decoder.next() { found.append(value) }
        }
        #expect(found == Self.replies.map(\.value))
    }

    @Test func `many replies in one piece, and one far beyond the read buffer`() throws {
        let decoder = RESPDecoder()
        let large = String(repeating: "x", count: 3 << 20)
        try decoder.feed(ByteBuffer(string: String(repeating: ":7\r\n", count: 1000) + "$\(large.utf8.count)\r\n"))
        try decoder.feed(ByteBuffer(string: large + "\r\n"))
        for _ in 0..<1000 { #expect(try decoder.next() == .integer(7)) }
        #expect(try decoder.next()?.bytes?.readableBytes == 3 << 20)
    }

    @Test(arguments: [
        "HTTP/1.1 400 Bad Request\r\n\r\n", "\u{15}\u{3}\u{1}\r\n", "$abc\r\n", "*2\r\n:1\r\nx\r\n", ":12a\r\n",
        "*1\r\n*1\r\n?\r\n",
    ]) func `what is not RESP`(garbage: String) {
        let decoder = RESPDecoder()
        #expect {
            try decoder.feed(ByteBuffer(string: garbage))
            while let _ = try decoder.next() {}
        } throws: {
            ($0 as? RedisError)?.code == .protocolViolation
        }
    }

    @Test func `a half reply is given up without a trace`() throws {
        for _ in 0..<1000 {
            let decoder = RESPDecoder()
            try decoder.feed(ByteBuffer(string: "*3\r\n*2\r\n:1\r\n$5\r\nhello\r\n*1\r\n"))
            #expect(try decoder.next() == nil)
        }
    }
}

@Suite struct RedisChannelHandlerTests {
    private final class Log {
        var lines: [String] = []
    }

    private func channel(_ log: Log) throws -> EmbeddedChannel {
        let channel = EmbeddedChannel(
            handler: RedisChannelHandler(
                onReply: { log.lines.append($0.string ?? "?") },
                onBurstEnd: { log.lines.append("burst") },
                onClose: { log.lines.append("closed \($0.code) \($0.outcome)") }
            )
        )
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        return channel
    }

    @Test func `replies in order, then the end of the burst, then one close`() throws {
        let log = Log()
        let channel = try channel(log)
        try channel.writeInbound(ByteBuffer(string: "+a\r\n+b\r\n+"))
        try channel.writeInbound(ByteBuffer(string: "c\r\n"))
        try channel.close().wait()
        #expect(log.lines == ["a", "b", "burst", "c", "burst", "closed connectionLost unknown"])
    }

    @Test func `garbage closes the connection and says why`() throws {
        let log = Log()
        let channel = try channel(log)
        try channel.writeInbound(ByteBuffer(string: "+a\r\nnonsense\r\n"))
        #expect(!channel.isActive)
        #expect(log.lines.first == "a")
        #expect(log.lines.filter { $0.hasPrefix("closed") } == ["closed protocolViolation unknown"])
    }
}

@Suite struct RedisServerErrorTests {
    @Test(arguments: ["LOADING", "BUSY", "MASTERDOWN", "READONLY", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN"])
    func `errors that pass`(kind: String) {
        #expect(RedisServerError("\(kind) wait").isTransient)
        #expect(!RedisServerError("\(kind) wait").isRefusingWrites)
    }

    @Test func `errors that do not pass by themselves`() {
        #expect(RedisServerError("OOM command not allowed").isRefusingWrites)
        #expect(RedisServerError("MISCONF disk").isRefusingWrites)
        #expect(!RedisServerError("WRONGTYPE x").isTransient)
        #expect(RedisServerError("ERR Function not found").isFunctionMissing)
        #expect(RedisServerError("NOAUTH").kind == "NOAUTH")
    }
}
