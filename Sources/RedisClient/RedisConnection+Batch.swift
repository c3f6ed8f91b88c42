import NIOCore

extension RedisConnection {
    /// Sends commands at once, from anywhere, and waits for all of their replies, which come in the same order.
    ///
    /// - Throws: the first error, when all have ended.
    public func send(_ commands: [RedisCommand], repeatable: Bool = false) async throws(RedisError) -> [RESPValue] {
        guard !commands.isEmpty else { return [] }
        let results: [Result<RESPValue, RedisError>] = await withCheckedContinuation { continuation in
            eventLoop.execute {
                let batch = Batch(count: commands.count)
                for (index, command) in commands.enumerated() {
                    self.send(command, repeatable: repeatable) { result in
                        if batch.ended(index, result) { continuation.resume(returning: batch.results) }
                    }
                }
            }
        }
        var replies: [RESPValue] = []
        replies.reserveCapacity(results.count)
        for result in results { replies.append(try result.get()) }
        return replies
    }
}

/// Stays on the event loop.
private final class Batch {
    private(set) var results: [Result<RESPValue, RedisError>]
    private var missing: Int

    init(count: Int) {
        results = Array(repeating: .success(.null), count: count)
        missing = count
    }

    /// - Returns: whether it was the last.
    func ended(_ index: Int, _ result: Result<RESPValue, RedisError>) -> Bool {
        results[index] = result
        missing -= 1
        return missing == 0
    }
}
