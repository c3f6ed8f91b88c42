import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import NIOExtras
import NIOHTTP1
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import NIOPosix

/// What a connection to the gateway's port becomes: HTTP, answered by Hummingbird's routes, or a session. Only a
/// connection's first request can become a session.
struct GatewayChannel: ServerChildChannel, HTTPChannelHandler {
    enum Kind: Sendable {
        case http(NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>)
        case socket
    }

    let responder: HTTPChannelHandler.Responder
    let services: GatewayServices
    let hubs: SessionHubs

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        channel.eventLoop.makeCompletedFuture {
            try channel.syncOptions?.setOption(.socketOption(.tcp_nodelay), value: 1)
            let water = ChannelOptions.Types.WriteBufferWaterMark(
                low: services.configuration.outputLowWater,
                high: services.configuration.outputHighWater
            )
            try channel.syncOptions?.setOption(ChannelOptions.writeBufferWaterMark, value: water)
            let handlers = channel.pipeline.syncOperations
            let admission = services.admission
            var gate: ConnectionGate?
            var visit: Visit?
            if admission.configuration.isOn {
                switch admission.connected(from: .init(channel.remoteAddress)) {
                case .refused(let problem):
                    try handlers.addHandler(ConnectionGate(bytes: 0, refusal: problem))
                    return Value(channel: channel, kind: channel.eventLoop.makeSucceededFuture(.socket))
                case .welcome(let admitted):
                    visit = admitted
                    visit?.end(with: channel)
                }
                let first = ConnectionGate(bytes: admission.configuration.firstBytes)
                try handlers.addHandler(first)
                gate = first
            }
            var configuration = NIOUpgradableHTTPServerPipelineConfiguration(
                upgradeConfiguration: NIOTypedHTTPServerUpgradeConfiguration<Kind>(
                    upgraders: [WebSocketUpgrader(services: services, hubs: hubs)],
                    notUpgradingCompletionHandler: { channel in
                        channel.eventLoop.makeCompletedFuture { try makeHTTP(channel, logger) }
                    }
                )
            )
            configuration.enablePipelining = false
            configuration.enableResponseHeaderValidation = false
            let kind = try handlers.configureUpgradableHTTPServerPipeline(configuration: configuration)
            try handlers.addHandler(
                FirstRequestHandler(services: services, visit: visit, gate: gate),
                position: .before(handlers.handler(type: NIOTypedHTTPServerUpgradeHandler<Kind>.self))
            )
            return Value(channel: channel, kind: kind)
        }
    }

    private static let idleTimeout = TimeAmount.seconds(75)

    private func makeHTTP(_ channel: any Channel, _ logger: Logger) throws -> Kind {
        let first = FirstRequestHandler.remove(from: channel)
        first?.visit?.becameKnown()
        try channel.pipeline.syncOperations.addHandler(ConnectionEndHandler())
        try channel.pipeline.syncOperations.addHandler(
            SuggestChannelHandler(
                engine: services.configuration.serves == .sockets ? nil : services.suggest?[channel.eventLoop],
                services: services,
                idleTimeout: Self.idleTimeout
            )
        )
        try channel.pipeline.syncOperations.addHandler(HTTP1ToHTTPServerCodec(secure: false))
        try channel.pipeline.syncOperations.addHandler(HTTPConnectionStateHandler(logger: logger))
        if first?.isQuiescing == true {
            // Behind the request, whose answer is then the last: else the connection would live for as long as its client
            // asks, and the process with it.
            channel.eventLoop.execute { channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent()) }
        }
        return .http(
            try NIOAsyncChannel(
                wrappingChannelSynchronously: channel,
                configuration: .init(isOutboundHalfClosureEnabled: true)
            )
        )
    }

    func handle(value: Value, logger: Logger) async {
        // A session lives in its channel's pipeline: no task stays with it.
        if case .http(let channel)? = try? await value.kind.get() {
            await handleHTTP(asyncChannel: channel, logger: logger)
        }
    }

    /// A connection, and what it becomes when its first request has come.
    struct Value: ServerChildChannelValue {
        let channel: any Channel
        let kind: EventLoopFuture<Kind>
    }
}
