import NIOCore
import NIOPosix
import Testing

@testable import ParleyServer

/// Where pushes may be sent to.
@Suite struct PushHTTPTests {
    private func withClient(
        allowsPrivateAddresses: Bool = false,
        _ body: (PushHTTPClient) async throws -> Void
    ) async throws {
        var configuration = PushHTTPConfiguration()
        configuration.allowsPrivateAddresses = allowsPrivateAddresses
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let client = try PushHTTPClient(eventLoop: loop, configuration: configuration)
        let outcome: Result<Void, any Error>
        do { outcome = .success(try await body(client)) } catch { outcome = .failure(error) }
        await client.close()
        try outcome.get()
    }

    private func request(_ url: String, isForeign: Bool) throws -> PushRequest {
        PushRequest(url: try #require(PushURL(url)), headers: [], body: ByteBuffer(), isForeign: isForeign)
    }

    /// What a name's server answers is what is looked at: `localhost` stands for any name that leads here.
    @Test(arguments: ["https://localhost:1/", "https://127.0.0.1:1/", "https://[::1]:1/", "https://10.0.0.1/"])
    func `an endpoint that a user named leads to no private address`(url: String) async throws {
        try await withClient { client in
            let request = try request(url, isForeign: true)
            let error = await #expect(throws: PushError.self) { _ = try await client.send(request) }
            guard case .forbiddenAddress = error else { return #expect(Bool(false), "\(String(describing: error))") }
        }
    }

    @Test func `elsewhere a server that is not there is a failure of transport`() async throws {
        let ours = try request("https://localhost:1/", isForeign: false)
        let theirs = try request("https://localhost:1/", isForeign: true)
        for (request, isAllowed) in [(ours, false), (theirs, true)] {
            try await withClient(allowsPrivateAddresses: isAllowed) { client in
                let error = await #expect(throws: PushError.self) { _ = try await client.send(request) }
                guard case .transport = error else { return #expect(Bool(false), "\(String(describing: error))") }
            }
        }
    }
}
