import NIOCore
import NIOPosix
import ParleyCore
import ParleyWire
import RedisClient
import Synchronization
import TestSupport
import Testing

@testable import ParleyServer

/// `send`, the commit point.
@Suite struct MessagesSendTests {
    private let minute: Int64 = 60_000

    @Test func `a commit is in the log and in both queues under one id`() async throws {
        try await MessagesStack.with { stack in
            for _ in 0..<20 {
                let talk = Talk()
                try await stack.seed(talk.conversation)
                let before = try await stack.now
                let cid = ClientMessageID.random(unixMilliseconds: before)
                let answer = try await stack.send(talk, body: "hi \"there\" \u{1F600}", cid: cid)
                let result = try #require(answer.result)
                #expect(answer.pending == [])
                #expect(result.seq == 1)
                #expect(!result.isRepeat)
                #expect(result.timestamp >= before)
                let id = try #require(try await stack.log(talk.lane).last)
                #expect(MessageID(streamID: id, lane: talk.lane) == result.mid)
                #expect(result.mid.unixMilliseconds == result.timestamp)
                #expect(result.mid.lane == talk.lane.number)
                for user in [talk.ann, talk.bob] {
                    let queue = try await stack.queue(user)
                    let (q, event) = try #require(queue.first)
                    #expect(queue.count == 1)
                    #expect(q == 1)
                    #expect(event.mid == result.mid)
                    #expect(event.seq == 1)
                    #expect(event.body == "hi \"there\" \u{1F600}")
                    #expect(event.from == talk.ann)
                    #expect(event.conv == talk.conversation)
                    #expect(event.cid == (user == talk.ann ? cid : nil), "the cid is the sender's alone")
                }
            }
        }
    }

    @Test func `seq is contiguous for each conversation and q for each user`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            let other = Talk()
            for each in [talk, other] { try await stack.seed(each.conversation) }
            for number in 1...30 as ClosedRange<Int64> {
                #expect(try await stack.commit(talk, from: number % 3 == 0 ? talk.bob : talk.ann).seq == number)
                if number % 2 == 0 { #expect(try await stack.commit(other).seq == number / 2) }
            }
            for user in [talk.ann, talk.bob] {
                let queue = try await stack.queue(user)
                #expect(queue.map(\.q) == Array(1...30))
                #expect(queue.compactMap(\.event.seq) == Array(1...30))
                let mids = queue.compactMap(\.event.mid)
                #expect(mids == mids.sorted() && Set(mids).count == 30)
            }
        }
    }

    @Test func `a repeat gets the first result and writes nothing`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            try await stack.seed(talk.conversation)
            let cid = ClientMessageID.random(unixMilliseconds: try await stack.now)
            let first = try #require(try await stack.send(talk, cid: cid).result)
            let digest = try await stack.digest
            let again = try #require(try await stack.send(talk, cid: cid).result)
            #expect(again == SendResult(mid: first.mid, seq: 1, timestamp: first.timestamp, isRepeat: true))
            #expect(try await stack.send(talk, body: "other", cid: cid) == .conflict)
            #expect(try await stack.digest == digest)
            // The same cid of another sender is another message.
            #expect(try await stack.send(talk, from: talk.bob, cid: cid).result?.seq == 2)
        }
    }

    @Test func `an unknown conversation, a stale membership, a wrong epoch and a future cid write nothing`()
        async throws
    {
        try await MessagesStack.with { stack in
            let talk = Talk()
            let empty = try await stack.digest
            #expect(try await stack.send(talk) == .seed)
            #expect(try await stack.digest == empty)
            try await stack.seed(talk.conversation, version: 3)
            let digest = try await stack.digest
            #expect(try await stack.send(talk, version: 2) == .stale(version: 3, members: []))
            #expect(try await stack.send(talk, version: 4) == .stale(version: 3, members: []))
            #expect(try await stack.send(talk, version: 3, epoch: "other") == .epoch("e1"))
            let ahead = ClientMessageID.random(unixMilliseconds: try await stack.now + 25 * 60 * minute)
            #expect(try await stack.send(talk, cid: ahead, version: 3) == .future)
            #expect(try await stack.digest == digest)
            _ = try await stack.run("DEL", Keys.epoch)
            #expect(try await stack.send(talk, version: 3) == .epoch(""))
        }
    }

    @Test func `a late cid is looked up first, and the look-up must be fresh`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            try await stack.seed(talk.conversation)
            let now = try await stack.now
            let late = ClientMessageID.random(unixMilliseconds: now - 60 * minute)
            let digest = try await stack.digest
            guard case .lookup(let time) = try await stack.send(talk, cid: late) else {
                Issue.record("not asked to look it up")
                return
            }
            #expect(time >= now)
            let old = try await stack.send(talk, cid: late, lookedUpAt: time - 11 * minute)
            guard case .lookup = old else {
                Issue.record("\(old)")
                return
            }
            #expect(try await stack.digest == digest)
            let first = try #require(try await stack.send(talk, cid: late, lookedUpAt: time).result)
            #expect(!first.isRepeat && first.seq == 1)
            let again = try await stack.send(talk, cid: late)
            #expect(again.result == SendResult(mid: first.mid, seq: 1, timestamp: first.timestamp, isRepeat: true))
            #expect(try await stack.send(talk, body: "other", cid: late) == .conflict)
        }
    }

    @Test func `a cid from before data was lost is looked up, however young`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            let young = ClientMessageID.random(unixMilliseconds: try await stack.now)
            _ = try await stack.call("new_epoch", [Keys.epoch], ["e1", "e2", "1"])
            try await stack.seed(talk.conversation, epoch: "e2")
            guard case .lookup(let time) = try await stack.send(talk, cid: young, epoch: "e2") else {
                Issue.record("not asked to look it up")
                return
            }
            #expect(try await stack.send(talk, cid: young, lookedUpAt: time, epoch: "e2").result?.seq == 1)
            #expect(try await stack.send(talk, cid: young, epoch: "e2").result?.isRepeat == true)
        }
    }

    /// With a window of a second the cid is late, with one of ten minutes it is not: as after a step back of the clock.
    @Test func `what was committed late is remembered when the clock has stepped back`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            try await stack.seed(talk.conversation)
            let now = try await stack.now
            let cid = ClientMessageID.random(unixMilliseconds: now - minute)
            let narrow = CommitConfiguration(dedupWindow: 30_000)
            let first = try await stack.send(talk, cid: cid, lookedUpAt: now, configuration: narrow)
            #expect(first.result?.isRepeat == false)
            #expect(try await stack.send(talk, cid: cid).result?.isRepeat == true)
        }
    }

    @Test func `memory of cids is kept for twice the window, and ends`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            try await stack.seed(talk.conversation)
            let now = try await stack.now
            let cid = ClientMessageID.random(unixMilliseconds: now)
            _ = try await stack.send(talk, cid: cid)
            let bucket = Keys.dedup(talk.lane, cidMilliseconds: now)
            let left = try #require(try await stack.run("PTTL", bucket).integer)
            #expect((19 * minute...22 * minute).contains(left))
            let late = ClientMessageID.random(unixMilliseconds: now - 60 * minute)
            _ = try await stack.send(talk, cid: late, lookedUpAt: now)
            let key = Keys.lateDedup(talk.lane, talk.conversation, talk.ann, late)
            #expect((19 * minute...20 * minute).contains(try #require(try await stack.run("PTTL", key).integer)))
        }
    }

    @Test func `what is published is epoch, q and event`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            try await stack.seed(talk.conversation)
            let heard = Payloads()
            let loop = stack.connection.eventLoop
            let subscriber = stack.client.subscriber(
                on: loop,
                onMessage: { _, payload in heard.add(payload) },
                onResubscribed: {}
            )
            await withCheckedContinuation { done in
                loop.execute { subscriber.subscribe(Keys.channel(talk.bob)) { done.resume() } }
            }
            for _ in 0..<3 { try await stack.commit(talk) }
            #expect(try await eventually { heard.all.count == 3 })
            await subscriber.close()
            let reply = try await stack.run("XRANGE", Keys.queue(talk.bob), "-", "+")
            for (payload, entry) in zip(heard.all, try #require(QueuePage(reply)).entries) {
                let published = try #require(PublishedEntry(payload))
                #expect(published.epoch == "e1")
                #expect(published.q == entry.q)
                #expect(published.event == entry.event)
            }
        }
    }

    @Test func `where the sender alone is heard, its own event comes with the answer and unpublished`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            try await stack.seed(talk.conversation)
            let (here, elsewhere) = (Payloads(), Payloads())
            let loop = stack.connection.eventLoop
            func listen(_ heard: Payloads) async -> RedisSubscriber {
                let subscriber = stack.client.subscriber(
                    on: loop,
                    onMessage: { _, payload in heard.add(payload) },
                    onResubscribed: {}
                )
                await withCheckedContinuation { done in
                    loop.execute { subscriber.subscribe(Keys.channel(talk.ann)) { done.resume() } }
                }
                return subscriber
            }
            func send(_ request: SendRequest) async throws -> SendResult {
                let command = CommitConfiguration().command(
                    for: request,
                    recipients: [talk.ann, talk.bob],
                    epoch: stack.epoch
                )
                return try #require(SendAnswer(try await stack.client.send(command))?.result)
            }
            func request(change: MessageChange? = nil, of message: SendResult? = nil) async throws -> SendRequest {
                let cid = ClientMessageID.random(unixMilliseconds: try await stack.now)
                var request: SendRequest
                if let change, let message {
                    request = SendRequest(
                        conversation: talk.conversation,
                        sender: talk.ann,
                        cid: cid,
                        change,
                        of: message.mid
                    )
                    let found = StoredMessage(
                        conversation: talk.conversation,
                        mid: message.mid,
                        seq: message.seq,
                        sender: talk.ann,
                        cid: nil,
                        content: MessageContent(body: "")
                    )
                    request.settle(named: found, since: "0")
                } else {
                    let content = MessageContent(body: "hi \"there\"", data: #"{"n" : 2.50}"#)
                    request = SendRequest(conversation: talk.conversation, sender: talk.ann, cid: cid, content: content)
                }
                request.isHeard = true
                return request
            }

            let one = await listen(here)
            let said = try await request()
            let first = try await send(said)
            #expect(first.ownPosition == 1)
            #expect(try await send(said).ownPosition == nil, "a repeat says nothing of the queue")
            let changed = try await request(change: .edit(body: "hi"), of: first)
            let edit = try await send(changed)
            #expect(edit.ownPosition == 2)
            // What another loop hears too is published to both, and so is what the caller does not hear.
            let other = await listen(elsewhere)
            #expect(try await send(request()).ownPosition == nil)
            #expect(try await eventually { elsewhere.all.count == 1 })
            await other.close()
            var unheard = try await request()
            unheard.isHeard = false
            #expect(try await send(unheard).ownPosition == nil)
            #expect(try await eventually { here.all.count == 2 })
            #expect(here.all.compactMap { PublishedEntry($0)?.q } == [3, 4])
            await one.close()

            // What the caller makes of the answer is what stands in the queue, to the byte.
            let entries = try #require(QueuePage(try await stack.run("XRANGE", Keys.queue(talk.ann), "-", "+"))).entries
            #expect(entries.map(\.q) == [1, 2, 3, 4])
            #expect(entries[0].event == said.ownEvent(of: first))
            #expect(entries[1].event == changed.ownEvent(of: edit))
        }
    }

    @Test func `the sender has read its own message`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            try await stack.seed(talk.conversation)
            for _ in 0..<3 { try await stack.commit(talk) }
            #expect(try await stack.run("HGET", Keys.conversation(talk.conversation), "read:\(talk.ann)").integer == 3)
            #expect(try await stack.run("HGET", Keys.conversation(talk.conversation), "read:\(talk.bob)") == .null)
        }
    }

    @Test func `when the clock is behind the log, ids go on from the log and carry at 4095`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            try await stack.seed(talk.conversation)
            let ahead = try await stack.now + 3_600_000
            _ = try await stack.run("XADD", Keys.lane(talk.lane), "\(ahead)-4093", "e", "{}")
            var results: [SendResult] = []
            for _ in 0..<4 { results.append(try await stack.commit(talk)) }
            #expect(
                try await stack.log(talk.lane).dropFirst() == [
                    "\(ahead)-4094", "\(ahead)-4095", "\(ahead + 1)-0", "\(ahead + 1)-1",
                ]
            )
            #expect(results.map(\.mid.sequence) == [4094, 4095, 0, 1])
            #expect(results.map(\.timestamp) == [ahead, ahead, ahead + 1, ahead + 1])
            #expect(results.map(\.mid) == results.map(\.mid).sorted())
        }
    }

    /// Fills the present millisecond and sends in the same transaction, until both fall into one.
    @Test func `more than 4096 in a millisecond go on in the next`() async throws {
        try await MessagesStack.with { stack in
            let fill = """
                local time = redis.call('TIME')
                local ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
                redis.call('XADD', KEYS[1], ms .. '-4095', 'e', '{}')
                return ms
                """
            var wasCarried = false
            for _ in 0..<200 where !wasCarried {
                let talk = Talk()
                try await stack.seed(talk.conversation)
                _ = try await stack.run("DEL", Keys.lane(talk.lane))
                let request = SendRequest(
                    conversation: talk.conversation,
                    sender: talk.ann,
                    cid: .random(unixMilliseconds: try await stack.now),
                    content: MessageContent(body: "x")
                )
                let send = CommitConfiguration().command(for: request, recipients: [talk.ann, talk.bob], epoch: "e1")
                for command in [RedisCommand("MULTI"), RedisCommand("EVAL", fill, "1", Keys.lane(talk.lane)), send] {
                    _ = try await stack.connection.send(command)
                }
                let replies = try #require(try await stack.connection.send(RedisCommand("EXEC")).array)
                let full = try #require(replies.first?.integer)
                let answer = try #require(replies.last.flatMap(SendAnswer.init))
                let mid = try #require(answer.result?.mid)
                #expect(mid.unixMilliseconds > full)
                #expect(try await stack.log(talk.lane) == ["\(full)-4095", mid.streamID])
                // Redis's own id for it was past 4095, and was given up.
                let info = try await stack.run("XINFO", "STREAM", Keys.lane(talk.lane)).array?.map(\.string) ?? []
                guard info.contains("\(full)-4096") else { continue }
                wasCarried = true
                #expect(mid.streamID == "\(full + 1)-0")
                #expect(try await stack.queue(talk.bob).map(\.event.mid) == [mid])
                let next = try await stack.commit(talk).mid
                #expect(next > mid)
            }
            #expect(wasCarried)
        }
    }

    @Test func `a full Redis refuses a send as a whole, and acks and trims still run`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            try await stack.seed(talk.conversation)
            for _ in 0..<5 { try await stack.commit(talk) }
            let last = try #require(try await stack.log(talk.lane).last)
            _ = try await stack.run("HSET", Keys.user(talk.bob), "device:phone", "e1 0 \(try await stack.now) login s1")
            _ = try await stack.run("SET", "filler", String(repeating: "x", count: 8 << 20))
            _ = try await stack.run("CONFIG", "SET", "maxmemory", "4mb")
            let digest = try await stack.digest
            let error = await #expect(throws: RedisError.self) { try await stack.send(talk) }
            #expect(error?.outcome == .failed)
            guard case .server(let answer)? = error?.code else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(answer.isRefusingWrites)
            #expect(try await stack.digest == digest)
            let acked = try await stack.call(
                "ack",
                [Keys.epoch, Keys.queue(talk.bob), Keys.user(talk.bob)],
                ["e1", "phone", "5", "s1", "0"]
            )
            #expect(acked == .integer(5))
            let keys = [Keys.lane(talk.lane), Keys.pending(talk.lane), Keys.archived(talk.lane)]
            #expect(try await stack.call("trim", keys, [last]) == .integer(5))
        }
    }
}

/// What was published, from any thread.
final class Payloads: Sendable {
    private let state = Mutex<[ByteBuffer]>([])

    var all: [ByteBuffer] { state.withLock { $0 } }

    func add(_ payload: ByteBuffer) { state.withLock { $0.append(payload) } }
}
