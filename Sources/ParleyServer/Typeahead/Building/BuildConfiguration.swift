/// How lists are built of what is imported and gathered.
struct BuildConfiguration: Sendable {
    /// Between two builds by the schedule; milliseconds.
    var period: Int64 = 3_600_000
    /// In which a search loses half of its weight in the lists; days.
    var halfLifeDays = 30
    /// A language or country has a list of its own when one was imported or so many queries of it are open; and one of as
    /// many is split into shards.
    var leastQueries = 1000
    /// Into which a list is split.
    var shards = 4
    /// The greatest load of a shard over their mean that is left as it is.
    var mostImbalance = 1.2
    /// By which a list's mean reciprocal rank may be below that of the one in force.
    var tolerance = 0.02
    /// Of the entries in force a new list must have, at least.
    var leastShare = 0.5
    /// Prefixes that must have been typed before quality says anything.
    var leastHeld = 200.0
    /// Days of searches by which lists are judged, and queries of them, the most frequent.
    var heldDays = 7
    var heldQueries = 200
}
