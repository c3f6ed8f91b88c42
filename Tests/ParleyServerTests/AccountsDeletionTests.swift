import HTTPTypes
import Logging
import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient
import Testing

@testable import ParleyServer

/// Accounts that are deleted, and what is left of them.
@Suite struct AccountsDeletionTests {
    private struct Shown: Decodable, Equatable {
        let id: String
        let username: String
        let display_name: String
        let deleted: Bool?
    }

    private struct Page: Decodable {
        let users: [Shown]
    }

    private func sweeper(_ stack: AccountsStack) -> DeletionSweeper {
        DeletionSweeper(deletion: stack.deletion, logger: HistoryStack.logger)
    }

    private func makeDue(_ stack: AccountsStack) async throws {
        _ = try await stack.pool.query("UPDATE account_deletions SET due_at = 0")
    }

    private func count(_ table: String, _ stack: AccountsStack) async throws -> Int {
        try await stack.pool.query("SELECT 1 FROM \(identifier: table)").count
    }

    @Test func `everything that signs in is ended, and the id answers for a deleted user`() async throws {
        try await AccountsStack.with { stack in
            let ada = try await stack.signUp("ada", displayName: "Ada Lovelace")
            let bob = try await stack.signUp("bob")
            let phone: SessionAnswer = try await stack.logIn("ada").decode()
            let answer = try await stack.call(.delete, "/v1/me", token: ada.access_token)
            #expect(answer.status == 204)
            #expect(answer.body.isEmpty)

            for token in [ada.access_token, phone.access_token] {
                #expect(try await stack.call(.get, "/v1/me", token: token).problem == .unauthorized)
                #expect(try await stack.call(.get, "/v1/users/\(bob.user.id)", token: token).problem == .unauthorized)
            }
            for token in [ada.refresh_token, phone.refresh_token] {
                #expect(try await stack.refresh(token).problem == .unauthorized)
            }
            #expect(try await stack.logIn("ada").problem == .unauthorized)
            #expect(stack.departures.users.map(\.description) == [ada.user.id])

            let gone = Shown(id: ada.user.id, username: "", display_name: "Deleted user", deleted: true)
            let one = try await stack.call(.get, "/v1/users/\(ada.user.id)", token: bob.access_token)
            #expect(try one.decode(Shown.self) == gone)
            let path = "/v1/users?ids=\(ada.user.id),\(bob.user.id)"
            let both: Page = try await stack.call(.get, path, token: bob.access_token).decode()
            #expect(both.users.sorted { $0.username < $1.username }.map(\.deleted) == [true, nil])
            #expect(both.users.contains(gone))
            for prefix in ["ada", "del", "lovelace"] {
                let found = try await stack.call(.get, "/v1/users?prefix=\(prefix)", token: bob.access_token)
                #expect(try found.decode(Page.self).users.isEmpty)
            }
            // Nothing of what she had said of herself is kept.
            let rows = try await stack.pool.query("SELECT row_to_json(d)::text FROM deleted_users AS d")
            let kept: [String] = try rows.decode(String.self)
            #expect(kept.count == 1)
            #expect(kept.allSatisfy { $0.contains(ada.user.id) && !$0.contains("ada") })
        }
    }

    @Test func `the name is free, the id is not`() async throws {
        try await AccountsStack.with { stack in
            let ada = try await stack.signUp("ada")
            _ = try await stack.call(.delete, "/v1/me", token: ada.access_token)
            let other = try await stack.signUp("ada")
            #expect(other.user.id != ada.user.id)
            #expect(try await stack.call(.get, "/v1/me", token: ada.access_token).problem == .unauthorized)
            #expect(try await stack.call(.get, "/v1/me", token: other.access_token).status == 200)
        }
    }

    @Test func `a password, where one is given, must be right`() async throws {
        try await AccountsStack.with { stack in
            let ada = try await stack.signUp("ada")
            func delete(_ body: String) async throws -> TestAPI.Answer {
                try await stack.call(.delete, "/v1/me", token: ada.access_token, body)
            }
            #expect(try await delete(#"{"password":"password-of-bob"}"#).problem == .forbidden)
            #expect(try await delete(#"{"password":7}"#).problem == .invalid)
            #expect(try await delete("yes").problem == .badFrame)
            #expect(try await stack.call(.get, "/v1/me", token: ada.access_token).status == 200)
            #expect(try await delete(#"{"password":"password-of-ada"}"#).status == 204)
            #expect(try await count("users", stack) == 0)
        }
    }

    @Test func `who repeats it gets the same answer, who was signed out gets none`() async throws {
        try await AccountsStack.with { stack in
            let ada = try await stack.signUp("ada")
            let stolen: SessionAnswer = try await stack.logIn("ada").decode()
            _ = try await stack.call(.post, "/v1/logout", token: stolen.access_token)
            #expect(try await stack.call(.delete, "/v1/me", token: stolen.access_token).problem == .unauthorized)
            #expect(try await stack.call(.delete, "/v1/me", token: nil).problem == .unauthorized)
            #expect(try await count("users", stack) == 1)
            for _ in 0..<3 {
                #expect(try await stack.call(.delete, "/v1/me", token: ada.access_token).status == 204)
            }
            #expect(stack.departures.users.count == 1)
        }
    }

    @Test func `without Redis nothing is begun, and what is begun is finished by a worker`() async throws {
        try await AccountsStack.with { stack in
            let ada = try await stack.signUp("ada")
            stack.revocations.setAway(true)
            #expect(try await stack.call(.delete, "/v1/me", token: ada.access_token).problem == .unavailable)
            #expect(try await count("users", stack) == 1)
            stack.revocations.setAway(false)

            stack.departures.setAway(true)
            #expect(try await stack.call(.delete, "/v1/me", token: ada.access_token).problem == .unavailable)
            #expect(try await count("users", stack) == 0)
            let sweeper = sweeper(stack)
            try await sweeper.sweep()
            #expect(stack.departures.users.isEmpty)
            stack.departures.setAway(false)
            try await sweeper.sweep()
            #expect(stack.departures.users.isEmpty, "the gateway's turn is not over")
            try await makeDue(stack)
            try await sweeper.sweep()
            #expect(stack.departures.users.count == 1)
            #expect(stack.revocations.count == 1)
            // Once more, for what was under way; then it is forgotten.
            try await sweeper.sweep()
            #expect(stack.departures.users.count == 1)
            try await makeDue(stack)
            try await sweeper.sweep()
            #expect(stack.departures.users.count == 2)
            #expect(try await count("account_deletions", stack) == 0)
            #expect(try await count("deleted_users", stack) == 1)
            #expect(try await stack.call(.delete, "/v1/me", token: ada.access_token).status == 204)
            #expect(stack.departures.users.count == 2)
        }
    }

    /// The repeat of a client whose first answer was lost finishes what the first try began.
    @Test func `a repeat finishes what was begun`() async throws {
        try await AccountsStack.with { stack in
            let ada = try await stack.signUp("ada")
            stack.departures.setAway(true)
            _ = try await stack.call(.delete, "/v1/me", token: ada.access_token)
            stack.departures.setAway(false)
            #expect(try await stack.call(.delete, "/v1/me", token: ada.access_token).status == 204)
            #expect(stack.departures.users.count == 1)
        }
    }

    @Test func `no sign-in slips past the deletion`() async throws {
        try await AccountsStack.with { stack in
            for round in 0..<10 {
                let name = "ada\(round)"
                let ada = try await stack.signUp(name)
                try await withThrowingTaskGroup(of: TestAPI.Answer.self) { group in
                    for _ in 0..<3 { group.addTask { try await stack.logIn(name) } }
                    group.addTask { try await stack.call(.delete, "/v1/me", token: ada.access_token) }
                    for try await answer in group {
                        guard answer.status == 200 else { continue }
                        let session: SessionAnswer = try answer.decode()
                        _ = try await stack.call(.delete, "/v1/me", token: ada.access_token)
                        #expect(try await stack.call(.get, "/v1/me", token: session.access_token).status == 401)
                    }
                }
            }
            #expect(try await count("logins", stack) == 0)
        }
    }

    // MARK: Conversations

    @Test func `direct conversations are closed, all of them, and stay the other one's`() async throws {
        try await HistoryStack.with { stack in
            let talks = (0..<1203).map { _ in ConversationID.direct(stack.ann, .random()) }
            _ = try await stack.postgres.query(
                """
                INSERT INTO conversation_members (conversation_id, user_id, joined_at)
                SELECT id, member, 0 FROM unnest(\(talks.map(\.description))::text[]) AS id,
                    unnest(string_to_array(substr(id, 3), ':')) AS member
                """
            )
            _ = try await stack.postgres.query(
                """
                INSERT INTO conversation_members (conversation_id, user_id, joined_at)
                VALUES ('g:team', \(stack.ann.description), 0)
                """
            )
            let farewell = DirectFarewell(postgres: stack.postgres, redis: stack.client)
            for _ in 0..<2 { try await farewell.userIsGone(stack.ann) }
            for talk in talks {
                let version = try await stack.client.send("HGET", Keys.conversation(talk), "mv").string
                #expect(version == "2")
            }
            let left = try await stack.postgres.query(
                "SELECT conversation_id FROM conversation_members WHERE user_id = \(stack.ann.description)"
            ).decode(String.self)
            #expect(left == ["g:team"], "groups are another capability's")
            #expect(try await stack.count("conversation_members") == 1204)
        }
    }

    @Test func `in a closed conversation nothing is committed and no receipt made`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            try await stack.seed(talk.conversation)
            let first = try await stack.commit(talk)
            _ = try await stack.run("HSET", Keys.conversation(talk.conversation), "mv", "2")
            _ = try await stack.run("UNLINK", Keys.queue(talk.ann), Keys.user(talk.ann))
            #expect(try await stack.send(talk, from: talk.bob) == .stale(version: 2, members: []))
            // Also where the epoch changed meanwhile, or somebody had just asked for the version.
            try await stack.seed(talk.conversation)
            #expect(try await stack.send(talk, from: talk.bob) == .stale(version: 2, members: []))
            #expect(try await stack.log(talk.lane).count == 1)
            for kind in ["read", "delivered"] {
                let answer = try await stack.call(
                    "receipt",
                    [Keys.epoch, Keys.conversation(talk.conversation), Keys.queue(talk.bob), Keys.queue(talk.ann)],
                    [
                        stack.epoch, talk.conversation.description, talk.bob.description, talk.ann.description, kind,
                        String(first.seq), "1000",
                    ]
                )
                #expect(answer.string == "known")
            }
            #expect(try await stack.run("EXISTS", Keys.queue(talk.ann)) == .integer(0))
        }
    }
}
