import NIOCore
import ParleyClient

/// What a device signs in with.
struct Credentials: Sendable {
    var token: String
    var refreshToken: String

    /// The next ones: these are spent.
    func refreshed(at gateway: Target, on group: any EventLoopGroup) async throws(ClientError) -> Credentials {
        let api = ParleyAPI(gateway.address, group: group, connections: 1)
        let result: Result<Account, ClientError>
        do throws(ClientError) {
            result = .success(try await api.refresh(refreshToken))
        } catch {
            result = .failure(error)
        }
        await api.shutdown()
        let account = try result.get()
        return Credentials(token: account.accessToken, refreshToken: account.refreshToken)
    }
}
