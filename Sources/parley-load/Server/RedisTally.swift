/// What a Redis was asked and how many bytes went to and from it.
struct RedisUsage: Sendable, Equatable {
    /// By command; those that a function calls inside Redis count beside the function's own.
    var calls: [String: Int] = [:]
    /// Bytes that Redis read from its clients.
    var input = 0
    /// Bytes that Redis wrote to them.
    var output = 0

    func combined(with other: RedisUsage, _ combine: (Int, Int) -> Int) -> RedisUsage {
        var calls = calls
        for (command, count) in other.calls { calls[command] = combine(calls[command] ?? 0, count) }
        return RedisUsage(
            calls: calls.filter { $0.value != 0 },
            input: combine(input, other.input),
            output: combine(output, other.output)
        )
    }
}

/// Adds up Redis's counters over the lives of a server that is killed and started again: each begins at zero.
/// What is asked in order to count is left out.
struct RedisTally {
    /// One call answers all that is counted, of one moment. (Several sections need Redis 7.)
    static let question = ["INFO", "server", "stats", "commandstats"]

    private struct Life {
        var usage = RedisUsage()
        var own = RedisUsage()
    }

    /// By `run_id`.
    private var lives: [String: Life] = [:]

    /// Takes an answer to the question; one that is not is passed over.
    mutating func observe(_ answer: String) {
        var counted = RedisUsage()
        var run: Substring?
        for line in answer.split(whereSeparator: \.isNewline) {
            let field = line.split(separator: ":", maxSplits: 1)
            guard field.count == 2 else { continue }
            switch field[0] {
            case "run_id": run = field[1]
            case "total_net_input_bytes": counted.input = Int(field[1]) ?? 0
            case "total_net_output_bytes": counted.output = Int(field[1]) ?? 0
            default:
                // cmdstat_client|setname:calls=3,usec=9,…
                guard field[0].hasPrefix("cmdstat_"), let calls = field[1].split(separator: ",").first else { continue }
                counted.calls[String(field[0].dropFirst("cmdstat_".count))] = Int(calls.dropFirst("calls=".count))
            }
        }
        guard let run else { return }
        var life = lives[String(run)] ?? Life()
        // This question was read when Redis counted; its call is counted and its answer written afterwards.
        life.own.input += Self.question.reduce("*\(Self.question.count)\r\n".utf8.count) { $0 + Self.bulkLength($1) }
        life.usage = counted.combined(with: life.own, -)
        life.own.calls["info", default: 0] += 1
        life.own.output += Self.bulkLength(answer)
        lives[String(run)] = life
    }

    /// Nil as long as Redis never answered.
    var usage: RedisUsage? {
        lives.isEmpty ? nil : lives.values.reduce(RedisUsage()) { $0.combined(with: $1.usage, +) }
    }

    private static func bulkLength(_ text: String) -> Int {
        let count = text.utf8.count
        return "$\(count)\r\n\r\n".utf8.count + count
    }
}
