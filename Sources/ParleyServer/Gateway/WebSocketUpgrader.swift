import Crypto
import NIOCore
import NIOHTTP1
import ParleyWire

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Turns `GET /v1/ws` into a session (RFC 6455, section 4.2). NIO's own upgrader would put its frame codec into the
/// pipeline; a session decodes by itself.
struct WebSocketUpgrader: NIOTypedHTTPServerProtocolUpgrader {
    typealias UpgradeResult = GatewayChannel.Kind

    let services: GatewayServices
    let hubs: SessionHubs

    let supportedProtocol = "websocket"
    let requiredUpgradeHeaders: [String] = []

    func buildUpgradeResponse(
        channel: any Channel,
        upgradeRequest: HTTPRequestHead,
        initialResponseHeaders: HTTPHeaders
    ) -> EventLoopFuture<HTTPHeaders> {
        channel.eventLoop.makeCompletedFuture {
            let extra = try services.checkUpgrade(upgradeRequest)
            var headers = initialResponseHeaders
            headers.add(contentsOf: extra)
            let key = upgradeRequest.headers.first(name: "sec-websocket-key") ?? ""
            let digest = Insecure.SHA1.hash(data: Data((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8))
            headers.replaceOrAdd(name: "Sec-WebSocket-Accept", value: Data(digest).base64EncodedString())
            return headers
        }
    }

    func upgrade(channel: any Channel, upgradeRequest: HTTPRequestHead) -> EventLoopFuture<UpgradeResult> {
        channel.eventLoop.makeCompletedFuture {
            let visit = FirstRequestHandler.remove(from: channel)?.visit
            let session = Session(hub: hubs[channel.eventLoop], services: services, visit: visit)
            try channel.pipeline.syncOperations.addHandler(session)
            return .socket
        }
    }
}
