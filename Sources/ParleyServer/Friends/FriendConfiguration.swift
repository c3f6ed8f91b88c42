/// Settings of friends that a deployment chooses.
struct FriendConfiguration: Sendable {
    /// Friends of a user, at most.
    var friendLimit = 5000
    /// Requests of a user that wait for an answer, at most.
    var requestLimit = 500
}
