import ParleyWire
import Synchronization

/// How often this process refused what, by code.
final class Refusals: Sendable {
    struct Kind: Hashable, Sendable {
        let activity: Activity
        let code: ErrorCode
    }

    private let counts = Mutex<[Kind: Int]>([:])

    func count(_ activity: Activity, _ code: ErrorCode) {
        counts.withLock { $0[Kind(activity: activity, code: code), default: 0] += 1 }
    }

    /// Since the process began; what never was is not in it.
    var all: [Kind: Int] { counts.withLock { $0 } }
}
