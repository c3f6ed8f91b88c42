import HTTPTypes
import NIOCore
import ParleyWire
import Testing

@testable import ParleyServer

/// Where a user is signed in, on which devices, and how that ends.
@Suite struct GatewayDeviceTests {
    private struct Devices: Decodable {
        struct Entry: Decodable {
            struct Device: Decodable, Equatable {
                let name: String
                let connected: Bool
            }

            let id: String
            let device: String?
            let current: Bool
            let connected: Bool
            let created_at: Int64
            let last_used_at: Int64
            let last_seen: Int64
            let devices: [Device]
        }
        let devices: [Entry]
    }

    private func logIn(_ stack: GatewayStack, _ username: String, device: String) async throws -> TestAPI.Answer {
        let body = #"{"username":"\#(username)","password":"password-of-\#(username)","device":"\#(device)"}"#
        return try await stack.call(.post, "/v1/login", body)
    }

    @Test func `sign-ins are listed with their devices, and ended`() async throws {
        try await GatewayStack.with { stack in
            let (ada, eve) = (try await stack.person("ada"), try await stack.person("eve"))
            #expect(try await logIn(stack, "ada", device: "a b").problem == .invalid)
            let phone: SessionAnswer = try await logIn(stack, "ada", device: "phone.1").decode()
            let identity = try #require(stack.services.tokens.verify(phone.access_token))
            let pocket = GatewayStack.Person(id: ada.id, token: phone.access_token, identity: identity)
            let channel = try await stack.connection()
            _ = try await stack.poll(pocket, "device=phone.1", on: channel)
            try await stack.send("held by the phone", from: eve, to: ada)

            let listed: Devices = try await stack.call(.get, "/v1/devices", token: ada.token).decode()
            #expect(listed.devices.map(\.device) == ["phone.1", nil])
            #expect(listed.devices.map(\.current) == [false, true])
            #expect(listed.devices.map(\.devices) == [[.init(name: "phone.1", connected: false)], []])
            #expect(listed.devices.allSatisfy { $0.last_seen >= $0.last_used_at && $0.last_used_at >= $0.created_at })
            #expect(listed.devices.allSatisfy { $0.created_at > 1_600_000_000_000 && !$0.connected })
            let id = try #require(listed.devices.first?.id)

            #expect(try await stack.call(.delete, "/v1/devices/\(id)", token: eve.token).problem == .notFound)
            #expect(try await stack.call(.delete, "/v1/devices/UP", token: ada.token).problem == .notFound)
            #expect(try await stack.call(.delete, "/v1/devices/\(id)", token: ada.token).status == 204)
            #expect(try await stack.call(.get, "/v1/devices", token: phone.access_token).problem == .unauthorized)
            let refresh = #"{"refresh_token":"\#(phone.refresh_token)"}"#
            #expect(try await stack.call(.post, "/v1/token", refresh).problem == .unauthorized)
            let refused = await #expect(throws: HTTPProblem.self) {
                try await stack.poll(pocket, "device=phone.1", on: channel)
            }
            #expect(refused?.code == .unauthorized)
            #expect(try await KnownDevice.all(of: ada.id, in: stack.client).isEmpty)
            #expect(try await stack.call(.delete, "/v1/devices/\(id)", token: ada.token).problem == .notFound)
            try await channel.close()
        }
    }

    @Test func `a poll of one device too many is forbidden until another is signed out`() async throws {
        try await GatewayStack.with { stack in
            let ada = try await stack.person("ada")
            let channel = try await stack.connection()
            for number in 0..<stack.services.commit.deviceLimit {
                _ = try await stack.poll(ada, "device=d\(number)", on: channel)
            }
            let other: SessionAnswer = try await logIn(stack, "ada", device: "more").decode()
            let identity = try #require(stack.services.tokens.verify(other.access_token))
            let more = GatewayStack.Person(id: ada.id, token: other.access_token, identity: identity)
            let refused = await #expect(throws: HTTPProblem.self) {
                try await stack.poll(more, "device=more", on: channel)
            }
            #expect(refused?.code == .forbidden)
            _ = try await stack.poll(more, "", on: channel)
            let first = ada.identity.login
            #expect(try await stack.call(.delete, "/v1/devices/\(first)", token: more.token).status == 204)
            _ = try await stack.poll(more, "device=more", on: channel)
            #expect(try await KnownDevice.all(of: ada.id, in: stack.client).map(\.name) == ["more"])
            try await channel.close()
        }
    }
}
