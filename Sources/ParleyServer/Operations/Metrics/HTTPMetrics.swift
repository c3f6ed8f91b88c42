import HTTPTypes
import Hummingbird
import NIOCore
import ParleyWire
import Synchronization

/// What the HTTP side of a process counts.
final class HTTPMetrics: MetricsSource {
    private struct Series: Hashable {
        let method: String
        let route: String
        let status: String
    }

    private struct State {
        var requests: [Series: Histogram] = [:]
        var refusals: [ErrorCode: Int] = [:]
        var committed = 0
        var repeats = 0
    }

    private let state = Mutex(State())

    /// What Hummingbird calls it.
    private static let notFound = "NotFound"

    func answered(_ method: HTTPRequest.Method, route: String?, status: Int, in time: Duration) {
        // What matches no route comes with any method and path, so neither may make a series.
        let isRoute = route != nil && route != Self.notFound
        let series = Series(
            method: isRoute ? method.rawValue : "any",
            route: isRoute ? route ?? "" : "none",
            status: "\(status / 100)xx"
        )
        let nanoseconds = Int(time / .nanoseconds(1))
        state.withLock { $0.requests[series, default: Histogram()].record(nanoseconds: nanoseconds) }
    }

    /// A request for suggestions that came by no route.
    func suggested(_ status: Int, in time: TimeAmount) {
        let series =
            switch status {
            case 200: Self.suggested
            case 304: Self.unchanged
            default: Series(method: "GET", route: "/v1/suggest", status: "\(status / 100)xx")
            }
        state.withLock { $0.requests[series, default: Histogram()].record(nanoseconds: Int(time.nanoseconds)) }
    }

    private static let suggested = Series(method: "GET", route: "/v1/suggest", status: "2xx")
    private static let unchanged = Series(method: "GET", route: "/v1/suggest", status: "3xx")

    func refused(_ code: ErrorCode) { state.withLock { $0.refusals[code, default: 0] += 1 } }

    func committed(_ result: SendResult) {
        state.withLock { if result.isRepeat { $0.repeats += 1 } else { $0.committed += 1 } }
    }

    /// Messages, through this process's HTTP.
    var committed: Int { state.withLock { $0.committed } }

    func collect() -> MetricSamples {
        let state = state.withLock { $0 }
        var samples = MetricSamples()
        for (series, times) in state.requests {
            samples.add(.httpRequests, series.method, series.route, series.status, times: times)
        }
        for code in ErrorCode.allCases {
            samples.add(.refusals, "http", code.rawValue, value: state.refusals[code] ?? 0)
        }
        samples.add(.messagesCommitted, "http", value: state.committed)
        samples.add(.messagesDuplicate, "http", value: state.repeats)
        return samples
    }
}

/// Measures each request by the template of its route. Stands before everything else.
struct MetricsMiddleware: RouterMiddleware {
    typealias Context = ParleyRequestContext

    let metrics: HTTPMetrics

    func handle(
        _ request: Request,
        context: ParleyRequestContext,
        next: (Request, ParleyRequestContext) async throws -> Response
    ) async throws -> Response {
        let begun = ContinuousClock.now
        let response = try await next(request, context)
        let status = response.status.code
        metrics.answered(request.method, route: context.endpointPath, status: status, in: .now - begun)
        return response
    }
}
