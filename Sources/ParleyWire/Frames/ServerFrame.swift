/// A frame from server to client. `id` echoes that of the frame it answers.
public struct ServerFrame: Hashable, Sendable {
    public var id: FrameID?
    public var operation: Operation

    public init(_ operation: Operation, id: FrameID? = nil) {
        self.operation = operation
        self.id = id
    }

    /// The answer to a frame that was refused.
    public init(_ error: FrameError, retryMilliseconds: Int64? = nil) {
        self.init(
            .error(Failure(error.code, error.message, cid: error.cid, retryMilliseconds: retryMilliseconds)),
            id: error.id
        )
    }

    public enum Operation: Hashable, Sendable {
        case ready(Ready)
        /// The replay is over: what follows is live, from `q` on.
        case live(q: Int64)
        case sent(Sent)
        /// A durable event at position `q` of this user's queue.
        case event(q: Int64, Event)
        case pong(head: Int64)
        case error(Failure)
        case goaway(GoAway)
        case suggestions([Suggestion])
        /// Ephemeral, in groups.
        case receipt(Receipt)
        case presence(Presence)
        case typing(conv: ConversationID, user: UserID)
        /// An operation that this version does not know, to be ignored.
        case unknown(String)
    }

    public enum Mode: String, Hashable, Sendable {
        case live, replay, resync
    }

    public struct Ready: Hashable, Sendable {
        public var user: UserID
        public var session: String
        public var epoch: String
        /// The last q of the user's queue.
        public var head: Int64
        public var mode: Mode
        /// The server's time, in milliseconds since 1970.
        public var now: Int64
        public var heartbeatMilliseconds: Int64
        /// The largest accepted message, in bytes.
        public var maxFrame: Int64

        public init(
            user: UserID,
            session: String,
            epoch: String,
            head: Int64,
            mode: Mode,
            now: Int64,
            heartbeatMilliseconds: Int64 = 25_000,
            maxFrame: Int64 = 65_536
        ) {
            self.user = user
            self.session = session
            self.epoch = epoch
            self.head = head
            self.mode = mode
            self.now = now
            self.heartbeatMilliseconds = heartbeatMilliseconds
            self.maxFrame = maxFrame
        }
    }

    public struct Sent: Hashable, Sendable {
        public var cid: ClientMessageID
        public var conv: ConversationID
        public var mid: MessageID
        public var seq: Int64
        /// Milliseconds since 1970.
        public var ts: Int64
        /// The revision that an edit or deletion made.
        public var rev: Int64?
        /// A repeat of a cid, with the first one's answer.
        public var dup: Bool

        public init(
            cid: ClientMessageID,
            conv: ConversationID,
            mid: MessageID,
            seq: Int64,
            ts: Int64,
            rev: Int64? = nil,
            dup: Bool = false
        ) {
            self.cid = cid
            self.conv = conv
            self.mid = mid
            self.seq = seq
            self.ts = ts
            self.rev = rev
            self.dup = dup
        }
    }

    public struct Failure: Hashable, Sendable {
        public var code: ErrorCode
        public var message: String
        /// That of the refused frame, verbatim.
        public var cid: FrameID?
        public var retryMilliseconds: Int64?

        public init(_ code: ErrorCode, _ message: String, cid: FrameID? = nil, retryMilliseconds: Int64? = nil) {
            self.code = code
            self.message = message
            self.cid = cid
            self.retryMilliseconds = retryMilliseconds
        }
    }

    public struct GoAway: Hashable, Sendable {
        public var reason: String
        /// How long to wait before connecting elsewhere.
        public var reconnectMilliseconds: Int64
        /// The base URL of another gateway.
        public var url: String?

        public init(reason: String = "drain", reconnectMilliseconds: Int64, url: String? = nil) {
            self.reason = reason
            self.reconnectMilliseconds = reconnectMilliseconds
            self.url = url
        }
    }

    public struct Suggestion: Hashable, Sendable {
        public var text: String
        public var score: Double?

        public init(text: String, score: Double? = nil) {
            self.text = text
            self.score = score
        }
    }

    public struct Receipt: Hashable, Sendable {
        public var conv: ConversationID
        /// One stands in the frame itself, several in a list.
        public var positions: [Position]

        public struct Position: Hashable, Sendable {
            public var user: UserID
            /// Up to which seq.
            public var read: Int64?
            public var delivered: Int64?

            public init(user: UserID, read: Int64? = nil, delivered: Int64? = nil) {
                self.user = user
                self.read = read
                self.delivered = delivered
            }
        }

        public init(conv: ConversationID, _ positions: [Position]) {
            self.conv = conv
            self.positions = positions
        }
    }

    public enum Status: String, Hashable, Sendable {
        case online, offline
    }

    public struct Presence: Hashable, Sendable {
        public var user: UserID
        public var status: Status
        /// Milliseconds since 1970; nil where the user does not show it.
        public var lastActive: Int64?

        public init(user: UserID, status: Status, lastActive: Int64? = nil) {
            self.user = user
            self.status = status
            self.lastActive = lastActive
        }
    }
}
