import Foundation
import NIOCore
import NIOPosix
import ParleyClient
import ParleyWire
import TestSupport
import Testing

/// A whole stack of two gateways, and people who use it by the client.
struct ClientWorld {
    let stack: StackProcess
    let group: MultiThreadedEventLoopGroup
    let gateways: [GatewayAddress]
    let api: ParleyAPI

    /// - Parameter settings: `PARLEY_…=value` of every process.
    static func with(settings: [String] = [], _ body: (ClientWorld) async throws -> Void) async throws {
        let stack = try StackProcess()
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let outcome: Result<Void, any Error>
        do {
            try await stack.up(gateways: 2, workers: 1, settings: settings)
            let gateways = try stack.description().gateways.map { try GatewayAddress($0.url) }
            let api = ParleyAPI(gateways[0], group: group)
            outcome = .success(try await body(ClientWorld(stack: stack, group: group, gateways: gateways, api: api)))
            await api.shutdown()
        } catch {
            outcome = .failure(error)
        }
        try await stack.down()
        try await group.shutdownGracefully()
        try outcome.get()
    }

    /// Somebody new of that name and a few letters more.
    func person(_ name: String) async throws -> Account {
        let username = "\(name)-\(UserID.random().description.prefix(6))"
        return try await api.signUp(username: username, password: "a long password", displayName: name)
    }

    func session(
        _ account: Account,
        _ device: String,
        resume: ClientFrame.Cursor? = nil,
        known: [ConversationID: Int64] = [:]
    ) throws -> ParleySession {
        var configuration = ParleySession.Configuration(gateways: gateways, device: try #require(DeviceID(device)))
        (configuration.resume, configuration.known) = (resume, known)
        configuration.backoff = Backoff(baseMilliseconds: 100)
        return ParleySession(configuration, account: account, group: group)
    }

    func newID() -> ClientMessageID { .random(unixMilliseconds: Int64(Date().timeIntervalSince1970 * 1000)) }
}
