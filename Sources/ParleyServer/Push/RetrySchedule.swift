/// When a push that did not get through is tried again: full jitter, so that what failed together does not come back
/// together, and never beyond the push's own life. Times in milliseconds.
struct RetrySchedule: Sendable, Hashable {
    /// What the first retry is spread over; doubles with each.
    var base: Int64 = 1000
    var cap: Int64 = 600_000

    /// - Parameters:
    ///   - attempt: how often it was tried, from 1.
    ///   - after: what the provider asked to wait for at least.
    /// - Returns: nil where its life ends before.
    func next(
        attempt: Int,
        after: Int64?,
        now: Int64,
        expiry: Int64,
        using generator: inout some RandomNumberGenerator
    ) -> Int64? {
        let spread = min(cap, base << Int64(min(max(0, attempt - 1), 20)))
        let due = now + (after ?? 0) + Int64.random(in: 0...spread, using: &generator)
        return due < expiry ? due : nil
    }
}
