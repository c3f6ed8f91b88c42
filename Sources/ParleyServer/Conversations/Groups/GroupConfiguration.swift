/// Settings of groups that a deployment chooses.
struct GroupConfiguration: Sendable {
    enum History: String, Sendable, CaseIterable {
        /// New members see what comes from their joining on.
        case joining
        /// New members see everything.
        case all
    }

    /// Members of a group, at most.
    var memberLimit = 100
    var history = History.joining
}
