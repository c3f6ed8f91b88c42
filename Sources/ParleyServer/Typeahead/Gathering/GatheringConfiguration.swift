import NIOCore

/// How searches are gathered.
struct GatheringConfiguration: Sendable {
    /// Of so many users one is listened to, and counts for all of them.
    var sampling = 1
    /// So many different users must have searched for something before anybody is shown it.
    var gate = 5
    /// Within this time; milliseconds.
    var gateWindow: Int64 = 14 * 86_400_000
    /// Days for which counts are kept.
    var retentionDays = 90
    /// Between two writes of counts.
    var flush = TimeAmount.seconds(2)
    /// In which what trends loses half of its weight; milliseconds.
    var trendHalfLife: Int64 = 3 * 3_600_000
}
