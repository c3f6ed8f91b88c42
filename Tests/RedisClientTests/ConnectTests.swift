import Foundation
import NIOCore
import RedisClient
import Testing

@testable import TestSupport

/// Whether the first connection comes about, and what is said when it does not.
@Suite struct ConnectTests {
    private func failureToStart(_ url: String) async throws -> RedisError? {
        do {
            try await withClient(of: url) { _ in }
            return nil
        } catch let error as RedisError {
            return error
        }
    }

    @Test(.timeLimit(.minutes(1))) func `a server that cannot be reached is named`() async throws {
        let port = try freePort()
        let configuration = try RedisConfiguration(url: "redis://127.0.0.1:\(port)/4")
        let client = try RedisClient(
            configuration: configuration,
            eventLoops: [testEventLoop],
            logger: silentLogger
        )
        let error = await #expect(throws: RedisError.self) { try await client.start(within: .seconds(1)) }
        #expect(error?.code == .notConnected)
        #expect(error?.outcome == .failed)
        #expect(error?.message.contains("redis://127.0.0.1:\(port)/4") == true)
        await client.close()
    }

    @Test func `a server that comes late is waited for`() async throws {
        let redis = try await PrivateRedis()
        try await redis.kill9()
        async let answer = withClient(of: redis.url) { try await $0.send("PING").string }
        try await Task.sleep(for: .milliseconds(500))
        try await redis.restart()
        #expect(try await answer == "PONG")
    }

    @Test func `user, password and database of the URL are used`() async throws {
        let redis = try await PrivateRedis()
        try await redis.command("acl", "setuser", "ann", "on", ">s@cret", "~*", "+@all")
        let found = try await withClient(of: "redis://ann:s%40cret@127.0.0.1:\(redis.port)/3") { client in
            _ = try await client.send("SET", "here", "1")
            return try await client.send("CLIENT", "INFO").string ?? ""
        }
        #expect(found.contains("user=ann"))
        #expect(found.contains("db=3"))
        #expect(found.contains("name=parley"))
    }

    @Test func `a wrong or missing password is said`() async throws {
        let redis = try await PrivateRedis()
        try await redis.command("config", "set", "requirepass", "right")
        let address = "127.0.0.1:\(redis.port)"
        async let wrong = failureToStart("redis://:wrong@\(address)")
        async let missing = failureToStart("redis://\(address)")
        #expect(try await wrong?.message.contains("WRONGPASS") == true)
        #expect(try await missing?.message.contains("NOAUTH") == true)
        #expect(try await wrong?.message.contains("wrong@") == false, "the password is not shown")
        #expect(try await failureToStart("redis://:right@\(address)") == nil)
    }

    @Test func `TLS with the authority that the URL names`() async throws {
        let redis = try await PrivateRedis()
        let port = try freePort()
        let (certificate, key) = ("\(redis.dataDirectory)/cert.pem", "\(redis.dataDirectory)/key.pem")
        let made = try await run([
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days",
            "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ])
        try #require(made.status == 0, "\(made.output)")
        try await redis.command(
            "config",
            "set",
            "tls-cert-file",
            certificate,
            "tls-key-file",
            key,
            "tls-ca-cert-file",
            certificate,
            "tls-auth-clients",
            "no",
            "tls-port",
            "\(port)"
        )
        for host in ["localhost", "127.0.0.1"] {
            let large = String(repeating: "x", count: 1 << 20)
            let echo = try await withClient(of: "rediss://\(host):\(port)?ca=\(certificate)") {
                try await $0.send("ECHO", large).string
            }
            #expect(echo == large)
        }
        let distrusted = try await failureToStart("rediss://localhost:\(port)")
        #expect(distrusted?.code == .notConnected)
        #expect(distrusted?.message.uppercased().contains("CERTIFICATE") == true, "\(String(describing: distrusted))")
    }

    @Test func `a missing authority file is a wrong configuration`() async throws {
        #expect(try await failureToStart("rediss://127.0.0.1:1?ca=/nowhere.pem")?.code == .configuration)
    }
}
