import ParleyWire

/// What two users are to each other, seen by the one who acts, and what becomes of it.
///
/// A block cannot be told from outside: whoever is blocked may ask to be friends and sees their request wait, like one
/// that nobody answers; the other sees nothing of it until they end the block.
struct Relation: Sendable, Hashable {
    var areFriends = false
    /// I asked, and wait.
    var isAsking = false
    /// The other asked, and waits.
    var isAsked = false
    var isBlocking = false
    var isBlocked = false

    enum Action: Sendable, Hashable {
        /// Asks to be friends; where the other has asked already, it is the answer.
        case ask
        case accept
        /// Withdraws my request, or declines the other's.
        case endRequest
        case unfriend
        case block, unblock
        /// Ends what there is, since I am about to be gone.
        case leave
    }

    enum Refusal: Error, Hashable {
        /// No such user.
        case noUser
        /// There is nothing to accept.
        case noRequest
        /// I block the other myself.
        case blocking
        /// As many friends, or requests, as may be: mine, or the other's.
        case full(limit: Int, ofRequests: Bool, isMine: Bool)
    }

    /// A durable event, and whose devices get it.
    struct Notice: Sendable, Hashable {
        let type: EventType
        /// Whether it tells what I did, or what the other did earlier.
        var isMine = true
        var tellsMe = true
        var tellsOther = true
    }

    /// Whether these let the same ones write.
    func hasRights(of other: Relation) -> Bool {
        (areFriends, isBlocking, isBlocked) == (other.areFriends, other.isBlocking, other.isBlocked)
    }

    /// - Returns: what is to be told; nothing where everything is as wished.
    mutating func perform(_ action: Action) throws(Refusal) -> [Notice] {
        switch action {
        case .ask:
            guard !isBlocking else { throw .blocking }
            if isAsked { return try perform(.accept) }
            guard !areFriends, !isAsking else { return [] }
            isAsking = true
            return [Notice(type: .friendRequest, tellsOther: !isBlocked)]
        case .accept:
            guard !areFriends else { return [] }
            guard isAsked, !isBlocking else { throw .noRequest }
            (areFriends, isAsked) = (true, false)
            return [Notice(type: .friendAccepted)]
        case .endRequest:
            let isShown = isAsked && !isBlocking
            guard isAsking || isShown else { return [] }
            let notice = Notice(type: .friendRemoved, tellsOther: isShown || !isBlocked)
            isAsking = false
            if isShown { isAsked = false }
            return [notice]
        case .unfriend:
            guard areFriends else { return [] }
            areFriends = false
            return [Notice(type: .friendRemoved)]
        case .block:
            guard !isBlocking else { return [] }
            let notices = end()
            isBlocking = true
            return notices
        case .unblock:
            guard isBlocking else { return [] }
            isBlocking = false
            return isAsked ? [Notice(type: .friendRequest, isMine: false, tellsOther: false)] : []
        case .leave:
            return end().map { Notice(type: $0.type, tellsMe: false, tellsOther: $0.tellsOther) }
        }
    }

    /// Ends friendship and requests.
    private mutating func end() -> [Notice] {
        guard areFriends || isAsking || isAsked else { return [] }
        let isSeen = areFriends || isAsked || !isBlocked
        (areFriends, isAsking, isAsked) = (false, false, false)
        return [Notice(type: .friendRemoved, tellsOther: isSeen)]
    }
}
