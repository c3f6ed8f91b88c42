import Hummingbird
import NIOCore
import ParleyWire
import RedisClient

/// Muting a conversation, each user for themself. All routes need a sign-in.
///
/// Each answers when it is in the user's queue, for their other devices. A client that got no answer repeats the request.
struct MuteRoutes {
    let conversations: ConversationStore
    let queueCap: Int
    let authenticator: Authenticator

    private var mutes: ConversationMutes { ConversationMutes(postgres: conversations.postgres) }

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        let signedIn = router.group().add(middleware: authenticator)
        signedIn.put("/v1/conversations/:id/mute") { request, context in
            let (user, conversation) = try await member(context)
            try await mutes.set(Mute(until: request.until()), of: user, in: conversation)
            try await tell(user, of: conversation)
            return Response(status: .noContent)
        }
        signedIn.delete("/v1/conversations/:id/mute") { _, context in
            let (user, conversation) = try await member(context)
            try await mutes.remove(of: user, in: conversation)
            try await tell(user, of: conversation)
            return Response(status: .noContent)
        }
    }

    private func member(_ context: ParleyRequestContext) async throws -> (UserID, ConversationID) {
        let (user, conversation) = try context.conversation()
        _ = try await HTTPProblem.explaining { try await conversations.requireMember(user, of: conversation) }
        return (user, conversation)
    }

    /// Tells a user's devices how it stands, and once more if that changed meanwhile: of two who change it at once, the
    /// last to tell has seen what both made of it.
    private func tell(_ user: UserID, of conversation: ConversationID) async throws {
        var mute = try await mutes.mute(of: user, in: conversation)
        while true {
            try await enqueue(mute, user, conversation)
            let now = try await mutes.mute(of: user, in: conversation)
            guard now != mute else { return }
            mute = now
        }
    }

    private func enqueue(_ mute: Mute?, _ user: UserID, _ conversation: ConversationID) async throws {
        var event = Event(.mute, conv: conversation)
        (event.muted, event.mutedUntil) = (mute != nil, mute?.until)
        var json = ByteBuffer()
        event.encode(into: &json)
        for isSecondTime in [false, true] {
            let call = RedisFunctions.call(
                "tell_own",
                keys: [Keys.epoch, Keys.queue(user)],
                [conversations.epochs.epoch, user.description, String(buffer: json), String(queueCap)]
            )
            let answer = try await conversations.redis.send(call).string
            if answer == "done" { return }
            guard !isSecondTime, answer?.hasPrefix("epoch") == true else { break }
            try await conversations.epochs.verify(on: conversations.redis)
        }
        throw HTTPProblem(.unavailable, "The other devices could not be told; ask again.")
    }
}

extension Request {
    /// When a mute ends; a body may be missing.
    fileprivate func until() async throws -> Int64? {
        struct End: Decodable {
            /// Any number, so that a refusal can name what is wrong with it.
            let until: Double?
        }
        guard headers[.contentLength] ?? "0" != "0" || headers[.transferEncoding] != nil else { return nil }
        guard let given = try await decodeJSON(End.self).until else { return nil }
        guard let until = Int64(exactly: given), (WallClock.milliseconds() + 1..<1 << 53).contains(until) else {
            throw HTTPProblem.invalid("until", "expected a time to come, in milliseconds since 1970.")
        }
        return until
    }
}
