/// A frame from client to server. Its answer or error echoes `id`.
public struct ClientFrame: Hashable, Sendable {
    public var id: FrameID?
    public var operation: Operation

    public init(_ operation: Operation, id: FrameID? = nil) {
        self.operation = operation
        self.id = id
    }

    public enum Operation: Hashable, Sendable {
        case auth(Auth)
        case send(Send)
        case edit(Edit)
        case delete(Delete)
        /// Everything up to `q` was handled on this device.
        case ack(q: Int64)
        case read(conv: ConversationID, seq: Int64)
        case typing(conv: ConversationID)
        /// Whose presence to follow: replaces the set.
        case watch(users: [UserID])
        /// The person is at this device.
        case active
        case sync(Cursor)
        case ping
        case suggest(text: String, locale: String?)
    }

    /// A position in the user's sync queue.
    public struct Cursor: Hashable, Sendable {
        public var epoch: String
        public var q: Int64

        public init(epoch: String, q: Int64) {
            self.epoch = epoch
            self.q = q
        }
    }

    public struct Auth: Hashable, Sendable {
        /// The access token.
        public var token: String
        public var device: DeviceID
        /// Where to resume; nil starts at the head.
        public var resume: Cursor?
        /// A tab or script: outside the device limit, holds no queue.
        public var ephemeral: Bool

        public init(token: String, device: DeviceID, resume: Cursor? = nil, ephemeral: Bool = false) {
            self.token = token
            self.device = device
            self.resume = resume
            self.ephemeral = ephemeral
        }
    }

    public enum Target: Hashable, Sendable {
        case conversation(ConversationID)
        /// The direct conversation with this user, opened if need be.
        case user(UserID)
    }

    public struct Send: Hashable, Sendable {
        public var cid: ClientMessageID
        public var target: Target
        public var content: MessageContent

        public init(cid: ClientMessageID, target: Target, content: MessageContent) {
            self.cid = cid
            self.target = target
            self.content = content
        }

        public var body: String { content.body }
        /// A JSON object, verbatim.
        public var data: String? { content.data }
        public var replyTo: MessageID? { content.replyTo }
    }

    public struct Edit: Hashable, Sendable {
        public var cid: ClientMessageID
        public var conv: ConversationID
        public var mid: MessageID
        public var body: String

        public init(cid: ClientMessageID, conv: ConversationID, mid: MessageID, body: String) {
            self.cid = cid
            self.conv = conv
            self.mid = mid
            self.body = body
        }
    }

    public struct Delete: Hashable, Sendable {
        public var cid: ClientMessageID
        public var conv: ConversationID
        public var mid: MessageID

        public init(cid: ClientMessageID, conv: ConversationID, mid: MessageID) {
            self.cid = cid
            self.conv = conv
            self.mid = mid
        }
    }
}
