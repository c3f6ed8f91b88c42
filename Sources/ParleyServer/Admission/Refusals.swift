import ParleyWire
import Synchronization

/// How often limits and load shedding refused what, by code.
final class Refusals: MetricsSource {
    struct Kind: Hashable, Sendable {
        let activity: Activity
        let code: ErrorCode
    }

    private static let codes: [ErrorCode] = [.rateLimited, .overloaded]

    private let counts = Mutex<[Kind: Int]>([:])

    /// Other codes have other reasons, and are not counted.
    func count(_ activity: Activity, _ code: ErrorCode) {
        guard Self.codes.contains(code) else { return }
        counts.withLock { $0[Kind(activity: activity, code: code), default: 0] += 1 }
    }

    /// Since the process began; what never was is not in it.
    var all: [Kind: Int] { counts.withLock { $0 } }

    func collect() -> MetricSamples {
        let all = all
        var samples = MetricSamples()
        for activity in Activity.allCases {
            for code in Self.codes {
                let count = all[Kind(activity: activity, code: code)] ?? 0
                samples.add(.limited, activity.rawValue, code.rawValue, value: count)
            }
        }
        return samples
    }
}
