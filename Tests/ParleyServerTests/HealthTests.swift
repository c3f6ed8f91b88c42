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
        let (lag, other) = (EventLoopLag(loops), EventLoopLag([loops[0]]))
        let barrier = DispatchSemaphore(value: 0)
        loops[1].execute { barrier.wait() }
        #expect(try await eventually { lag.silence > .seconds(2) && lag.recent > .seconds(1) })
        #expect(try await eventually { other.silence < .seconds(1) })
        barrier.signal()
        #expect(try await eventually { lag.silence < .seconds(1) && lag.recent < .seconds(1) })
        // What kept the loop shows as lag for good.
        guard case .times(let times)? = lag.collect().series[.eventLoopLag]?[[]] else {
            Issue.record("no times")
            return
        }
        #expect((times.counts.lastIndex { $0 > 0 } ?? -1) > 10, "beyond the tenth bucket, it is 500 ms and more")
        try await group.shutdownGracefully()
    }

    @Test func `liveness asks no store, readiness says what is missing`() async throws {
        let router = Router(context: ParleyRequestContext.self)
        router.add(middleware: ProblemMiddleware())
        HealthRoutes(lag: EventLoopLag([MultiThreadedEventLoopGroup.singleton.next()])) {
            ["Redis", "subscriptions"]
        }.add(to: router)
        let api = TestAPI(router: router)
        let alive = try await api.call(.get, "/healthz")
        #expect(alive.status == 200 && alive.text == "ok\n")
        let ready = try await api.call(.get, "/readyz")
        #expect(ready.problem == .unavailable && ready.text.contains("Not ready: Redis, subscriptions."))
    }
}
