import Hummingbird
import NIOCore
import ParleyWire
import RedisClient
import Synchronization

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Everything that a user may know of their account as JSON Lines: an object a line, told apart by `record`. A page of
/// messages is held in memory, never more.
///
/// Each conversation is shown as of the moment when it is written. The last line says that nothing is missing.
struct AccountExport: Sendable {
    /// A conversation as its members see it.
    struct Conversation: Sendable {
        /// As `GET /v1/conversations/{id}` shows it.
        let json: ByteBuffer
        /// The first entry that this user may see; nil for the conversation's beginning.
        let firstVisible: MessageID?
    }

    let store: AccountStore
    let history: History
    let redis: RedisClient
    /// nil for a conversation that the user is not in any more.
    let describe: @Sendable (ConversationID, UserID) async throws -> Conversation?

    static let version = 1
    /// Messages and conversations of a page.
    static let pageSize = 100
    /// Requests by others, which have no bound of their own.
    private static let incomingLimit = 10_000

    /// Writes all lines; the end of the body is the caller's.
    /// - Parameter written: counts bytes, as a sign of life.
    /// - Throws: what a store says, or that the client is gone. The last line is missing then.
    func write(
        _ profile: Profile,
        _ identity: Identity,
        to writer: inout any ResponseBodyWriter,
        written: Counter
    ) async throws {
        var page = ExportPage()
        page.append("export") {
            $0.writeJSONField("version", Self.version)
            $0.writeJSONField("user", identity.user)
            $0.writeJSONField("at", WallClock.milliseconds())
        }
        page.append("profile", object: ByteBuffer(bytes: try JSONEncoder().encode(profile)))
        for login in try await store.logins(of: identity.user) {
            page.append(login, isCurrent: login.id == identity.login)
        }
        try await appendDevices(of: identity.user, to: &page)
        for registration in try await PushStore(postgres: store.pool).registrations(of: [identity.user]) {
            page.append("push") {
                $0.writeJSONField("device", registration.device)
                $0.writeJSONField("provider", registration.address.provider.rawValue)
                $0.writeJSONField("token", registration.address.token)
                $0.writeJSONField("hide_content", registration.hidesContent)
                $0.writeJSONField("registered_at", registration.registeredAt)
            }
        }
        try await appendRelations(of: identity.user, to: &page)
        try await page.flush(to: &writer, written)

        var messages = 0
        var conversations = 0
        var last: ConversationID?
        while true {
            let ids = try await store.conversations(of: identity.user, after: last, limit: Self.pageSize)
            for id in ids {
                guard let conversation = try await describe(id, identity.user) else { continue }
                conversations += 1
                page.append("conversation", object: conversation.json)
                let floor = conversation.firstVisible
                messages += try await write(id, from: floor, for: identity.user, &page, to: &writer, written)
            }
            guard ids.count == Self.pageSize else { break }
            last = ids.last
        }
        page.append("end") {
            $0.writeJSONField("complete", true)
            $0.writeJSONField("conversations", conversations)
            $0.writeJSONField("messages", messages)
        }
        try await page.flush(to: &writer, written)
    }

    /// Writes the messages of a conversation, oldest first.
    /// - Returns: how many.
    private func write(
        _ conversation: ConversationID,
        from floor: MessageID?,
        for user: UserID,
        _ page: inout ExportPage,
        to writer: inout any ResponseBodyWriter,
        _ written: Counter
    ) async throws -> Int {
        var count = 0
        var cursor = History.beginning
        while true {
            let found = try await history.page(of: conversation, .after(cursor), from: floor, limit: Self.pageSize)
            for message in found.messages { page.append(message, in: conversation, for: user) }
            try await page.flush(to: &writer, written)
            count += found.messages.count
            cursor = found.messages.last?.mid ?? cursor
            guard found.hasMore else { return count }
        }
    }

    /// The devices that hold a place in the sync queue.
    private func appendDevices(of user: UserID, to page: inout ExportPage) async throws {
        for device in try await KnownDevice.all(of: user, in: redis) {
            page.append("device") {
                $0.writeJSONField("device", device.name)
                $0.writeJSONField("last_seen_at", device.lastSeen)
            }
        }
    }

    /// Friends, requests and blocks.
    private func appendRelations(of user: UserID, to page: inout ExportPage) async throws {
        let relations = RelationStore(postgres: store.pool)
        let lists = try await relations.lists(of: user, incomingLimit: Self.incomingLimit)
        for (record, users) in [
            ("friend", lists.friends), ("request_from", lists.incoming), ("request_to", lists.outgoing),
        ] {
            for user in users { page.append(record, object: ByteBuffer(bytes: try JSONEncoder().encode(user))) }
        }
        var last: UserID?
        repeat {
            let blocked = try await relations.blocked(by: user, after: last, limit: Self.pageSize)
            for user in blocked.users {
                page.append("block", object: ByteBuffer(bytes: try JSONEncoder().encode(user)))
            }
            last = blocked.next
        } while last != nil
    }

    /// Bytes that the client took.
    final class Counter: Sendable {
        private let bytes = Atomic<Int>(0)

        var value: Int { bytes.load(ordering: .relaxed) }
        func add(_ count: Int) { bytes.wrappingAdd(count, ordering: .relaxed) }
    }
}
