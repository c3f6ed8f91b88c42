public import NIOCore
public import ParleyCore
import RedisClient

/// How a gateway treats its sessions.
public struct GatewayConfiguration: Sendable {
    /// Unique among running gateways; shown in the registry.
    public var name = "gateway"
    /// The base that clients reach this gateway at.
    public var publicURL = "http://127.0.0.1:8080"
    public var zone = "default"

    /// What clients are given here.
    public enum Service: String, Sendable, CaseIterable {
        /// HTTP, polls too, and no sockets.
        case api
        /// Sockets, and of HTTP only what finds gateways and tells of this one's health.
        case sockets
        case all
    }

    public var serves = Service.all
    /// Sessions that this gateway may hold; others are refused with 503.
    public var capacity = 18_000
    public var allowedOrigins: Set<String> = []

    /// Between pings; a session is closed after two that nothing answered.
    public var heartbeat = TimeAmount.seconds(25)
    /// How long somebody whose connection was lost still counts as online.
    public var presenceGrace = TimeAmount.seconds(30)
    /// From the upgrade to the `auth` frame.
    public var authenticationDeadline = TimeAmount.seconds(5)
    /// Bytes of a message from a client, its fragments together.
    public var maximumFrame = 65_536
    /// Bytes that may wait for a socket before its session lags, and below which it goes on.
    public var outputHighWater = 256 * 1024
    public var outputLowWater = 64 * 1024
    /// Sends that a socket may have unanswered.
    public var maximumUnansweredSends = 32
    /// Committed messages that may wait for the archive; beyond, sends are refused.
    public var backlogLimit = 2_000_000
    /// Milliseconds that a message may be edited or deleted for.
    public var changeWindow: Int64 = 86_400_000
    /// How long sessions are spread over when the gateway drains.
    public var drainWindow = TimeAmount.seconds(30)
    /// When sessions are sent to gateways that have fewer.
    public var rebalancing = Rebalancing.Terms()

    /// What a send's answer waits for.
    public enum Acknowledgement: String, Sendable, CaseIterable {
        /// The commit, on Redis's disk.
        case committed
        /// Also a replica's memory (`WAIT 1`).
        case replicated
        /// Also the history in PostgreSQL.
        case archived
    }

    public var acknowledgement = Acknowledgement.committed

    public init() {}

    var presenceTerms: PresenceTerms {
        PresenceTerms(heartbeat: heartbeat.nanoseconds / 1_000_000, grace: presenceGrace.nanoseconds / 1_000_000)
    }
}
