import NIOCore
import NIOPosix
import ParleyClient
import ParleyWire

/// The users of a run: signs them up, or writes them into the database and signs them in, a bounded number at once.
struct Roster {
    /// Requests under way at each gateway.
    static let window = 16

    let gateways: [Target]
    let group: any EventLoopGroup
    /// Which of so many equal parts these users are; decides their source addresses.
    var share = 0
    var shares = 1
    var seeder: Seeder?

    /// New users, one an index: user i belongs to gateway i mod G for even i, its partner i + 1 to the next.
    func seats(_ count: Int) async throws -> [Seat] {
        // Six characters tell runs apart, below the 32 of a username.
        let run = String(UserID.random().description.prefix(6))
        let accounts: [Account]
        if let seeder {
            let seeded = try await seeder.accounts(count: count, prefix: "load-\(run)")
            accounts = try await each(count) { (index, api) throws(ClientError) in
                try await api.refresh(seeded[index].refreshToken)
            }
        } else {
            accounts = try await each(count) { (index, api) throws(ClientError) in
                let name = "load-\(run)-\(index)"
                return try await api.signUp(username: name, password: "password-\(name)", displayName: name)
            }
        }
        return accounts.enumerated().map { seat(of: $1, at: $0, count: count) }
    }

    /// Makes an account for each index, from all gateways in turn.
    private func each(
        _ count: Int,
        _ make: @escaping @Sendable (Int, ParleyAPI) async throws(ClientError) -> Account
    ) async throws(ClientError) -> [Account] {
        let apis = gateways.map { ParleyAPI($0.address, group: group, connections: Self.window) }
        let outcome = await withTaskGroup(of: Result<[(Int, Account)], ClientError>.self) { tasks in
            let workers = Self.window * apis.count
            for worker in 0..<min(workers, count) {
                let api = apis[worker % apis.count]
                tasks.addTask {
                    var accounts: [(Int, Account)] = []
                    do throws(ClientError) {
                        for index in stride(from: worker, to: count, by: workers) where !Task.isCancelled {
                            accounts.append((index, try await make(index, api)))
                        }
                        return .success(accounts)
                    } catch {
                        return .failure(error)
                    }
                }
            }
            var accounts = [Account?](repeating: nil, count: count)
            var failure: ClientError?
            for await result in tasks {
                switch result {
                case .success(let made): for (index, account) in made { accounts[index] = account }
                case .failure(let error):
                    failure = failure ?? error
                    tasks.cancelAll()
                }
            }
            return (accounts.compactMap(\.self), failure)
        }
        for api in apis { await api.shutdown() }
        if let failure = outcome.1 { throw failure }
        return outcome.0
    }

    private func seat(of account: Account, at index: Int, count: Int) -> Seat {
        let home = (index / 2 + index % 2) % gateways.count
        guard let device = DeviceID("load") else { preconditionFailure("a valid device id") }
        return Seat(
            user: account.user,
            token: account.accessToken,
            refreshToken: account.refreshToken,
            device: device,
            gateways: gateways,
            home: home,
            localAddress: Seat.localAddress(seat: share * count + index, of: shares * count, to: gateways[home])
        )
    }
}
