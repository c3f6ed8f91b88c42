import NIOCore
import ParleyWire
import Testing

@testable import ParleyServer

@Suite struct SessionHubTests {
    /// Keeps the frames that it is given.
    private final class Reader: QueueReader {
        let id: QueueReader.ID
        let slot = 0
        let position: ReaderPosition? = nil
        var frames: [ByteBuffer] = []

        init(_ id: QueueReader.ID) { self.id = id }

        func published(_ entry: PublishedEntry, frame: () -> ByteBuffer) { frames.append(frame()) }
        func noticed(_ notice: UserNotice) {}
        func positionChecked(epoch: String, head: Int64, cursorThen: Int64, isRevoked: Bool) {}
        func epochChanged(to epoch: String) {}
        func heartbeat() {}
        func drain() {}
    }

    @Test func `an event is encoded once for all sockets of a user`() async throws {
        try await GatewayStack.with { stack in
            let (hub, user) = (stack.hub, UserID.random())
            let frames = try await hub.eventLoop.submit {
                let readers = (1...3).map { Reader(1_000_000 + $0) }
                for reader in readers { hub.follow(user, reader) {} }
                let event = ByteBuffer(string: #"{"mid":"1","ts":2,"seq":3,"type":"message"}"#)
                hub.publish(PublishedEntry(epoch: "e", q: 7, event: event), to: user)
                for reader in readers { hub.remove(reader, user: user) }
                return readers.flatMap(\.frames)
            }.get()
            #expect(frames.count == 3 && String(buffer: frames[0]).contains(#""q":7,"#))
            let places = frames.map { $0.withUnsafeReadableBytes { $0.baseAddress } }
            #expect(Set(places).count == 1, "the very same bytes")
        }
    }
}
