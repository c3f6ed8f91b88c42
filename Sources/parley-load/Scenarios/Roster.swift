import NIOCore
import NIOPosix
import ParleyClient
import ParleyWire

/// Signs up a run's users, a bounded number at once.
struct Roster {
    /// Requests under way at each gateway.
    static let window = 16

    let gateways: [Target]
    let group: any EventLoopGroup

    /// New users, one an index: user i belongs to gateway i mod G for even i, its partner i + 1 to the next.
    func seats(_ count: Int) async throws(ClientError) -> [Seat] {
        let apis = gateways.map { ParleyAPI($0.address, group: group, connections: Self.window) }
        // Six characters tell runs apart, below the 32 of a username.
        let run = String(UserID.random().description.prefix(6))
        let outcome = await withTaskGroup(of: Result<[(Int, Account)], ClientError>.self) { tasks in
            let workers = Self.window * apis.count
            for worker in 0..<min(workers, count) {
                let api = apis[worker % apis.count]
                tasks.addTask {
                    await Self.signUp(stride(from: worker, to: count, by: workers), run: run, at: api)
                }
            }
            var accounts = [Account?](repeating: nil, count: count)
            var failure: ClientError?
            for await result in tasks {
                switch result {
                case .success(let signed): for (index, account) in signed { accounts[index] = account }
                case .failure(let error):
                    failure = failure ?? error
                    tasks.cancelAll()
                }
            }
            return (accounts.compactMap(\.self), failure)
        }
        for api in apis { await api.shutdown() }
        if let failure = outcome.1 { throw failure }
        return outcome.0.enumerated().map { seat(of: $1, at: $0, count: count) }
    }

    private static func signUp(
        _ indices: StrideTo<Int>,
        run: String,
        at api: ParleyAPI
    ) async -> Result<[(Int, Account)], ClientError> {
        var accounts: [(Int, Account)] = []
        do throws(ClientError) {
            for index in indices where !Task.isCancelled {
                let name = "load-\(run)-\(index)"
                accounts.append(
                    (index, try await api.signUp(username: name, password: "password-\(name)", displayName: name))
                )
            }
            return .success(accounts)
        } catch {
            return .failure(error)
        }
    }

    private func seat(of account: Account, at index: Int, count: Int) -> Seat {
        let gateway = gateways[(index / 2 + index % 2) % gateways.count]
        guard let device = DeviceID("load") else { preconditionFailure("a valid device id") }
        return Seat(
            user: account.user,
            token: account.accessToken,
            refreshToken: account.refreshToken,
            device: device,
            gateway: gateway,
            localAddress: Seat.localAddress(seat: index, of: count, to: gateway)
        )
    }
}
