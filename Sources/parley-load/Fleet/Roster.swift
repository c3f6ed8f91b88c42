import NIOCore
import NIOPosix
import ParleyClient
import ParleyWire

/// The users of a run and their groups: signs them up, or writes them into the database and signs them in, a bounded number at once.
struct Roster {
    /// Requests under way at each gateway.
    static let window = 16
    /// How long a request may be put off by the gateways' limits, in milliseconds.
    static let patience: Int64 = 30_000

    let gateways: [Target]
    let group: any EventLoopGroup
    /// Which of so many equal parts these users are; decides their source addresses.
    var share = 0
    var shares = 1
    var seeder: Seeder?

    /// New users.
    func accounts(_ count: Int) async throws -> [Account] {
        // Six characters tell runs apart, below the 32 of a username.
        let run = String(UserID.random().description.prefix(6))
        guard let seeder else {
            return try await each(count) { (index, api) throws(ClientError) in
                let name = "load-\(run)-\(index)"
                return try await api.signUp(username: name, password: "password-\(name)", displayName: name)
            }
        }
        let seeded = try await seeder.accounts(count: count, prefix: "load-\(run)")
        return try await each(count) { (index, api) throws(ClientError) in
            try await api.refresh(seeded[index].refreshToken)
        }
    }

    /// The conversations of a chat: the members of each stand together.
    func conversations(_ chat: LoadPlan.Chat, _ accounts: [Account]) async throws -> [ConversationID] {
        let size = chat.members
        return try await each(accounts.count / size) { (index, api) throws(ClientError) in
            let members = accounts[index * size..<(index + 1) * size]
            guard let first = members.first, let last = members.last else { preconditionFailure("groups have members") }
            if !chat.isGroup { return .direct(first.user, last.user) }
            return try await api.createGroup(
                title: "Load \(index)",
                members: members.dropFirst().map(\.user),
                key: ClientMessageID.random(unixMilliseconds: Clock.unixMilliseconds()),
                token: first.accessToken
            )
        }
    }

    /// Makes friends in the database.
    func befriend(_ accounts: [Account], _ plan: LoadPlan.Presence) async throws {
        guard let seeder else { throw LoadError("friends are written into the database: --seed-users is needed") }
        try await seeder.befriend(
            accounts.indices.flatMap { index in
                plan.friends(of: index).filter { $0 > index }.map { (accounts[index].user, accounts[$0].user) }
            }
        )
    }

    /// A seat for each device of each user. Users of a conversation, and the devices of each, are spread over the
    /// gateways.
    /// - Parameters:
    ///   - together: all at the last gateway instead.
    ///   - listens: of all members of a conversation but the first; nil where all may write.
    func seats(
        _ accounts: [Account],
        members: Int = 1,
        devices: Int = 1,
        together: Bool = false,
        listens: Receive? = nil
    ) -> [Seat] {
        let count = accounts.count * devices
        return (0..<count).map { index in
            let user = index / devices
            let spread = (user / members + user % members + index % devices) % gateways.count
            let home = together ? gateways.count - 1 : spread
            guard let device = DeviceID("load-\(index % devices)") else { preconditionFailure("a valid device id") }
            return Seat(
                user: accounts[user].user,
                token: accounts[user].accessToken,
                refreshToken: accounts[user].refreshToken,
                device: device,
                listens: user.isMultiple(of: members) ? nil : listens,
                gateways: gateways,
                home: home,
                localAddress: Seat.localAddress(seat: share * count + index, of: shares * count, to: gateways[home])
            )
        }
    }

    /// Makes something for each index, at all gateways in turn.
    private func each<Made: Sendable>(
        _ count: Int,
        _ make: @escaping @Sendable (Int, ParleyAPI) async throws(ClientError) -> Made
    ) async throws(ClientError) -> [Made] {
        let apis = gateways.map { ParleyAPI($0.address, group: group, connections: Self.window) }
        let outcome = await withTaskGroup(of: Result<[(Int, Made)], ClientError>.self) { tasks in
            let workers = Self.window * apis.count
            for worker in 0..<min(workers, count) {
                let api = apis[worker % apis.count]
                tasks.addTask {
                    var mine: [(Int, Made)] = []
                    do throws(ClientError) {
                        for index in stride(from: worker, to: count, by: workers) where !Task.isCancelled {
                            let made = try await patiently { () throws(ClientError) in try await make(index, api) }
                            mine.append((index, made))
                        }
                        return .success(mine)
                    } catch {
                        return .failure(error)
                    }
                }
            }
            var all = [Made?](repeating: nil, count: count)
            var failure: ClientError?
            for await result in tasks {
                switch result {
                case .success(let made): for (index, one) in made { all[index] = one }
                case .failure(let error):
                    failure = failure ?? error
                    tasks.cancelAll()
                }
            }
            return (all.compactMap(\.self), failure)
        }
        for api in apis { await api.shutdown() }
        if let failure = outcome.1 { throw failure }
        return outcome.0
    }

    /// Waits where a limit says for how long.
    private func patiently<Made: Sendable>(
        _ make: () async throws(ClientError) -> Made
    ) async throws(ClientError) -> Made {
        var left = Self.patience
        while true {
            let refusal: ClientError
            do throws(ClientError) {
                return try await make()
            } catch {
                refusal = error
            }
            guard refusal.code == .refused(.rateLimited) else { throw refusal }
            let wait = max(refusal.retryMilliseconds ?? 1000, 1)
            left -= wait
            guard left >= 0, (try? await Task.sleep(for: .milliseconds(wait))) != nil else {
                let remedy = "raise the gateways' PARLEY_LIMITS, or take --seed-users"
                throw ClientError(refusal.code, "\(refusal.message) (\(remedy))")
            }
        }
    }
}
