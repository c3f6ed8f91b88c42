import ParleyWire
import RedisClient

/// Entries with everything that decides about them, looked up together.
struct PushBatch: Sendable {
    struct Item: Sendable {
        let entry: PushEntry
        let registrations: [PushRegistration]
        let standing: PushStanding
        fileprivate let sender: String
        fileprivate let group: String?

        /// - Parameter hidesContent: nothing but who sent it may pass the provider.
        func notice(hidesContent: Bool) -> PushNotice {
            let kind: PushNotice.Kind
            switch entry.content {
            case .read(let seq): kind = .read(seq: seq)
            case .message(let event, _, _):
                guard let mid = event.mid, let seq = event.seq, let from = event.from, let timestamp = event.ts else {
                    preconditionFailure("an entry's event is a message's")
                }
                kind = .message(
                    .init(
                        mid: mid,
                        seq: seq,
                        from: from,
                        timestamp: timestamp,
                        sender: sender,
                        group: group,
                        body: hidesContent ? nil : event.body
                    )
                )
            }
            return PushNotice(conversation: entry.conversation, kind: kind, badge: standing.badge)
        }
    }

    /// To be sent.
    private(set) var items: [Item] = []
    /// Entries that nobody needs any more.
    private(set) var over: [String] = []
    private(set) var drops: [PushDrop: Int] = [:]
    /// Users without any device.
    private(set) var unregistered: Set<UserID> = []

    /// - Throws: what a store says.
    init(_ entries: [PushEntry], store: PushStore, redis: RedisClient, chunk: Int) async throws {
        let users = Set(entries.map(\.user))
        async let quiet = store.quiet(among: users)
        async let muted = store.muted(entries.map { ($0.user, $0.conversation) })
        let senders = entries.compactMap { entry -> UserID? in
            if case .message(let event, _, _) = entry.content { event.from } else { nil }
        }
        async let names = store.names(Set(senders), Set(entries.map(\.conversation).filter { !$0.isDirect }))
        let registrations = Dictionary(grouping: try await store.registrations(of: users), by: \.user)
        unregistered = users.filter { registrations[$0] == nil }

        var questions: [(entry: PushEntry, names: [String])] = []
        var asked: [[PushRegistration]] = []
        for entry in entries {
            let all = registrations[entry.user] ?? []
            let meant = all.filter { entry.registration == nil || entry.registration == $0.id }
            if meant.isEmpty {
                drop(entry, .unregistered)
            } else {
                questions.append((entry, meant.map { entry.name(for: $0) }))
                asked.append(meant)
            }
        }
        let known = try await (quiet: quiet, muted: muted, names: names)
        for start in stride(from: 0, to: questions.count, by: chunk) {
            let part = questions[start..<min(start + chunk, questions.count)]
            let replies = try await redis.send(PushCalls.look(part), repeatable: true).array ?? []
            guard replies.count == part.count else { throw PushError.unusable("push_look answered \(replies.count)") }
            for (index, reply) in zip(part.indices, replies) {
                guard let standing = PushStanding(reply) else {
                    throw PushError.unusable("push_look answered \(reply)")
                }
                let entry = questions[index].entry
                let isMuted = known.muted.contains("\(entry.user) \(entry.conversation)")
                if let reason = entry.reasonToDrop(
                    standing,
                    isMuted: isMuted,
                    isQuiet: known.quiet.contains(entry.user)
                ) {
                    drop(entry, reason)
                    continue
                }
                var sender = ""
                if case .message(let event, _, _) = entry.content, let from = event.from {
                    sender = known.names[from.description] ?? ""
                }
                items.append(
                    Item(
                        entry: entry,
                        registrations: asked[index],
                        standing: standing,
                        sender: sender,
                        group: entry.conversation.isDirect ? nil : known.names[entry.conversation.description] ?? ""
                    )
                )
            }
        }
    }

    private mutating func drop(_ entry: PushEntry, _ reason: PushDrop) {
        over.append(entry.id)
        drops[reason, default: 0] += 1
    }
}
