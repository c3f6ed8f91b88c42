import NIOCore

/// The commands of one connection in the order in which they were asked for: first those written and not yet
/// answered, then those that wait for a connection. Decides what becomes of them; does no I/O.
///
/// A *repeatable* command says that running it twice is harmless. When the connection is lost, the unanswered
/// repeatable ones keep their places and are written again before anything newer, so that one session's sends
/// stay in order through a reconnect. Redis may still run an abandoned connection's command later than a newer
/// one on another connection; repeating in order is what makes that harmless.
struct CommandQueue {
    typealias Completion = (Result<RESPValue, RedisError>) -> Void

    struct Entry {
        let command: RedisCommand
        let isRepeatable: Bool
        let deadline: NIODeadline
        /// nil once the caller has been told that the time is up; the place in the row stays for the reply to come.
        var completion: Completion?
        var wasWritten = false
    }

    /// What to tell a caller.
    struct Verdict {
        let completion: Completion
        let result: Result<RESPValue, RedisError>

        func deliver() { completion(result) }
    }

    private var entries = CircularBuffer<Entry>()
    /// How many of the first entries stand written on the present connection.
    private var writtenCount = 0

    var count: Int { entries.count }
    var hasUnanswered: Bool { writtenCount > 0 }

    /// When the oldest command's time is up.
    var firstDeadline: NIODeadline? { entries.first?.deadline }

    /// Adds a command; with `isConnected` the caller writes it at once.
    mutating func append(_ entry: Entry, isConnected: Bool) {
        entries.append(entry)
        guard isConnected else { return }
        entries[entries.index(before: entries.endIndex)].wasWritten = true
        writtenCount += 1
    }

    /// A reply arrived: it belongs to the oldest written command. nil when nothing was asked.
    mutating func replied() -> Entry? {
        guard writtenCount > 0 else { return nil }
        writtenCount -= 1
        return entries.removeFirst()
    }

    /// The reply said that the server is not ready for this command: it takes its old place, to be written again.
    mutating func putBack(_ entry: Entry) {
        entries.prepend(entry)
        writtenCount += 1
    }

    /// The connection is gone. Returns those that can neither be repeated nor be known to have failed.
    mutating func connectionLost() -> [Verdict] {
        var verdicts: [Verdict] = []
        var kept = CircularBuffer<Entry>(initialCapacity: entries.count)
        for (position, entry) in entries.enumerated() {
            guard let completion = entry.completion else { continue }
            if entry.isRepeatable || position >= writtenCount {
                kept.append(entry)
            } else {
                let error = RedisError(.connectionLost, outcome: .unknown, "connection lost before the answer")
                verdicts.append(Verdict(completion: completion, result: .failure(error)))
            }
        }
        entries = kept
        writtenCount = 0
        return verdicts
    }

    /// A connection is there: everything that waits is to be written, in this order.
    mutating func connected() -> [RedisCommand] {
        for index in entries.indices { entries[index].wasWritten = true }
        writtenCount = entries.count
        return entries.map(\.command)
    }

    /// Ends the wait of commands whose time is up.
    mutating func expire(now: NIODeadline) -> [Verdict] {
        var verdicts: [Verdict] = []
        var position = 0
        // Deadlines rise along the row, so the expired ones are a prefix.
        while position < entries.count {
            let index = entries.index(entries.startIndex, offsetBy: position)
            guard entries[index].deadline <= now else { break }
            let entry = entries[index]
            if let completion = entry.completion {
                let error =
                    entry.wasWritten
                    ? RedisError(.timeout, outcome: .unknown, "no answer in time")
                    : RedisError(.notConnected, outcome: .failed, "no connection in time")
                verdicts.append(Verdict(completion: completion, result: .failure(error)))
            }
            if position < writtenCount {
                entries[index].completion = nil
                position += 1
            } else {
                entries.remove(at: index)
            }
        }
        return verdicts
    }

    /// The oldest written command has gone unanswered for so long past its time that the connection is given up.
    func isWedged(now: NIODeadline, patience: TimeAmount) -> Bool {
        guard writtenCount > 0, let oldest = entries.first else { return false }
        return oldest.deadline + patience <= now
    }

    /// The client is shut down.
    mutating func close() -> [Verdict] {
        let verdicts = entries.compactMap { entry in
            entry.completion.map {
                let outcome: RedisError.Outcome = entry.wasWritten ? .unknown : .failed
                return Verdict(completion: $0, result: .failure(RedisError(.closed, outcome: outcome, "client closed")))
            }
        }
        entries.removeAll()
        writtenCount = 0
        return verdicts
    }
}
