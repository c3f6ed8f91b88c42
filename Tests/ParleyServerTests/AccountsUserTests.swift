import HTTPTypes
import ParleyWire
import PostgresClient
import Testing

@testable import ParleyServer

/// Profiles, settings, and finding people.
@Suite struct AccountsUserTests {
    private struct Profile: Decodable, Equatable {
        struct Quiet: Decodable, Equatable {
            let from: String
            let to: String
        }
        let display_name: String
        let may_write: String
        let last_seen: String
        let time_zone: String?
        let quiet_hours: Quiet?
    }

    private struct Page: Decodable {
        let users: [UserAnswer]
        let next: String?
    }

    @Test func settingsChangeOneByOne() async throws {
        try await AccountsStack.with { stack in
            let token = try await stack.signUp("ada").access_token
            func patch(_ body: String) async throws -> Profile {
                let answer = try await stack.call(.patch, "/v1/me", token: token, body)
                let stored = try await stack.call(.get, "/v1/me", token: token)
                #expect(try stored.decode(Profile.self) == answer.decode(Profile.self))
                return try answer.decode()
            }
            let fresh = try await patch("{}")
            #expect(fresh.may_write == "everyone")
            #expect(fresh.time_zone == nil)
            let zone = try await patch(#"{"time_zone":"Europe/Berlin","quiet_hours":{"from":"22:00","to":"07:30"}}"#)
            #expect(zone.time_zone == "Europe/Berlin")
            #expect(zone.quiet_hours == .init(from: "22:00", to: "07:30"))
            let closed = try await patch(#"{"may_write":"friends","last_seen":"nobody","display_name":"Ada L"}"#)
            #expect(closed.may_write == "friends")
            #expect(closed.last_seen == "nobody")
            #expect(closed.display_name == "Ada L")
            #expect(closed.quiet_hours == zone.quiet_hours)
            let cleared = try await patch(
                #"{"time_zone":null,"quiet_hours":null,"display_name":null,"may_write":null}"#
            )
            #expect(cleared.time_zone == nil)
            #expect(cleared.quiet_hours == nil)
            #expect(cleared.display_name == "Ada L")
            #expect(cleared.may_write == "friends")
        }
    }

    @Test func badSettingsAreNamedAndChangeNothing() async throws {
        try await AccountsStack.with { stack in
            let token = try await stack.signUp("ada").access_token
            let me = try await stack.call(.get, "/v1/me", token: token)
            #expect(me.text.contains(#""time_zone":null"#))
            let before: Profile = try me.decode()
            for (field, value) in [
                ("may_write", #""nobody""#), ("may_write", "1"), ("last_seen", #""x""#), ("display_name", #"" ""#),
                ("time_zone", #""Europe/Atlantis""#), ("time_zone", #""'; --""#), ("time_zone", #""""#),
                ("time_zone", "7"), ("quiet_hours", #"{"from":"22:00"}"#),
                ("quiet_hours", #"{"from":"25:00","to":"1"}"#),
                ("quiet_hours", "[]"),
            ] {
                let body = #"{"\#(field)":\#(value),"display_name":"Changed"}"#
                let answer = try await stack.call(.patch, "/v1/me", token: token, body)
                #expect(answer.problem == .invalid, "\(body)")
                if field != "display_name" {
                    #expect(try answer.decode(ProblemAnswer.self).detail.hasPrefix(field), "\(answer.text)")
                }
            }
            let after: Profile = try await stack.call(.get, "/v1/me", token: token).decode()
            #expect(after == before)
        }
    }

    @Test func aUserIsFoundByID() async throws {
        try await AccountsStack.with { stack in
            let ada = try await stack.signUp("ada", displayName: "Ada Lovelace")
            let bob = try await stack.signUp("bob")
            let token = bob.access_token
            let found = try await stack.call(.get, "/v1/users/\(ada.user.id)", token: token)
            #expect(try found.decode(UserAnswer.self) == ada.user)
            #expect(!found.text.contains("may_write"))
            for id in [UserID.random().description, "NOT-AN-ID", "%00", "ada"] {
                #expect(try await stack.call(.get, "/v1/users/\(id)", token: token).problem == .notFound, "\(id)")
            }
            let ids = "\(ada.user.id),\(UserID.random()),\(bob.user.id)"
            let page: Page = try await stack.call(.get, "/v1/users?ids=\(ids)", token: token).decode()
            #expect(Set(page.users.map(\.username)) == ["ada", "bob"])
            let many = (0..<201).map { _ in UserID.random().description }.joined(separator: ",")
            for query in [
                "ids=", "ids=A", "ids=\(many)", "ids=a%00b", "", "prefix=", "prefix=%00", "prefix=a&limit=0",
                "prefix=a&limit=201", "prefix=a&limit=x", "prefix=a&cursor=x", "prefix=a&cursor=AAAA",
                "prefix=\(String(repeating: "a", count: 65))",
            ] {
                let answer = try await stack.call(.get, "/v1/users?\(query)", token: token)
                #expect(answer.problem == .invalid, "\(query)")
            }
            #expect(try await stack.call(.get, "/v1/users?prefix=a").problem == .unauthorized)
        }
    }

    @Test func peopleAreFoundByBothNamesOnceEach() async throws {
        try await AccountsStack.with { stack in
            let token = try await stack.signUp("zoe").access_token
            for (username, name) in [
                ("anna", "Anna"), ("andy", "Zed"), ("an_x", "An X"), ("bob", "Änne"), ("carl", "ANDREA"),
                ("dora", "Anja"),
                ("erik", "an_ders"), ("banana", "Banana"),
            ] { _ = try await stack.signUp(username, displayName: name) }
            func all(_ prefix: String, limit: Int) async throws -> [String] {
                var found: [String] = []
                var cursor: String?
                for _ in 0..<20 {
                    let rest = cursor.map { "&cursor=\($0)" } ?? ""
                    let path = "/v1/users?prefix=\(prefix)&limit=\(limit)\(rest)"
                    let page: Page = try await stack.call(.get, path, token: token).decode()
                    #expect(page.users.count <= limit)
                    found += page.users.map(\.username)
                    guard let next = page.next else { return found }
                    cursor = next
                }
                Issue.record("the pages have no end")
                return found
            }
            let expected = ["an_x", "andy", "anna", "erik", "carl", "dora"]
            for limit in [1, 2, 3, 4, 5, 6, 7, 50] {
                #expect(try await all("An", limit: limit) == expected, "limit \(limit)")
            }
            #expect(try await all("an_", limit: 50) == ["an_x", "erik"])
            #expect(try await all("%C3%A4n", limit: 50) == ["bob"])
            #expect(try await all("%25", limit: 50) == [])
            #expect(try await all("q", limit: 50) == [])
        }
    }

    /// Both halves of the search are ranges of an index, also in a plan that knows no parameters.
    @Test func searchingScansAnIndex() async throws {
        try await AccountsStack.with { stack in
            for (column, index) in [("username", "users_username_key"), ("display_key", "users_display_key")] {
                let plan = try await stack.pool.withConnection { connection in
                    for setting in ["plan_cache_mode = force_generic_plan", "enable_seqscan = off"] {
                        _ = try await connection.query(PostgresQuery(unescaped: "SET \(setting)"))
                    }
                    let select =
                        "SELECT id FROM users WHERE \(column) >= $1 AND \(column) < $2 ORDER BY \(column) LIMIT 5"
                    _ = try await connection.query(PostgresQuery(unescaped: "PREPARE search (text, text) AS \(select)"))
                    let rows = try await connection.query("EXPLAIN EXECUTE search ('a', 'b')")
                    let plan = try rows.decode(String.self).joined(separator: "\n")
                    for command in ["DEALLOCATE search", "RESET plan_cache_mode", "RESET enable_seqscan"] {
                        _ = try await connection.query(PostgresQuery(unescaped: command))
                    }
                    return plan
                }
                #expect(plan.contains(index), "\(plan)")
                #expect(plan.contains("Index Cond"), "\(plan)")
                #expect(!plan.contains("Sort"), "\(plan)")
            }
        }
    }
}
