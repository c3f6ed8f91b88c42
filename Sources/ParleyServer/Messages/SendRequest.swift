import NIOCore
import ParleyCore
import ParleyWire
import RedisClient

/// One logical send on its way to the commit.
struct SendRequest: Sendable {
    let conversation: ConversationID
    let lane: Lane
    let sender: UserID
    let cid: ClientMessageID
    /// `"type":…,"conv":…,"from":…,"body":…`: the event's members that are known before the commit.
    private(set) var members: ByteBuffer
    let contentHash: String
    /// The membership that the recipients were taken from; the commit refuses another.
    var membershipVersion: Int64 = 1
    /// What Redis wants before it commits this.
    var need: Need?
    /// Redis's time at which a look-up in history began that did not find the cid.
    var lookedUpAt: Int64?
    /// How often Redis wanted something first.
    var bounces = 0
    /// What is published to the sender comes to where this is sent from.
    var isHeard = false
    /// The message that this replies to, or changes.
    let named: MessageID?
    /// nil for a message.
    let change: MessageChange?
    /// What Redis is told of the message that is named; see `send`.
    private(set) var namedState = ""

    enum Need: Sendable, Hashable {
        /// The message that is named looked up; of a change, after this one at the latest.
        case named(since: String)
        /// The conversation made known in this epoch, or the sender shown to be in it.
        case conversation
        /// A look-up of the cid in history; asked for at this time of Redis's clock.
        case lookup(from: Int64)
    }

    init(conversation: ConversationID, sender: UserID, cid: ClientMessageID, content: MessageContent) {
        self.conversation = conversation
        lane = Lane(of: conversation)
        self.sender = sender
        self.cid = cid
        contentHash = content.hash
        named = content.replyTo
        change = nil
        namedState = named == nil ? "" : "named"
        var members = ByteBufferAllocator().buffer(capacity: 160 + content.body.utf8.count)
        members.writeJSONField("type", "message")
        members.writeJSONField("conv", conversation)
        members.writeJSONField("from", sender)
        content.writeFields(into: &members)
        self.members = members
    }

    /// - Parameter mid: the message to change.
    init(
        conversation: ConversationID,
        sender: UserID,
        cid: ClientMessageID,
        _ change: MessageChange,
        of mid: MessageID
    ) {
        self.conversation = conversation
        lane = Lane(of: conversation)
        self.sender = sender
        self.cid = cid
        contentHash = change.contentHash(of: mid)
        named = mid
        self.change = change
        namedState = "named"
        var members = ByteBufferAllocator().buffer(capacity: 160 + (change.body?.utf8.count ?? 0))
        members.writeJSONField("type", change.type.rawValue)
        members.writeJSONField("conv", conversation)
        members.writeJSONField("from", sender)
        if let body = change.body { members.writeJSONField("body", body) }
        self.members = members
    }

    /// The event as it stands in the sender's queue; see `send`.
    func ownEvent(of result: SendResult) -> ByteBuffer {
        var event = ByteBufferAllocator().buffer(capacity: 160 + members.readableBytes)
        event.beginJSONObject()
        if change == nil {
            event.writeJSONField("mid", result.mid)
            event.writeJSONField("ts", result.timestamp)
            event.writeJSONField("seq", result.seq)
        } else {
            event.writeJSONField("ts", result.timestamp)
            event.writeJSONField("rev", result.mid.revision)
        }
        event.writeString(",")
        event.writeImmutableBuffer(members)
        event.writeJSONField("cid", cid)
        event.endJSONObject()
        return event
    }

    /// The message that is named was looked up and may be.
    mutating func settle(named message: StoredMessage, since: String) {
        guard change != nil else {
            namedState = ""
            return
        }
        // A second look-up finds the same ones.
        if namedState == "named" {
            var begin = ByteBufferAllocator().buffer(capacity: 64 + members.readableBytes)
            begin.writeJSONField("mid", message.mid)
            begin.writeJSONField("seq", message.seq)
            begin.writeString(",")
            begin.writeImmutableBuffer(members)
            members = begin
        }
        namedState = "\(message.seq) \(since)"
    }
}

/// A commit, or the first of which this send is a repeat.
struct SendResult: Sendable, Hashable {
    let mid: MessageID
    let seq: Int64
    /// Milliseconds since 1970.
    let timestamp: Int64
    let isRepeat: Bool
    /// The event's position in the sender's queue, if whoever sent it is the one to pass it on there.
    var ownPosition: Int64?
}

/// What the commit function answered.
enum SendAnswer: Sendable, Hashable {
    case done(SendResult, pending: PendingDelivery)
    case conflict
    /// The cid's time is more than a day ahead.
    case future
    /// The cid is older than memory; look for it in history and call again with this time.
    case lookup(now: Int64)
    /// Look up the message that is named and call again; the last change in the conversation was this.
    case named(since: String)
    /// The conversation is not known in this epoch.
    case seed
    /// The sender may not write to the other.
    case forbidden
    /// Another membership is in force; of a group, these members.
    case stale(version: Int64, members: [UserID])
    /// Redis is in another epoch, or in none.
    case epoch(String)

    /// nil for an answer that this version does not know.
    init?(_ reply: RESPValue) {
        guard let words = reply.string?.split(separator: " ", omittingEmptySubsequences: false), let verb = words.first
        else { return nil }
        switch (verb, words.count) {
        case ("sent", 5...6), ("dup", 4):
            guard let mid = MessageID(words[1]), let seq = Int64(words[2]), let timestamp = Int64(words[3]) else {
                return nil
            }
            var result = SendResult(mid: mid, seq: seq, timestamp: timestamp, isRepeat: verb == "dup")
            if words.count > 4 { result.ownPosition = Int64(words[4]) }
            self = .done(result, pending: PendingDelivery(words.count == 6 ? words[5] : ""))
        case ("conflict", _): self = .conflict
        case ("future", _): self = .future
        case ("lookup", 2):
            guard let now = Int64(words[1]) else { return nil }
            self = .lookup(now: now)
        case ("named", 2): self = .named(since: String(words[1]))
        case ("seed", _): self = .seed
        case ("forbidden", _): self = .forbidden
        case ("stale", 2...3):
            guard let version = Int64(words[1]) else { return nil }
            let members = words.count == 3 ? words[2].split(separator: ",").compactMap { UserID($0) } : []
            self = .stale(version: version, members: members)
        case ("epoch", 2): self = .epoch(String(words[1]))
        default: return nil
        }
    }
}

/// Settings of the commit that a deployment chooses.
struct CommitConfiguration: Sendable {
    /// Milliseconds on both sides of now in which memory alone tells a repeat; twice that long a cid is remembered.
    var dedupWindow: Int64 = 600_000
    /// Entries that a sync queue keeps at most, about.
    var queueCap = 10_000
    /// Milliseconds without a device heard of, after which a user is absent: of what comes then the queue keeps nothing.
    var absence: Int64 = 7 * 86_400_000
    /// Devices of a user that keep a place in the queue.
    var deviceLimit = 10
    var placement = RedisPlacement.singleServer

    /// What bounds a queue, as the functions that append to many take it.
    var queueLimits: String { "\(queueCap) \(absence)" }

    /// - Parameter recipients: the conversation's members, the sender among them.
    func command(for request: SendRequest, recipients: [UserID], epoch: String) -> RedisCommand {
        let laneTag = request.lane.description
        let colocated = recipients.filter { placement.areColocated(laneTag, UserShard(of: $0).description) }
        let others = recipients.count == colocated.count ? [] : recipients.filter { !colocated.contains($0) }
        var command = begin(request, keys: colocated.count, recipients: recipients.count, capacity: 768)
        for user in colocated { command.append(Keys.queue(user)) }
        appendArguments(of: request, epoch, to: &command)
        command.append(colocated.count)
        for user in colocated { command.append(user.description) }
        for user in others { command.append(user.description) }
        return command.command.counted(as: .commit)
    }

    /// - Parameter roster: without one, or with one that lacks the sender, this asks for the members in force: nothing is
    ///   committed. Redis compares versions only, so this is where a sender must be a member.
    func command(for request: SendRequest, roster: Roster?, epoch: String) -> RedisCommand {
        let roster = roster.flatMap { $0.contains(request.sender) ? $0 : nil }
        let addressees = roster?.addressees ?? Roster.Addressees([], of: request.conversation, placement)
        var request = request
        request.membershipVersion = roster?.version ?? -1
        var command = begin(
            request,
            keys: addressees.keys.count,
            recipients: addressees.names.count - 1,
            capacity: 768 + addressees.keys.size + addressees.names.size
        )
        command.append(addressees.keys)
        appendArguments(of: request, epoch, to: &command)
        command.append(addressees.names)
        return command.command.counted(as: .commit)
    }

    private func begin(_ request: SendRequest, keys: Int, recipients: Int, capacity: Int) -> RedisCommand.Builder {
        let lane = request.lane
        let keyCount = 6 + keys
        var command = RedisCommand.Builder(
            argumentCount: 3 + keyCount + 15 + recipients,
            reservingCapacity: capacity + request.members.readableBytes
        )
        command.append("FCALL")
        command.append(Self.function)
        command.append(keyCount)
        command.append(Keys.epoch)
        command.append(Keys.conversation(request.conversation))
        command.append(Keys.lane(lane))
        command.append(Keys.dedup(lane, cidMilliseconds: request.cid.milliseconds))
        command.append(Keys.lateDedup(lane, request.conversation, request.sender, request.cid))
        command.append(Keys.pending(lane))
        return command
    }

    private func appendArguments(of request: SendRequest, _ epoch: String, to command: inout RedisCommand.Builder) {
        command.append(epoch)
        command.append(request.conversation.description)
        command.append(request.lane.number)
        command.append(request.sender.description)
        command.append(request.cid.description)
        command.append(request.cid.milliseconds)
        command.append(request.contentHash)
        command.append(request.membershipVersion)
        command.append(request.lookedUpAt.map(String.init) ?? "")
        command.append(dedupWindow)
        command.append(queueLimits)
        command.append(request.members)
        command.append(request.namedState)
        command.append(request.isHeard && placement == .singleServer ? "1" : "")
    }

    private static let function = RedisFunctions.library.function("send")
}
