import Dispatch
import HTTPTypes
import Hummingbird
import NIOCore
import NIOPosix
import ParleyWire
import TestSupport
import Testing

@testable import ParleyServer

@Suite struct HealthTests {
    @Test func `an event loop that stands still is found, and forgiven when it runs again`() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        let loops = Array(group.makeIterator())
        let heartbeats = loops.map { LoopHeartbeat($0) }
        let barrier = DispatchSemaphore(value: 0)
        loops[1].execute { barrier.wait() }
        func silent(_ index: Int) -> Bool { heartbeats[index].silence(now: .now()) > .seconds(2) }
        #expect(try await eventually { silent(1) })
        #expect(try await eventually { !silent(0) })
        barrier.signal()
        #expect(try await eventually { !silent(1) })
        // What kept the loop shows as lag.
        #expect(try await eventually { await Self.longest(heartbeats[1]) > 10 })
        try await group.shutdownGracefully()
    }

    /// The highest bucket that a lag fell into: beyond the tenth, it is 500 ms and more.
    private static func longest(_ heartbeat: LoopHeartbeat) async -> Int {
        guard case .times(let times)? = await heartbeat.collect().series[.eventLoopLag]?[[]] else { return -1 }
        return times.counts.lastIndex { $0 > 0 } ?? -1
    }

    @Test func `liveness asks no store, readiness says what is missing`() async throws {
        let router = Router(context: ParleyRequestContext.self)
        router.add(middleware: ProblemMiddleware())
        HealthRoutes(heartbeats: [LoopHeartbeat(MultiThreadedEventLoopGroup.singleton.next())]) {
            ["Redis", "subscriptions"]
        }.add(to: router)
        let api = TestAPI(router: router)
        let alive = try await api.call(.get, "/healthz")
        #expect(alive.status == 200 && alive.text == "ok\n")
        let ready = try await api.call(.get, "/readyz")
        #expect(ready.problem == .unavailable && ready.text.contains("Not ready: Redis, subscriptions."))
    }
}
