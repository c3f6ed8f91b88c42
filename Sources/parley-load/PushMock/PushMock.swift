import NIOCore
import NIOHTTP1
import NIOHTTP2
import NIOPosix
import NIOSSL

/// Push services in this process, for tests and measurements: Web Push, and webhooks that are signed. They check what a
/// real service would, keep what they accepted, and do wrong what they are told to. HTTP/2 over TLS, HTTP/1.1 where a
/// client offers nothing else; one event loop.
///
/// | request | what |
/// | --- | --- |
/// | `POST /webpush/<id>` | a push; the first to an id that nobody made is 404 |
/// | `POST /webhook` | a signed push |
/// | `POST /mock/subscriptions` | makes a browser: what `PushSubscription.toJSON()` gives |
/// | `POST /mock/faults` | a list of faults to come, in place of the ones before; see `PushFault` |
/// | `GET /mock/pushes?after=<n>` | what was accepted, as far as it is kept |
/// | `GET /mock/counts` | how much was accepted, how much of it more than once, and what was wrong with requests |
struct PushMock {
    struct Configuration {
        var host = "127.0.0.1"
        var port = 0
        /// PEM files.
        var certificate: String
        var key: String
        var webhookSecret = ""
        /// Before each answer.
        var latency = TimeAmount.zero
        /// Of so many pushes one is decrypted and its signature verified; what that costs is not the sender's.
        var checkEvery = 1
    }

    let url: String
    private let channel: any Channel

    static func start(_ configuration: Configuration, on group: any EventLoopGroup) async throws -> PushMock {
        let eventLoop = group.any()
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMFile(configuration.certificate).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(file: configuration.key, format: .pem))
        )
        tls.applicationProtocols = ["h2", "http/1.1"]
        let context = try NIOSSLContext(configuration: tls)
        let desk = try await eventLoop.submit {
            NIOLoopBound(PushDesk(configuration), eventLoop: eventLoop)
        }.get()
        let channel = try await ServerBootstrap(group: eventLoop)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: context))
                }.flatMap {
                    channel.configureHTTP2SecureUpgrade(
                        h2ChannelConfigurator: { configureHTTP2($0, desk) },
                        http1ChannelConfigurator: { channel in
                            channel.eventLoop.makeCompletedFuture {
                                let pipeline = channel.pipeline.syncOperations
                                try pipeline.configureHTTPServerPipeline()
                                try pipeline.addHandler(PushMockHandler(desk: desk.value, isStream: false))
                            }
                        }
                    )
                }
            }
            .bind(host: configuration.host, port: configuration.port).get()
        guard let port = channel.localAddress?.port else { throw LoadError("the push mock has no port") }
        let url = "https://\(configuration.host):\(port)"
        try await eventLoop.submit { desk.value.url = url }.get()
        return PushMock(url: url, channel: channel)
    }

    private static func configureHTTP2(_ channel: any Channel, _ desk: NIOLoopBound<PushDesk>) -> EventLoopFuture<Void>
    {
        channel.eventLoop.makeCompletedFuture {
            var connection = NIOHTTP2Handler.ConnectionConfiguration()
            connection.initialSettings = [
                HTTP2Setting(parameter: .maxConcurrentStreams, value: 1000),
                HTTP2Setting(parameter: .maxHeaderListSize, value: 16_384),
            ]
            var streams = NIOHTTP2Handler.StreamConfiguration()
            streams.streamResetFrameRateLimit.maximumCount = 10_000
            let handler = NIOHTTP2Handler(
                mode: .server,
                eventLoop: channel.eventLoop,
                connectionConfiguration: connection,
                streamConfiguration: streams
            ) { stream in
                stream.eventLoop.makeCompletedFuture {
                    let pipeline = stream.pipeline.syncOperations
                    try pipeline.addHandler(HTTP2FramePayloadToHTTP1ServerCodec())
                    try pipeline.addHandler(PushMockHandler(desk: desk.value, isStream: true))
                }
            }
            try channel.pipeline.syncOperations.addHandler(handler)
        }
    }

    func stop() async throws { try await channel.close() }
}
