import ParleyCore
import ParleyWire
import Testing

/// What presence decides without Redis: how long a lease lasts, who is watched, what a client is told and when.
@Suite struct PresenceTests {
    private let ann = UserID("ann")!
    private let bob = UserID("bob")!
    private let cid = UserID("cid")!

    private func online(_ version: Int64) -> PresenceState { PresenceState(isOnline: true, version: version) }
    private func offline(_ version: Int64, lastActive: Int64? = nil) -> PresenceState {
        PresenceState(isOnline: false, version: version, lastActive: lastActive)
    }

    // MARK: Leases

    @Test func `a lease outlives two missed renewals and the grace`() {
        let terms = PresenceTerms(heartbeat: 25_000, grace: 30_000)
        #expect(terms.lease == 80_000)
        #expect(terms.lease(ofPollWaiting: 30_000) == 60_000)
    }

    @Test func `only leaving and signing out end presence at once`() {
        let terms = PresenceTerms(heartbeat: 25_000, grace: 30_000)
        #expect(terms.remainder(after: .closedByClient(1000)) == 0)
        for code: UInt16? in [1001, 1005, 1006, 4000, nil] {
            #expect(terms.remainder(after: .closedByClient(code)) == 30_000)
        }
        #expect(terms.remainder(after: .lost) == 30_000)
        for code in CloseCode.allCases {
            let isEnd = code == .unauthorized || code == .banned
            #expect(terms.remainder(after: .closedByServer(code)) == (isEnd ? 0 : 30_000))
        }
    }

    @Test func `a state is read as it is written`() {
        for state in [online(7), offline(0), offline(12, lastActive: 99)] {
            #expect(PresenceState(words: state.text.split(separator: " ")) == state)
        }
        for text in ["", "online", "online 1", "away 1 -", "online x -", "online 1 - -"] {
            #expect(PresenceState(words: text.split(separator: " ")) == nil)
        }
    }

    // MARK: What is watched

    @Test func `friends alone are lit, the others stay wanted`() {
        var set = WatchSet()
        #expect(set.replace(with: [ann, bob, cid, bob], of: cid) == [])
        #expect(Set(set.wanted) == [ann, bob])
        #expect(set.lit.isEmpty)
        var change = set.checked(friends: [bob])
        #expect(change.lit == [bob] && change.unlit.isEmpty)
        change = set.checked(friends: [ann, bob])
        #expect(change.lit == [ann] && change.unlit.isEmpty && Set(set.lit) == [ann, bob])
        change = set.checked(friends: [ann])
        #expect(change.lit.isEmpty && change.unlit == [bob] && Array(set.lit) == [ann])
        #expect(Set(set.wanted) == [ann, bob], "should they be friends again")
    }

    @Test func `a new set keeps the lights that are in both`() {
        var set = WatchSet()
        _ = set.replace(with: [ann, bob], of: cid)
        _ = set.checked(friends: [ann, bob])
        #expect(set.replace(with: [bob], of: cid) == [ann])
        #expect(Array(set.lit) == [bob] && set.wanted == [bob])
        #expect(set.replace(with: [], of: cid) == [bob])
        #expect(set.isEmpty && set.lit.isEmpty)
    }

    @Test func `a pair's channel is needed from the first watcher of either side to the last`() {
        var board = PresenceBoard()
        #expect(board.watch(bob, by: 1, of: ann) == true)
        #expect(board.watch(bob, by: 2, of: ann) == false, "a second session of the same user")
        #expect(board.watch(ann, by: 3, of: bob) == false, "the other direction is the same channel")
        #expect(board.watch(ann, by: 4, of: cid) == true, "another pair")
        #expect(board.pairs() == [FriendPair(ann, bob), FriendPair(cid, ann)])
        #expect(board.unwatch(bob, by: 1) == false)
        #expect(board.unwatch(ann, by: 3) == false)
        #expect(board.isNeeded(FriendPair(bob, ann)))
        #expect(board.unwatch(bob, by: 2) == true)
        #expect(!board.isNeeded(FriendPair(bob, ann)))
        #expect(board.unwatch(ann, by: 4) == true)
        #expect(board.unwatch(ann, by: 4) == false, "nothing to give up any more")
        #expect(board.users.isEmpty && board.pairs().isEmpty)
        #expect(FriendPair(bob, ann).channel == "p:ann:bob")
    }

    // MARK: Which picture counts

    @Test func `a late offline does not beat a newer online`() {
        var board = PresenceBoard()
        _ = board.watch(bob, by: 1, of: ann)
        _ = board.watch(bob, by: 2, of: cid)
        #expect(board.heard(bob, online(5)) == [1, 2])
        #expect(board.heard(bob, offline(4)) == [])
        #expect(board.heard(bob, offline(5)) == [], "the same publication on another pair's channel")
        #expect(board.state(of: bob) == online(5))
        #expect(board.heard(bob, offline(6)) == [1, 2])
        #expect(board.heard(ann, online(9)) == [], "nobody watches her")
    }

    @Test func `what was heard since the question beats an older answer`() {
        var board = PresenceBoard()
        _ = board.watch(bob, by: 1, of: ann)
        #expect(board.read(bob, offline(3), knownThen: -1) == [1])
        _ = board.heard(bob, online(4))
        #expect(board.read(bob, offline(3), knownThen: 3) == [])
        #expect(board.state(of: bob) == online(4))
        #expect(board.read(bob, offline(5), knownThen: 3) == [1])
    }

    @Test func `after a loss of data the answer counts, though its version is lower`() {
        var board = PresenceBoard()
        _ = board.watch(bob, by: 1, of: ann)
        _ = board.heard(bob, online(400))
        #expect(board.read(bob, offline(0), knownThen: 400) == [1])
        #expect(board.state(of: bob) == offline(0))
        #expect(board.read(bob, offline(0), knownThen: 0) == [], "nothing new")
        #expect(board.heard(bob, online(401)) == [1])
    }

    // MARK: When a client is told

    @Test func `the first change goes at once, the others of a window together`() {
        var window = PresenceWindow()
        #expect(window.changed(ann, isWritable: true) == .tell)
        #expect(window.changed(ann, isWritable: true) == .none)
        #expect(window.changed(bob, isWritable: true) == .none)
        #expect(window.changed(ann, isWritable: true) == .none)
        var end = window.ended(isWritable: true)
        #expect(end.users == [ann, bob] && end.again)
        #expect(window.changed(ann, isWritable: true) == .none, "the next window is open")
        end = window.ended(isWritable: true)
        #expect(end.users == [ann] && end.again)
        end = window.ended(isWritable: true)
        #expect(end.users == [] && !end.again)
        #expect(window.changed(ann, isWritable: true) == .tell)
    }

    @Test func `a client that takes nothing gets the last states when it does again`() {
        var window = PresenceWindow()
        #expect(window.changed(ann, isWritable: false) == .wait)
        #expect(window.changed(bob, isWritable: false) == .none)
        let stuck = window.ended(isWritable: false)
        #expect(stuck.users == [] && stuck.again)
        #expect(window.changed(ann, isWritable: false) == .none)
        let end = window.ended(isWritable: true)
        #expect(end.users == [ann, bob] && end.again)
    }
}
