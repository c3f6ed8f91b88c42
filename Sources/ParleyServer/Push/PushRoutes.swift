import Hummingbird
import ParleyWire
import RedisClient

/// Registration of devices for push, and the key that pages subscribe with.
struct PushRoutes {
    let store: PushStore
    let redis: RedisClient
    let configuration: PushConfiguration
    let authenticator: Authenticator

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        let offered = Set(configuration.providers.map(\.name))
        let signedIn = router.group().add(middleware: authenticator)
        signedIn.put("/v1/devices/:id/push") { request, context in
            let given: PushRegistrationRequest = try await request.decodeJSON()
            let (device, identity) = (try context.device(), try context.requireIdentity())
            let address = try given.address()
            guard offered.contains(address.provider) else {
                throw HTTPProblem.invalid("provider", "\(address.provider) is not configured here.")
            }
            let hidesContent = given.hide_content ?? false
            let isStored = try await store.register(address, hidesContent: hidesContent, device: device, of: identity)
            guard isStored else { throw HTTPProblem(.unauthorized, "This sign-in was ended.") }
            do {
                _ = try await redis.send(PushCalls.enrol([identity.user.description], true), repeatable: true)
            } catch {
                throw HTTPProblem(.unavailable, "The device is registered, and not in force yet: ask again.")
            }
            return Response(status: .noContent)
        }
        // Whether others are left, the next push finds out.
        signedIn.delete("/v1/devices/:id/push") { _, context in
            let user = try context.requireIdentity().user
            guard try await store.unregister(context.device(), of: user) else {
                throw HTTPProblem(.notFound, "This device is not registered for push.")
            }
            return Response(status: .noContent)
        }
        signedIn.get("/v1/push/vapid") { _, _ in
            PublicKey(public_key: configuration.vapidKey?.publicText)
        }
    }

    /// null where Web Push is not configured: every page asks, and browsers tell of a 404 as of an error.
    private struct PublicKey: ResponseEncodable {
        let public_key: String?

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(public_key, forKey: .public_key)
        }

        private enum CodingKeys: CodingKey {
            case public_key
        }
    }
}

extension ParleyRequestContext {
    fileprivate func device() throws -> String {
        guard let device = try DeviceID(parameters.require("id")) else {
            throw HTTPProblem.invalid("id", "expected a device's name, 1-64 of [A-Za-z0-9._-].")
        }
        return device.description
    }
}
