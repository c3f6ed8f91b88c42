import HTTPTypes
import NIOCore
import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// Sending and reading without a socket, on real stores.
@Suite struct GatewaySendTests {
    private struct Sent: Decodable, Equatable {
        let cid: ClientMessageID
        let conv: ConversationID
        let mid: String
        let seq: Int64
        let ts: Int64
        let dup: Bool?
    }

    private func bodies(_ stack: GatewayStack, _ person: GatewayStack.Person) async throws -> [String] {
        let reply = try await stack.client.send("XRANGE", Keys.queue(person.id), "-", "+")
        return try #require(QueuePage(reply)).entries.compactMap { try Event.decode($0.event).body }
    }

    private func messages(_ one: GatewayStack.Person, _ other: GatewayStack.Person) -> String {
        "/v1/conversations/\(ConversationID.direct(one.id, other.id))/messages"
    }

    @Test func `the first is created, a repeat is the first, other content is in conflict`() async throws {
        try await GatewayStack.with { stack in
            let (ann, bob) = (try await stack.person("ann"), try await stack.person("bob"))
            let cid = ClientMessageID.random(unixMilliseconds: WallClock.milliseconds())
            let body = #"{"body":"hi \"there\"","data":{"n" : 2.50},"unknown":[1]}"#
            let first = try await stack.post(messages(ann, bob), by: ann, key: "\(cid)", body)
            #expect(first.status == 201)
            let sent: Sent = try first.decode()
            #expect(sent.cid == cid && sent.conv == .direct(ann.id, bob.id) && sent.seq == 1 && sent.dup == nil)
            #expect(sent.ts == MessageID(sent.mid)?.unixMilliseconds)
            let again = try await stack.post(messages(ann, bob), by: ann, key: "\(cid)".uppercased(), body)
            #expect(again.status == 200)
            let repeated: Sent = try again.decode()
            #expect(repeated.mid == sent.mid && repeated.seq == 1 && repeated.dup == true)
            let other = try await stack.post(messages(ann, bob), by: ann, key: "\(cid)", #"{"body":"other"}"#)
            #expect(other.problem == .conflict)
            let reply = try await stack.client.send("XRANGE", Keys.queue(bob.id), "-", "+")
            let entries = try #require(QueuePage(reply)).entries
            #expect(entries.count == 1)
            let event = try Event.decode(try #require(entries.first).event)
            #expect(event.mid?.description == sent.mid)
            #expect(event.body == #"hi "there""#)
            #expect(event.data == #"{"n" : 2.50}"#, "verbatim")
        }
    }

    @Test func `many at once under one key are one message`() async throws {
        try await GatewayStack.with { stack in
            let (ann, bob) = (try await stack.person("ann"), try await stack.person("bob"))
            for age in [0, 3_600_000] as [Int64] {
                let cid = ClientMessageID.random(unixMilliseconds: WallClock.milliseconds() - age)
                let answers = try await withThrowingTaskGroup(of: TestAPI.Answer.self) { group in
                    for _ in 0..<20 {
                        group.addTask { try await stack.send("\(age)", from: ann, to: bob, cid: cid) }
                    }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                #expect(answers.map(\.status).sorted() == Array(repeating: 200, count: 19) + [201])
                #expect(Set(try answers.map { try $0.decode(Sent.self).mid }).count == 1)
            }
            #expect(try await bodies(stack, bob) == ["0", "3600000"])
        }
    }

    @Test func `a repeat that memory has forgotten is found in history`() async throws {
        try await GatewayStack.with { stack in
            let (ann, bob) = (try await stack.person("ann"), try await stack.person("bob"))
            let cid = ClientMessageID.random(unixMilliseconds: WallClock.milliseconds() - 3_600_000)
            let sent: Sent = try await stack.send("long ago", from: ann, to: bob, cid: cid).decode()
            for key in try await stack.client.send("KEYS", "late:*").array ?? [] {
                _ = try await stack.client.send("DEL", key.string ?? "")
            }
            let again = try await stack.send("long ago", from: ann, to: bob, cid: cid)
            #expect(again.status == 200)
            #expect(try again.decode(Sent.self).mid == sent.mid)
            #expect(try await stack.send("other", from: ann, to: bob, cid: cid).problem == .conflict)
        }
    }

    @Test func `each mistake has its code, and nothing is sent`() async throws {
        try await GatewayStack.with { stack in
            let (ann, bob) = (try await stack.person("ann"), try await stack.person("bob"))
            let eve = try await stack.person("eve")
            let now = WallClock.milliseconds()
            func key(_ offset: Int64 = 0) -> String { "\(ClientMessageID.random(unixMilliseconds: now + offset))" }
            func code(_ path: String, _ key: String?, _ body: String, by person: GatewayStack.Person? = nil)
                async throws -> ErrorCode?
            { try await stack.post(path, by: person ?? ann, key: key, body).problem }
            let path = messages(ann, bob)
            let hello = #"{"body":"hello"}"#
            #expect(try await code(path, nil, hello) == .badFrame)
            for bad in ["", "x", "1f0f7c58-7c52-4d3a-9d3f-0123456789ab", "\"\(key())\""] {
                #expect(try await code(path, bad, hello) == .invalid, "\(bad)")
            }
            #expect(try await code(path, key(25 * 3_600_000), hello) == .invalid)
            for bad in ["", "{", "[]", "{}", #"{"body":1}"#, #"{"body":"a","data":"b"}"#, #"{"body":"a"} x"#] {
                #expect(try await code(path, key(), bad) == .badFrame, "\(bad)")
            }
            for bad in [#"{"body":""}"#, #"{"body":"a\u0000b"}"#] {
                #expect(try await code(path, key(), bad) == .invalid, "\(bad)")
            }
            let long = String(repeating: "x", count: 16_385)
            let large = #"{"body":"a","data":{"x":"\#(String(repeating: "x", count: 4096))"}}"#
            let huge = #"{"body":"a","x":"\#(String(repeating: "x", count: 70_000))"}"#
            for bad in [#"{"body":"\#(long)"}"#, large, huge] {
                #expect(try await code(path, key(), bad) == .tooLarge)
            }
            #expect(try await code(path, key(), #"{"body":"a","reply_to":"x"}"#) == .notFound)
            #expect(try await code(path, key(), hello, by: eve) == .notFound, "not hers")
            let nobody = ConversationID.direct(ann.id, .random())
            for conversation in ["\(nobody)", "d:\(ann.id):\(ann.id)", "g:none", "nonsense"] {
                #expect(try await code("/v1/conversations/\(conversation)/messages", key(), hello) == .notFound)
            }
            let bytes = Array(#"{"body":""#.utf8) + [0xFF] + Array(#""}"#.utf8)
            #expect(try await stack.post(path, by: ann, key: key(), bytes: bytes).problem == .badFrame)
            stack.services.setBacklog(stack.services.configuration.backlogLimit + 1)
            let refused = try await stack.post(path, by: ann, key: key(), hello)
            #expect(refused.problem == .overloaded && refused.headers[.retryAfter] == "5")
            stack.services.setBacklog(0)
            #expect(try await bodies(stack, bob).isEmpty)
            #expect(try await code(path, key(), hello) == nil)
        }
    }

    @Test func `while Redis is away the outcome is unknown, and the same key settles it`() async throws {
        try await GatewayStack.with(commandTimeout: .seconds(5)) { stack in
            let (ann, bob) = (try await stack.person("ann"), try await stack.person("bob"))
            try await stack.send("first", from: ann, to: bob)
            let cid = ClientMessageID.random(unixMilliseconds: WallClock.milliseconds())
            // Authentication asks Redis too: the commit alone is tried here.
            let path = SendPath(services: stack.services)
            let request = try path.admit(MessageContent(body: "second"), cid, in: .direct(ann.id, bob.id), from: ann.id)
            stack.redis.pause()
            let refusal = await #expect(throws: SendRefusal.self) { try await path.commit(request) }
            stack.redis.resume()
            #expect(refusal?.code == .unavailable && refusal?.retryMilliseconds == 1000)
            let settled = try await path.commit(request)
            #expect(settled.seq == 2)
            #expect(try await stack.send("second", from: ann, to: bob, cid: cid).status == 200)
            #expect(try await bodies(stack, bob) == ["first", "second"])
        }
    }

    @Test func `the configured level of acknowledgement is waited for, by a repeat too`() async throws {
        var configuration = GatewayConfiguration()
        configuration.acknowledgement = .archived
        try await GatewayStack.with(configuration) { stack in
            let (ann, bob) = (try await stack.person("ann"), try await stack.person("bob"))
            let cid = ClientMessageID.random(unixMilliseconds: WallClock.milliseconds())
            let answered = Payloads()
            try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<2 {
                    group.addTask {
                        let answer = try await stack.send("hello", from: ann, to: bob, cid: cid)
                        answered.add(ByteBuffer())
                        return answer.status
                    }
                }
                #expect(try await eventually { try await bodies(stack, bob) == ["hello"] })
                try await Task.sleep(for: .seconds(1))
                #expect(answered.all.isEmpty, "committed, not archived")
                let pool = stack.services.history.postgres
                _ = try await pool.query("UPDATE lanes SET position = \(Int64.max)")
                #expect(try await group.reduce(into: []) { $0.append($1) }.sorted() == [200, 201])
            }
        }
    }

    @Test func `reading tells the other`() async throws {
        try await GatewayStack.with { stack in
            let (ann, bob) = (try await stack.person("ann"), try await stack.person("bob"))
            let eve = try await stack.person("eve")
            let path = "/v1/conversations/\(ConversationID.direct(ann.id, bob.id))/read"
            #expect(try await stack.post(path, by: bob, #"{"seq":1}"#).problem == .notFound, "not opened yet")
            for number in 1...3 { try await stack.send("\(number)", from: ann, to: bob) }
            #expect(try await stack.post(path, by: bob, #"{"seq":2}"#).status == 204)
            #expect(try await stack.post(path, by: bob, #"{"seq":1}"#).status == 204)
            let reply = try await stack.client.send("XRANGE", Keys.queue(ann.id), "-", "+")
            let events = try #require(QueuePage(reply)).entries.map { try Event.decode($0.event) }
            #expect(events.filter { $0.type == .receipt }.map(\.read) == [2])
            #expect(try await stack.post(path, by: eve, #"{"seq":2}"#).problem == .notFound)
            for bad in ["{}", #"{"seq":-1}"#, #"{"seq":9007199254740992}"#, #"{"seq":"1"}"#] {
                #expect(try await stack.post(path, by: bob, bad).problem == .invalid, "\(bad)")
            }
        }
    }
}
