import HTTPTypes
import Hummingbird
import NIOHTTP1

/// `GET /v1/ws` as plain HTTP: reached by what could not upgrade, and says why.
struct SocketRoute {
    let services: GatewayServices

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        router.get("/v1/ws") { request, _ in
            var headers = HTTPHeaders()
            for field in request.headers { headers.add(name: field.name.rawName, value: field.value) }
            do throws(UpgradeCheck.Refusal) {
                _ = try services.upgradeCheck.check(headers)
            } catch {
                services.http.refused(error.code)
                var response = try HTTPProblem(error.code, error.detail).response()
                response.status = .init(code: error.status)
                return response
            }
            // A sound request, but not this connection's first: only a fresh connection can become a socket.
            return Response(status: .temporaryRedirect, headers: [.location: UpgradeCheck.path, .connection: "close"])
        }
    }
}
