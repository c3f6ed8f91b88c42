/// Whether one more poll of a user may wait for events, where so many of them may at once.
public enum PollAdmission: Sendable, Equatable {
    case wait
    /// Once the user's oldest is answered, with nothing: most likely its client is gone, or polls anew by now.
    case displaceOldest
    case refuse

    /// How long a poll waits undisturbed, in milliseconds. Clients that ask again as soon as they are answered would chase
    /// one another otherwise.
    public static let grace: Int64 = 1000

    /// - Parameters:
    ///   - waiting: polls of the user that wait already.
    ///   - oldest: for how long the first of them has, in milliseconds.
    ///   - limit: at least 1.
    public init(waiting: Int, oldest: Int64, limit: Int) {
        self = waiting < limit ? .wait : oldest >= Self.grace ? .displaceOldest : .refuse
    }
}
