/// A span of the day in minutes, from one up to another and without that; may pass midnight. From and to the same minute is
/// the whole day.
struct QuietMinutes: Sendable, Hashable {
    let from: Int
    let to: Int

    func contains(_ minute: Int) -> Bool {
        from < to ? (from..<to).contains(minute) : minute >= from || minute < to
    }
}
