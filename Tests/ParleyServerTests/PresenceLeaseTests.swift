import ParleyCore
import ParleyWire
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// The leases in Redis: who is online, and which of two that meet wins.
@Suite struct PresenceLeaseTests {
    private let user = UserID.random()
    private let visible = PresencePrivacy(version: 1, lastSeen: .friends, isInvisible: false)
    private static let long: Int64 = 80_000

    private func lease(_ device: String = "phone", _ session: String = "s1", of user: UserID? = nil) -> PresenceLease {
        PresenceLease(user: user ?? self.user, holder: device, session: session)
    }

    private func enter(
        _ stack: MessagesStack,
        _ lease: PresenceLease,
        milliseconds: Int64 = long,
        privacy: PresencePrivacy?? = .none
    ) async throws -> PresenceReply {
        let privacy = privacy ?? visible
        return try await reply(stack, lease.enter(gateway: "g1", milliseconds: milliseconds, privacy: privacy))
    }

    private func leave(_ stack: MessagesStack, _ lease: PresenceLease, remainder: Int64 = 0) async throws
        -> PresenceReply
    {
        try await reply(stack, lease.leave(remainder: remainder))
    }

    private func renew(_ stack: MessagesStack, _ lease: PresenceLease, milliseconds: Int64 = long) async throws
        -> PresenceReply
    {
        let position = ReaderPosition(user: lease.user, login: "login", cursor: 0, lease: lease)
        let answer = try await stack.client.send(
            Positions.command([position], gateway: "g1", lease: milliseconds)
        )
        return try #require(Positions(answer)?.heads.first?.presence)
    }

    private func sweep(_ stack: MessagesStack) async throws -> PresenceReply? {
        let due = try await due(stack)
        guard due.contains(user) else { return nil }
        return try #require(
            PresenceReply(try await stack.client.send(PresenceCalls.sweep([user])).array?.first ?? .null)
        )
    }

    private func due(_ stack: MessagesStack) async throws -> [UserID] {
        let answer = try await stack.client.send(PresenceCalls.due([Keys.expiries(user)], limit: 100))
        return answer.array?.compactMap { $0.string.flatMap { UserID($0) } } ?? []
    }

    private func reply(_ stack: MessagesStack, _ command: RedisCommand) async throws -> PresenceReply {
        let answer = try await stack.client.send(command)
        return try #require(PresenceReply(answer), "\(answer)")
    }

    private func state(_ stack: MessagesStack) async throws -> PresenceState {
        try #require(PresenceCalls.states(try await stack.client.send(PresenceCalls.read([user])))?.first)
    }

    @Test func `three devices are one light`() async throws {
        try await MessagesStack.with { stack in
            #expect(try await state(stack) == PresenceState(isOnline: false, version: 0))
            let first = try await enter(stack, lease("phone")).state
            #expect(first?.isOnline == true && first?.lastActive != nil)
            #expect(try await enter(stack, lease("tablet", "s2")) == .nothing)
            #expect(try await enter(stack, lease("browser", "s3")) == .nothing)
            #expect(try await leave(stack, lease("phone")) == .nothing)
            #expect(try await leave(stack, lease("browser", "s3")) == .nothing)
            let last = try await leave(stack, lease("tablet", "s2")).state
            #expect(last?.isOnline == false)
            #expect(last?.version ?? 0 > first?.version ?? 0)
            #expect(try await state(stack) == last)
        }
    }

    @Test func `whoever comes back within the grace was never away`() async throws {
        try await MessagesStack.with { stack in
            let first = try await enter(stack, lease()).state
            #expect(try await leave(stack, lease(), remainder: 60_000) == .nothing)
            #expect(try await sweep(stack) == nil)
            #expect(try await enter(stack, lease("phone", "s2")) == .nothing)
            #expect(try await state(stack) == first)
        }
    }

    @Test func `at the end of the grace a sweep puts the light out, once`() async throws {
        try await MessagesStack.with { stack in
            let first = try #require(try await enter(stack, lease()).state)
            #expect(try await leave(stack, lease(), remainder: 200) == .nothing)
            #expect(try await eventually { try await !due(stack).isEmpty })
            let last = try #require(try await sweep(stack)?.state)
            #expect(!last.isOnline && last.version > first.version)
            #expect(last.lastActive == first.lastActive, "a lost connection is no sign of a person")
            #expect(try await sweep(stack) == nil)
            #expect(try await stack.run("EXISTS", Keys.expiries(user)).integer == 0)
        }
    }

    @Test func `a sweep that comes just after somebody is back changes nothing`() async throws {
        try await MessagesStack.with { stack in
            _ = try await enter(stack, lease(), milliseconds: 1)
            #expect(try await eventually { try await !due(stack).isEmpty })
            #expect(try await enter(stack, lease("phone", "s2")) == .nothing)
            let late = try await stack.client.send(PresenceCalls.sweep([user]))
            #expect(late.array?.map(\.string) == [""])
            #expect(try await state(stack).isOnline)
            #expect(try await due(stack).isEmpty, "looked at again when the new lease ends")
        }
    }

    @Test func `two workers that sweep at once tell of each change once`() async throws {
        try await MessagesStack.with { stack in
            let users = (0..<50).map { _ in UserID.random() }
            for user in users { _ = try await enter(stack, lease(of: user), milliseconds: 1) }
            let all = Keys.allExpiries
            #expect(
                try await eventually {
                    try await stack.client.send(PresenceCalls.due(all, limit: 100)).array?.count == users.count
                }
            )
            let changes = try await withThrowingTaskGroup(of: [PresenceReply].self) { tasks in
                for _ in 0..<4 {
                    tasks.addTask {
                        var replies: [PresenceReply] = []
                        for start in stride(from: 0, to: users.count, by: 10) {
                            let answer = try await stack.client.send(PresenceCalls.sweep(users[start..<start + 10]))
                            replies += (answer.array ?? []).compactMap { PresenceReply($0) }
                        }
                        return replies
                    }
                }
                return try await tasks.reduce(into: []) { $0 += $1 }
            }
            #expect(changes.count == 200)
            #expect(changes.count { $0.state?.isOnline == false } == 50)
            #expect(changes.count { $0 == .nothing } == 150)
        }
    }

    @Test func `an old session's end does not drop the newer one's lease`() async throws {
        try await MessagesStack.with { stack in
            _ = try await enter(stack, lease("phone", "old"))
            _ = try await enter(stack, lease("phone", "new"))
            #expect(try await leave(stack, lease("phone", "old")) == .nothing)
            #expect(try await renew(stack, lease("phone", "old"), milliseconds: 1) == .nothing)
            let held = try await stack.run("HGET", Keys.presence(user), "lease:phone").string
            #expect(held?.hasPrefix("new g1 ") == true)
            #expect(try await sweep(stack) == nil)
            #expect(try await state(stack).isOnline)
        }
    }

    @Test func `a renewal that comes after its session's end is too late`() async throws {
        try await MessagesStack.with { stack in
            _ = try await enter(stack, lease())
            let last = try await leave(stack, lease()).state
            #expect(try await renew(stack, lease()) == .nothing)
            #expect(try await state(stack) == last)
            #expect(try await renew(stack, lease("phone", "s2")).state?.isOnline == true, "another session's is not")
        }
    }

    @Test func `a renewal goes by the server's clock and needs no further look`() async throws {
        try await MessagesStack.with { stack in
            _ = try await enter(stack, lease(), milliseconds: 1)
            let before = try await stack.now
            #expect(try await renew(stack, lease()) == .nothing)
            let after = try await stack.now
            let held = try await stack.run("HGET", Keys.presence(user), "lease:phone").string
            let till = try #require(held?.split(separator: " ").last.flatMap { Int64($0) })
            #expect((before + Self.long...after + Self.long).contains(till))
            // The set of expiries still has the first end: a sweep finds the second.
            #expect(try await eventually { try await !due(stack).isEmpty })
            #expect(try await sweep(stack) == .nothing)
            #expect(try await stack.run("ZSCORE", Keys.expiries(user), user.description).string == "\(till)")
        }
    }

    @Test func `whoever was given up and renews is online again`() async throws {
        try await MessagesStack.with { stack in
            _ = try await enter(stack, lease(), milliseconds: 1)
            #expect(try await eventually { try await sweep(stack)?.state?.isOnline == false })
            let gone = try await state(stack)
            let back = try #require(try await renew(stack, lease()).state)
            #expect(back.isOnline && back.version > gone.version)
        }
    }

    @Test func `a Redis without data learns of everybody anew, above all earlier versions`() async throws {
        try await MessagesStack.with { stack in
            let first = try #require(try await enter(stack, lease()).state)
            _ = try await stack.run("FLUSHALL")
            _ = try await stack.call("new_epoch", [Keys.epoch], ["", "e2", "0"])
            #expect(try await renew(stack, lease()) == .unknown)
            #expect(try await enter(stack, lease(), privacy: .some(nil)) == .unknown)
            #expect(try await stack.run("EXISTS", Keys.presence(user)).integer == 0, "nothing was done")
            let again = try #require(try await enter(stack, lease()).state)
            #expect(again.isOnline && again.version > first.version)
            #expect(try await enter(stack, lease("tablet", "s2"), privacy: .some(nil)) == .nothing)
        }
    }

    @Test func `a login that was ended renews nothing`() async throws {
        try await MessagesStack.with { stack in
            _ = try await enter(stack, lease(), milliseconds: 1)
            _ = try await stack.run("SET", Keys.revoked(user, "login"), "1")
            #expect(try await renew(stack, lease()) == .nothing)
            #expect(try await eventually { try await sweep(stack)?.state?.isOnline == false })
        }
    }

    @Test func `ended leases are forgotten after a while`() async throws {
        try await MessagesStack.with { stack in
            let old = try await stack.now - 61_000
            _ = try await stack.run("HSET", Keys.presence(user), "lease:tab", "s0 - \(old)", "lease:tv", "s9 g1 \(old)")
            _ = try await enter(stack, lease())
            let fields = try await stack.run("HKEYS", Keys.presence(user)).array?.compactMap(\.string)
            #expect(fields.map(Set.init) == ["lease:phone", "privacy", "state", "v", "active"])
        }
    }

    // MARK: Gateways that die

    @Test func `the leases of a gateway that died end sooner, but a session that lives renews`() async throws {
        try await MessagesStack.with { stack in
            _ = try await enter(stack, lease("phone"))
            let elsewhere = lease("tablet", "s2").enter(gateway: "g2", milliseconds: Self.long, privacy: visible)
            #expect(try await reply(stack, elsewhere) == .nothing)
            let lastSign = try await stack.now + 5000
            let end = lastSign + 20_000
            #expect(try await giveUp(stack, lastSign: lastSign, grace: 20_000) == .nothing)
            #expect(try await till(stack, "phone") == end)
            #expect(try await till(stack, "tablet") > end)
            #expect(try await stack.run("ZSCORE", Keys.expiries(user), user.description).integer ?? 0 > end)
            _ = try await leave(stack, lease("tablet", "s2"))
            #expect(try await stack.run("ZSCORE", Keys.expiries(user), user.description).string == "\(end)")

            let before = try await stack.now
            let shown = try await state(stack)
            let again = try await giveUp(stack, lastSign: shown.version, grace: 0)
            #expect(again?.state == shown, "it may not have been told")
            #expect((before...before + 19_000).contains(try await till(stack, "phone")), "time to object is left")
            #expect(try await renew(stack, lease("phone")) == .nothing)
            #expect(try await till(stack, "phone") > end)
            #expect(try await state(stack).isOnline)
        }
    }

    private func giveUp(_ stack: MessagesStack, lastSign: Int64, grace: Int64) async throws -> PresenceReply? {
        let command = PresenceCalls.giveUp("g1", lastSign: lastSign, grace: grace, [user])
        let answer = try await stack.client.send(command)
        return PresenceReply(answer.array?.first ?? .null)
    }

    /// When a device's lease ends.
    private func till(_ stack: MessagesStack, _ device: String) async throws -> Int64 {
        let held = try await stack.run("HGET", Keys.presence(user), "lease:\(device)").string
        return try #require(held?.split(separator: " ").last.flatMap { Int64($0) })
    }

    @Test func `a gateway learns from its sign that it was given up`() async throws {
        try await MessagesStack.with { stack in
            let sign = PresenceCalls.sign(of: "g1")
            #expect(try await stack.client.send(sign) == .integer(0))
            #expect(try await stack.client.send(sign) == .integer(1))
            let old = try await stack.now - 6000
            _ = try await stack.run("HSET", Keys.presenceGateways, "g2", "\(old)")
            let silent = try await stack.client.send(PresenceCalls.silent(forMilliseconds: 5000))
            #expect(silent.array?.map(\.string) == ["g2 \(old)"])
            _ = try await stack.run("HDEL", Keys.presenceGateways, "g1")
            #expect(try await stack.client.send(sign) == .integer(0))
        }
    }

    // MARK: Privacy

    @Test func `the invisible are offline, last seen before`() async throws {
        try await MessagesStack.with { stack in
            let seen = try await enter(stack, lease()).state
            let hidden = PresencePrivacy(version: 2, lastSeen: .friends, isInvisible: true)
            let gone = try await reply(stack, hidden.command(for: user)).state
            #expect(gone?.isOnline == false)
            #expect(gone?.lastActive == seen?.lastActive)
            #expect(try await enter(stack, lease("tablet", "s2")) == .nothing)
            _ = try await stack.client.send(PresenceCalls.active(user))
            #expect(try await leave(stack, lease()) == .nothing)
            #expect(try await renew(stack, lease("tablet", "s2")) == .nothing)
            #expect(try await state(stack) == gone)
            let shown = PresencePrivacy(version: 3, lastSeen: .friends, isInvisible: false)
            #expect(try await reply(stack, shown.command(for: user)).state?.isOnline == true)
        }
    }

    @Test func `an older setting does not undo a newer one`() async throws {
        try await MessagesStack.with { stack in
            let hidden = PresencePrivacy(version: 5, lastSeen: .friends, isInvisible: true)
            let first = try await reply(stack, hidden.command(for: user))
            #expect(first == .nothing)
            #expect(try await enter(stack, lease()) == .nothing, "it came with version 1")
            #expect(try await reply(stack, visible.command(for: user)) == .nothing)
            #expect(try await state(stack).isOnline == false)
        }
    }

    @Test func `nobody sees the last activity of who hides it`() async throws {
        try await MessagesStack.with { stack in
            _ = try await enter(stack, lease())
            let hidden = PresencePrivacy(version: 2, lastSeen: .nobody, isInvisible: false)
            let told = try await reply(stack, hidden.command(for: user)).state
            #expect(told?.isOnline == true && told?.lastActive == nil, "friends who knew it forget it")
            #expect(try await leave(stack, lease()).state?.lastActive == nil)
            #expect(try await state(stack).lastActive == nil)
            let shown = PresencePrivacy(version: 3, lastSeen: .everyone, isInvisible: false)
            #expect(try await reply(stack, shown.command(for: user)).state?.lastActive != nil)
        }
    }

    @Test func `activity moves the last activity and tells nobody`() async throws {
        try await MessagesStack.with { stack in
            let first = try #require(try await enter(stack, lease()).state)
            #expect(
                try await eventually {
                    _ = try await stack.client.send(PresenceCalls.active(user))
                    return try await state(stack).lastActive ?? 0 > first.lastActive ?? 0
                }
            )
            #expect(try await state(stack).version == first.version)
            let stranger = UserID.random()
            _ = try await stack.client.send(PresenceCalls.active(stranger))
            #expect(try await stack.run("EXISTS", Keys.presence(stranger)).integer == 0)
        }
    }
}

extension PresenceReply {
    var state: PresenceState? { if case .change(let state) = self { state } else { nil } }
}
