import ParleyWire
import Testing

@testable import ParleyServer

/// What becomes of two users, and who of them may write: no store.
@Suite struct FriendsDecisionTests {
    /// Everything that two users can be to each other.
    private var reachable: Set<Relation> {
        var (known, found): (Set<Relation>, Set<Relation>) = ([], [Relation()])
        let actions: [Relation.Action] = [.ask, .accept, .endRequest, .unfriend, .block, .unblock]
        while let relation = found.popFirst() {
            guard known.insert(relation).inserted else { continue }
            for action in actions {
                for isMine in [true, false] {
                    var next = isMine ? relation : relation.reversed
                    _ = try? next.perform(action)
                    found.insert(isMine ? next : next.reversed)
                }
            }
        }
        return known
    }

    @Test func `what excludes each other is never there together`() {
        let all = reachable
        #expect(all.count > 8)
        for relation in all {
            if relation.areFriends {
                #expect(!relation.isAsking && !relation.isAsked && !relation.isBlocking && !relation.isBlocked)
            }
            #expect(!(relation.isAsking && relation.isAsked))
            #expect(!(relation.isAsking && relation.isBlocking), "whoever blocks does not ask")
        }
    }

    @Test func `a repeat changes nothing and tells nothing`() throws {
        for relation in reachable {
            for action in [Relation.Action.ask, .accept, .endRequest, .unfriend, .block, .unblock] {
                var once = relation
                guard (try? once.perform(action)) != nil else { continue }
                var twice = once
                #expect(try twice.perform(action) == [], "\(action) twice from \(relation)")
                #expect(twice == once)
            }
        }
    }

    @Test func `a block cannot be told from outside`() throws {
        // The one who is blocked, and one who is not: the same answers and the same news, whatever they do.
        for actions: [Relation.Action] in [
            [.ask], [.ask, .ask], [.ask, .endRequest], [.ask, .endRequest, .ask], [.accept], [.unfriend], [.endRequest],
        ] {
            var (free, blocked) = (Relation(), Relation(isBlocked: true))
            for action in actions {
                let (mine, theirs) = (
                    Result { try free.perform(action).filter(\.tellsMe) },
                    Result { try blocked.perform(action).filter(\.tellsMe) }
                )
                #expect(try mine.told == theirs.told, "\(actions)")
                var seen = blocked
                seen.isBlocked = false
                #expect(seen == free)
            }
        }
        var asking = Relation(isBlocked: true)
        #expect(try asking.perform(.ask) == [.init(type: .friendRequest, tellsOther: false)])
        #expect(try asking.perform(.endRequest) == [.init(type: .friendRemoved, tellsOther: false)])
        // The blocker does not see the request, and it is there when the block ends.
        var blocker = Relation(isAsked: true, isBlocking: true)
        #expect(throws: Relation.Refusal.noRequest) { try blocker.perform(.accept) }
        #expect(try blocker.perform(.endRequest) == [])
        #expect(throws: Relation.Refusal.blocking) { try blocker.perform(.ask) }
        #expect(try blocker.perform(.unblock) == [.init(type: .friendRequest, isMine: false, tellsOther: false)])
        #expect(try blocker.perform(.ask) == [.init(type: .friendAccepted)])
    }

    @Test func `a block ends what there was`() throws {
        for before in [Relation(areFriends: true), Relation(isAsking: true), Relation(isAsked: true)] {
            var relation = before
            #expect(try relation.perform(.block) == [.init(type: .friendRemoved)])
            #expect(relation == Relation(isBlocking: true))
        }
        var both = Relation(isAsking: true, isBlocked: true)
        #expect(try both.perform(.block) == [.init(type: .friendRemoved, tellsOther: false)])
        #expect(both == Relation(isBlocking: true, isBlocked: true))
    }

    @Test(arguments: [
        (MayWrite.everyone, MayWrite.everyone, ""), (.friends, .everyone, "b"), (.everyone, .friends, "a"),
        (.friends, .friends, "*"),
    ])
    func `who may write`(lo: MayWrite, hi: MayWrite, strangers: String) throws {
        let (a, b) = (try #require(UserID("a")), try #require(UserID("b")))
        func closed(areFriends: Bool, isBlocked: Bool) -> WriteRights {
            WriteRights(
                conversation: .direct(a, b),
                version: 1,
                closed: WriteRights.closed(a, lo, b, hi, areFriends: areFriends, isBlocked: isBlocked),
                isOpen: true
            )
        }
        #expect(closed(areFriends: true, isBlocked: false).closed == .nobody)
        #expect(closed(areFriends: false, isBlocked: true).closed == .both)
        let rights = closed(areFriends: false, isBlocked: false)
        #expect(rights.mayWrite(a) == !["a", "*"].contains(strangers))
        #expect(rights.mayWrite(b) == !["b", "*"].contains(strangers))
    }
}

extension Relation {
    fileprivate var reversed: Relation {
        Relation(
            areFriends: areFriends,
            isAsking: isAsked,
            isAsked: isAsking,
            isBlocking: isBlocked,
            isBlocked: isBlocking
        )
    }
}

extension Result where Success == [Relation.Notice] {
    /// What one hears, or the refusal in words.
    fileprivate var told: [String] {
        get throws {
            switch self {
            case .success(let notices): notices.map { "\($0.type) \($0.isMine)" }
            case .failure(let error): ["\(error)"]
            }
        }
    }
}
