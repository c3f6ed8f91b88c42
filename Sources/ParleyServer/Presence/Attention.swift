import Synchronization

/// For how long somebody has looked on without a gap. What was silent while nobody could look, because Redis or this process
/// stood still, is not dead for that.
final class Attention: Sendable {
    private let looks = Mutex((since: ContinuousClock.now, last: ContinuousClock.now))

    /// Between two looks.
    private static let gap = Duration.seconds(3)

    /// Looks, and says since when.
    /// - Parameter isWork: the time since the last look was spent on what that showed, and is no gap.
    func span(isWork: Bool = false, now: ContinuousClock.Instant = .now) -> Duration {
        looks.withLock { looks in
            if !isWork, looks.last.duration(to: now) > Self.gap { looks.since = now }
            looks.last = now
            return looks.since.duration(to: now)
        }
    }
}
