import Hummingbird
import NIOCore

/// `GET /metrics`, for Prometheus. Numbers alone, of nobody in particular; nevertheless a proxy should not pass it on.
struct MetricsRoute {
    let sources: [any MetricsSource]

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        router.get("/metrics") { _, _ in
            Response(
                status: .ok,
                headers: [.contentType: MetricsText.contentType, .cacheControl: "no-store"],
                body: ResponseBody(byteBuffer: ByteBuffer(string: MetricsText(await samples()).text))
            )
        }
    }

    /// A slow source keeps no other waiting.
    private func samples() async -> MetricSamples {
        await withTaskGroup(of: MetricSamples.self) { group in
            for source in sources { group.addTask { await source.collect() } }
            return await group.reduce(into: MetricSamples()) { $0.add($1) }
        }
    }
}
