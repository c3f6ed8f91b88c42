import NIOCore
import ParleyWire
import Testing

@Suite struct ServerFrameTests {
    static let conv = "\"conv\":\"d:alice0000001:bob000000002\""
    static let cid = "\"cid\":\"019abcde-f012-7abc-8def-0123456789ab\""
    static let mid = "\"mid\":\"123456789012345678\""

    private static func event(_ type: EventType, _ change: (inout Event) -> Void) -> ServerFrame {
        var event = Event(type, conv: Sample.direct)
        change(&event)
        return ServerFrame(.event(q: 124, event))
    }

    /// A change of a group, as it stands in queues and in history.
    private static func change(_ type: EventType, _ version: Int64, _ change: (inout Event) -> Void) -> ServerFrame {
        event(type) {
            ($0.conv, $0.seq, $0.mid, $0.from) = (Sample.group, 7, Sample.mid, Sample.alice)
            ($0.ts, $0.version) = (1_764_000_000_123, version)
            change(&$0)
        }
    }

    static let golden: [(String, ServerFrame)] = [
        (
            #"{"op":"ready","user":"alice0000001","session":"s1","epoch":"e1","head":130,"mode":"replay","#
                + #""now":1764000000123,"heartbeat_ms":25000,"max_frame":65536}"#,
            ServerFrame(
                .ready(
                    .init(
                        user: Sample.alice,
                        session: "s1",
                        epoch: "e1",
                        head: 130,
                        mode: .replay,
                        now: 1_764_000_000_123
                    )
                )
            )
        ),
        (#"{"op":"live","q":130,"id":"a"}"#, ServerFrame(.live(q: 130), id: try? decodeServerID("\"a\""))),
        (
            "{\"op\":\"sent\",\(cid),\(conv),\(mid),\"seq\":7,\"ts\":1764000000123,\"id\":9}",
            ServerFrame(
                .sent(.init(cid: Sample.cid, conv: Sample.direct, mid: Sample.mid, seq: 7, ts: 1_764_000_000_123)),
                id: FrameID(9)
            )
        ),
        (
            "{\"op\":\"sent\",\(cid),\(conv),\(mid),\"seq\":7,\"ts\":1,\"dup\":true}",
            ServerFrame(
                .sent(.init(cid: Sample.cid, conv: Sample.direct, mid: Sample.mid, seq: 7, ts: 1, dup: true))
            )
        ),
        (
            "{\"op\":\"event\",\"q\":124,\"type\":\"message\",\(conv),\"seq\":7,\(mid),\"from\":\"bob000000002\","
                + "\"ts\":1764000000123,\"body\":\"hi\\n\",\"data\":{ \"a\":1},\"reply_to\":\"7\",\(cid)}",
            ServerFrame(
                .event(
                    q: 124,
                    .message(
                        conv: Sample.direct,
                        seq: 7,
                        mid: Sample.mid,
                        from: Sample.bob,
                        ts: 1_764_000_000_123,
                        content: MessageContent(body: "hi\n", data: "{ \"a\":1}", replyTo: MessageID("7")),
                        cid: Sample.cid
                    )
                )
            )
        ),
        (
            "{\"op\":\"event\",\"q\":124,\"type\":\"edited\",\(conv),\"seq\":7,\(mid),\"body\":\"new\",\"rev\":2}",
            event(.edited) { ($0.seq, $0.mid, $0.body, $0.rev) = (7, Sample.mid, "new", 2) }
        ),
        (
            "{\"op\":\"event\",\"q\":124,\"type\":\"deleted\",\(conv),\"seq\":7,\(mid),\"rev\":3}",
            event(.deleted) { ($0.seq, $0.mid, $0.rev) = (7, Sample.mid, 3) }
        ),
        (
            "{\"op\":\"event\",\"q\":124,\"type\":\"receipt\",\(conv),\"user\":\"bob000000002\",\"read\":7,"
                + "\"delivered\":8}",
            event(.receipt) { ($0.user, $0.read, $0.delivered) = (Sample.bob, 7, 8) }
        ),
        (
            "{\"op\":\"event\",\"q\":124,\"type\":\"member_added\",\"conv\":\"g:team\",\"seq\":7,\(mid),"
                + "\"from\":\"alice0000001\",\"ts\":1764000000123,\"user\":\"bob000000002\",\"role\":\"admin\",\"version\":3}",
            change(.memberAdded, 3) { ($0.user, $0.role) = (Sample.bob, "admin") }
        ),
        (
            "{\"op\":\"event\",\"q\":124,\"type\":\"member_removed\",\"conv\":\"g:team\",\"seq\":7,\(mid),"
                + "\"from\":\"alice0000001\",\"ts\":1764000000123,\"user\":\"bob000000002\",\"version\":4}",
            change(.memberRemoved, 4) { $0.user = Sample.bob }
        ),
        (
            "{\"op\":\"event\",\"q\":124,\"type\":\"conversation\",\"conv\":\"g:team\",\"seq\":7,\(mid),"
                + "\"from\":\"alice0000001\",\"ts\":1764000000123,\"title\":\"Team\",\"version\":1}",
            change(.conversation, 1) { $0.title = "Team" }
        ),
        (
            #"{"op":"event","q":124,"type":"friend_request","user":"bob000000002"}"#,
            event(.friendRequest) { ($0.conv, $0.user) = (nil, Sample.bob) }
        ),
        (
            #"{"op":"event","q":124,"type":"friend_accepted","user":"bob000000002"}"#,
            event(.friendAccepted) { ($0.conv, $0.user) = (nil, Sample.bob) }
        ),
        (
            #"{"op":"event","q":124,"type":"friend_removed","user":"bob000000002"}"#,
            event(.friendRemoved) { ($0.conv, $0.user) = (nil, Sample.bob) }
        ),
        (
            "{\"op\":\"event\",\"q\":124,\"type\":\"mute\",\(conv),\"muted\":true,\"muted_until\":1764000000123}",
            event(.mute) { ($0.muted, $0.mutedUntil) = (true, 1_764_000_000_123) }
        ),
        (
            "{\"op\":\"event\",\"q\":124,\"type\":\"mute\",\(conv),\"muted\":false}",
            event(.mute) { $0.muted = false }
        ),
        (#"{"op":"pong","head":130}"#, ServerFrame(.pong(head: 130))),
        (
            "{\"op\":\"error\",\(cid),\"code\":\"rate_limited\",\"message\":\"slow down\",\"retry_ms\":500,\"id\":1}",
            ServerFrame(
                FrameError(.rateLimited, "slow down", id: FrameID(1), cid: FrameID(Sample.cid)),
                retryMilliseconds: 500
            )
        ),
        (
            #"{"op":"error","code":"bad_frame","message":"op is missing"}"#,
            ServerFrame(FrameError(.badFrame, "op is missing"))
        ),
        (
            #"{"op":"goaway","reason":"drain","reconnect_ms":1234,"url":"http://127.0.0.1:8081"}"#,
            ServerFrame(.goaway(.init(reconnectMilliseconds: 1234, url: "http://127.0.0.1:8081")))
        ),
        (
            #"{"op":"goaway","reason":"rebalance","reconnect_ms":0}"#,
            ServerFrame(.goaway(.init(reason: "rebalance", reconnectMilliseconds: 0)))
        ),
        (
            #"{"op":"suggestions","items":[{"text":"hello","score":1.5},{"text":"help"}],"id":1}"#,
            ServerFrame(.suggestions([.init(text: "hello", score: 1.5), .init(text: "help")]), id: FrameID(1))
        ),
        (#"{"op":"suggestions","items":[]}"#, ServerFrame(.suggestions([]))),
        (
            #"{"op":"receipt","conv":"g:team","user":"bob000000002","read":7,"delivered":9}"#,
            ServerFrame(.receipt(.init(conv: Sample.group, user: Sample.bob, read: 7, delivered: 9)))
        ),
        (
            #"{"op":"presence","user":"bob000000002","status":"offline","last_active":1764000000123}"#,
            ServerFrame(.presence(.init(user: Sample.bob, status: .offline, lastActive: 1_764_000_000_123)))
        ),
        (
            #"{"op":"presence","user":"bob000000002","status":"online"}"#,
            ServerFrame(.presence(.init(user: Sample.bob, status: .online)))
        ),
        (
            #"{"op":"typing","conv":"g:team","user":"bob000000002"}"#,
            ServerFrame(.typing(conv: Sample.group, user: Sample.bob))
        ),
    ]

    @Test(arguments: golden) func followsTheContract(text: String, frame: ServerFrame) throws {
        #expect(try decodeServer(text) == frame)
        #expect(encoded(frame) == text)
    }

    @Test func anEventIsWrappedWithoutBeingReadAgain() throws {
        let object = #"{"type":"message","conv":"g:team","body":"x","later":[1]}"#
        var buffer = ByteBuffer()
        try ServerFrame.encodeEvent(q: 9_007_199_254_740_991, object: ByteBuffer(string: object), into: &buffer)
        #expect(buffer.text == #"{"op":"event","q":9007199254740991,"# + object.dropFirst())
        var empty = ByteBuffer()
        try ServerFrame.encodeEvent(q: 1, object: ByteBuffer(string: "{}"), into: &empty)
        #expect(empty.text == #"{"op":"event","q":1}"#)
        for bad in ["", "{", "[]", "null", "{\"a\":1"] {
            var untouched = ByteBuffer()
            #expect(throws: FrameError.self) {
                try ServerFrame.encodeEvent(q: 1, object: ByteBuffer(string: bad), into: &untouched)
            }
            #expect(untouched.readableBytes == 0)
        }
    }

    @Test func aQueuedEventAndItsFrameAgree() throws {
        for case (let text, let frame) in Self.golden {
            guard case .event(let q, let event) = frame.operation else { continue }
            var object = ByteBuffer()
            event.encode(into: &object)
            #expect(try Event.decode(object) == event)
            var wrapped = ByteBuffer()
            try ServerFrame.encodeEvent(q: q, object: object, into: &wrapped)
            #expect(wrapped.text == text)
        }
    }

    @Test func contentIsWrittenForOthersToWrap() {
        var buffer = ByteBuffer()
        MessageContent(body: "a\"b", data: "{}", replyTo: Sample.mid).writeFields(into: &buffer)
        #expect(buffer.text == #""body":"a\"b","data":{},"reply_to":"123456789012345678""#)
    }

    @Test func theUnknownIsKeptApart() throws {
        #expect(try decodeServer(#"{"op":"later","x":1}"#).operation == .unknown("later"))
        let event = try decodeServer(#"{"op":"event","q":5,"type":"reaction","conv":"g:team","body":"x"}"#)
        guard case .event(5, let unknown) = event.operation else { return #expect(Bool(false), "not an event") }
        #expect(unknown.type == .unknown && unknown.conv == Sample.group)
    }

    @Test(arguments: [
        "", "[]", "{}", #"{"op":"event","type":"message"}"#, #"{"op":"event","q":1}"#, #"{"op":"pong"}"#,
        #"{"op":"pong","head":"1"}"#, #"{"op":"error","code":"nope","message":""}"#, #"{"op":"sent"}"#,
        #"{"op":"presence","user":"a","status":"away"}"#, #"{"op":"suggestions","items":[1]}"#,
        #"{"op":"suggestions","items":{}}"#, #"{"op":"event","q":1,"type":"message","mid":"x"}"#,
        #"{"op":"event","q":1,"type":"message","data":[]}"#,
    ])
    func malformedFramesAreRefused(text: String) {
        let error = #expect(throws: FrameError.self) { try decodeServer(text) }
        #expect(error?.code == .badFrame)
    }

    @Test func codesHaveTheStatusesOfTheProtocol() {
        let statuses: [String: Int] = [
            "bad_frame": 400, "unauthorized": 401, "forbidden": 403, "not_member": 403, "not_found": 404,
            "conflict": 409, "stale_cursor": 410, "too_large": 413, "invalid": 422, "rate_limited": 429,
            "overloaded": 503, "unavailable": 503,
        ]
        #expect(Dictionary(uniqueKeysWithValues: ErrorCode.allCases.map { ($0.rawValue, $0.httpStatus) }) == statuses)
    }

    @Test(
        arguments: [
            (4000, CloseCode.Reaction.resume), (4003, .resume), (4099, .resume), (4100, .backOff), (4101, .backOff),
            (4200, .resync), (4500, .stop), (4503, .stop), (4999, .stop), (1000, .backOff), (1006, .backOff),
        ] as [(UInt16, CloseCode.Reaction)]
    )
    func closeCodesTellWhatToDo(code: UInt16, reaction: CloseCode.Reaction) {
        #expect(CloseCode.reaction(to: code) == reaction)
        #expect(CloseCode.reaction(to: nil) == .backOff)
    }
}

private func decodeServerID(_ raw: String) throws -> FrameID? {
    try decodeServer("{\"op\":\"pong\",\"head\":0,\"id\":\(raw)}").id
}
