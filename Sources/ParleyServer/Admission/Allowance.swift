import ParleyCore
import Synchronization

/// What one user, address or account has used of its limits at this gateway. Shared by all that act for it: a user's
/// sockets on every event loop, and their requests.
final class Allowance: Sendable {
    /// What is taken of a limit, and how much of that Redis does not know of yet.
    private struct Account {
        let activity: Activity
        var use = RateUse()
        var untold: Int64 = 0
        var since: Int64 = 0
    }

    struct Taken {
        /// In microseconds; 0 where it may happen.
        let wait: Int64
        /// To be charged in Redis.
        var told: Int64 = 0
    }

    /// As many go by before Redis is told of them together.
    static let chunk: Int64 = 16
    /// Who is slower than this part of the lasting rate is not worth telling of: many gateways would have to be used at
    /// once to exceed it.
    private static let slowness: Int64 = 16

    let subject: String
    /// A few: those that were ever taken of.
    private let accounts = Mutex<[Account]>([])

    init(subject: String) { self.subject = subject }

    func take(_ activity: Activity, of limit: RateLimit, at now: Int64) -> Taken {
        accounts.withLock { accounts in
            let index = Self.index(of: activity, in: &accounts)
            let wait = accounts[index].use.take(of: limit, at: now)
            guard wait == 0 else { return Taken(wait: wait) }
            if accounts[index].untold == 0 { accounts[index].since = now }
            accounts[index].untold += 1
            guard accounts[index].untold == Self.chunk else { return Taken(wait: 0) }
            accounts[index].untold = 0
            let isSlow = now - accounts[index].since > Self.chunk * Self.slowness * limit.interval
            return Taken(wait: 0, told: isSlow ? 0 : Self.chunk)
        }
    }

    /// Redis says that too much is used of it, at all gateways together.
    func pause(_ activity: Activity, for wait: Int64, of limit: RateLimit, at now: Int64) {
        accounts.withLock { accounts in
            let index = Self.index(of: activity, in: &accounts)
            accounts[index].use.pause(wait, of: limit, at: now)
        }
    }

    private static func index(of activity: Activity, in accounts: inout [Account]) -> Int {
        if let index = accounts.firstIndex(where: { $0.activity == activity }) { return index }
        accounts.append(Account(activity: activity))
        return accounts.count - 1
    }
}
