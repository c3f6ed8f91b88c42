import NIOCore
import Testing

@testable import RedisClient

@Suite struct CommandQueueTests {
    /// What each caller was told, by the command's name.
    private final class Log {
        var lines: [String] = []
    }

    private let log = Log()

    private func entry(_ name: String, repeatable: Bool = false, deadline: Int64 = 1000) -> CommandQueue.Entry {
        let log = self.log
        return CommandQueue.Entry(
            command: RedisCommand(name),
            isRepeatable: repeatable,
            deadline: .uptimeNanoseconds(UInt64(deadline)),
            completion: { result in
                switch result {
                case .success(let value): log.lines.append("\(name) \(value.string ?? "")")
                case .failure(let error): log.lines.append("\(name) \(error.code) \(error.outcome)")
                }
            }
        )
    }

    private func at(_ nanoseconds: UInt64) -> NIODeadline { .uptimeNanoseconds(nanoseconds) }

    @Test func `replies belong to commands in the order of writing`() {
        var queue = CommandQueue()
        for name in ["a", "b", "c"] { queue.append(entry(name), isConnected: true) }
        for reply in ["1", "2", "3"] { queue.replied()?.completion?(.success(.simple(reply))) }
        #expect(log.lines == ["a 1", "b 2", "c 3"])
        #expect(queue.replied() == nil, "a reply to nothing")
        #expect(!queue.hasUnanswered)
    }

    @Test func `a reply is for nobody while nothing is written`() {
        var queue = CommandQueue()
        queue.append(entry("a"), isConnected: false)
        #expect(queue.replied() == nil)
        #expect(queue.count == 1)
    }

    @Test func `commands wait for a connection and are written in order`() {
        var queue = CommandQueue()
        for name in ["a", "b"] { queue.append(entry(name), isConnected: false) }
        #expect(queue.connected() == [RedisCommand("a"), RedisCommand("b")])
        #expect(queue.hasUnanswered)
    }

    @Test func `a loss keeps repeatable and unwritten commands, the others are unknown`() {
        var queue = CommandQueue()
        queue.append(entry("a", repeatable: true), isConnected: true)
        queue.append(entry("b"), isConnected: true)
        queue.append(entry("c", repeatable: true), isConnected: true)
        queue.append(entry("d"), isConnected: false)
        for verdict in queue.connectionLost() { verdict.deliver() }
        #expect(log.lines == ["b connectionLost unknown"])
        #expect(!queue.hasUnanswered)
        queue.append(entry("e", repeatable: true), isConnected: false)
        #expect(queue.connected() == ["a", "c", "d", "e"].map { RedisCommand($0) })
    }

    @Test func `a second loss before a connection keeps everything`() {
        var queue = CommandQueue()
        queue.append(entry("a"), isConnected: false)
        #expect(queue.connectionLost().isEmpty)
        #expect(queue.connectionLost().isEmpty)
        #expect(queue.connected() == [RedisCommand("a")])
    }

    @Test func `a command put back is the first again`() throws {
        var queue = CommandQueue()
        for name in ["a", "b"] { queue.append(entry(name, repeatable: true), isConnected: true) }
        let refused = queue.replied()
        queue.putBack(try #require(refused))
        #expect(queue.connectionLost().isEmpty)
        #expect(queue.connected() == [RedisCommand("a"), RedisCommand("b")])
    }

    @Test func `the time of unwritten commands ends as failed, that of written ones as unknown`() {
        var queue = CommandQueue()
        queue.append(entry("a", deadline: 10), isConnected: true)
        queue.append(entry("b", deadline: 20), isConnected: false)
        queue.append(entry("c", deadline: 30), isConnected: false)
        for verdict in queue.expire(now: at(20)) { verdict.deliver() }
        #expect(log.lines == ["a timeout unknown", "b notConnected failed"])
        #expect(queue.count == 2)
    }

    @Test func `an expired command keeps its place for the reply, and is told once`() {
        var queue = CommandQueue()
        queue.append(entry("a", deadline: 10), isConnected: true)
        queue.append(entry("b", deadline: 20), isConnected: true)
        for verdict in queue.expire(now: at(15)) { verdict.deliver() }
        #expect(queue.expire(now: at(16)).isEmpty)
        for reply in ["1", "2"] { queue.replied()?.completion?(.success(.simple(reply))) }
        #expect(log.lines == ["a timeout unknown", "b 2"])
    }

    @Test func `an expired command is not repeated`() {
        var queue = CommandQueue()
        queue.append(entry("a", repeatable: true, deadline: 10), isConnected: true)
        queue.append(entry("b", repeatable: true, deadline: 20), isConnected: true)
        _ = queue.expire(now: at(15))
        #expect(queue.connectionLost().isEmpty)
        #expect(queue.connected() == [RedisCommand("b")])
    }

    @Test func `a repeated command that waits for a connection may have run`() {
        var queue = CommandQueue()
        queue.append(entry("a", repeatable: true, deadline: 10), isConnected: true)
        _ = queue.connectionLost()
        for verdict in queue.expire(now: at(10)) { verdict.deliver() }
        #expect(log.lines == ["a timeout unknown"])
        #expect(queue.count == 0)
    }

    @Test func `wedged is an unanswered command whose time is long up`() {
        var queue = CommandQueue()
        queue.append(entry("a", deadline: 10), isConnected: false)
        #expect(!queue.isWedged(now: at(1000), patience: .nanoseconds(5)), "never written")
        _ = queue.connected()
        #expect(!queue.isWedged(now: at(14), patience: .nanoseconds(5)))
        _ = queue.expire(now: at(14))
        #expect(queue.isWedged(now: at(15), patience: .nanoseconds(5)))
        _ = queue.replied()
        #expect(!queue.isWedged(now: at(15), patience: .nanoseconds(5)))
    }

    @Test func `closing tells everybody, and whether it may have run`() {
        var queue = CommandQueue()
        queue.append(entry("a"), isConnected: true)
        queue.append(entry("b"), isConnected: false)
        for verdict in queue.close() { verdict.deliver() }
        #expect(log.lines == ["a closed unknown", "b closed failed"])
        #expect(queue.count == 0)
    }
}
