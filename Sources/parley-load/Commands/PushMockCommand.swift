import ArgumentParser
import NIOCore
import NIOPosix

struct PushMockCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "push-mock",
        abstract: "Push services on this machine: what they accept can be looked at, and what they do wrong be told.",
        discussion: """
            Web Push at /webpush/…, for browsers that POST /mock/subscriptions makes, and signed webhooks at /webhook.
            GET /mock/pushes and /mock/counts say what came; POST /mock/faults takes what is to go wrong, as
            [{"kind":"status","status":429,"retry_after":2,"times":3}], of the kinds status, goaway, reset and slow.
            """
    )

    @Option(help: "Where to listen; 0 for any port that is free.")
    var port = 0

    @Option(help: "The certificate, a PEM file.")
    var certificate: String

    @Option(help: "Its key, a PEM file.")
    var key: String

    @Option(help: "What webhooks are signed with.")
    var webhookSecret = ""

    @Option(help: "Milliseconds before each answer to a push.")
    var latencyMs = 0

    @Option(help: "Decrypt one of so many pushes, and verify its signature.")
    var checkEvery = 1

    func validate() throws {
        guard (0...65535).contains(port), latencyMs >= 0, checkEvery >= 1 else {
            throw ValidationError("--port, --latency-ms or --check-every cannot be")
        }
    }

    func run() async throws {
        try await reporting { group in
            var configuration = PushMock.Configuration(certificate: certificate, key: key)
            configuration.port = port
            configuration.webhookSecret = webhookSecret
            configuration.latency = .milliseconds(Int64(latencyMs))
            configuration.checkEvery = checkEvery
            let mock = try await PushMock.start(configuration, on: group)
            say("push services at \(mock.url)")
            while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
            return .success
        }
    }
}
