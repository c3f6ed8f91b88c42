import RedisClient

/// A submitted search as it stands in the stream.
struct SearchEntry: Sendable, Hashable {
    /// As it was written.
    let text: String
    let locale: String
    /// nil for somebody who was not signed in.
    let user: [UInt8]?
    /// For how many it counts.
    let weight: Int64

    func command(for shard: SearchShard) -> RedisCommand {
        let user = user.map { ["u", Base64.url.encode($0)] } ?? []
        return RedisCommand(
            ["XADD", shard.key, "MAXLEN", "~", String(SearchShard.limit), "*", "q", text, "l", locale]
                + ["n", String(weight)] + user
        )
    }
}

extension SearchEntry {
    /// What of a shard was read: ids, and entries as far as they are searches.
    static func all(in reply: RESPValue?) -> [(id: String, entry: SearchEntry?)] {
        (reply?.array ?? []).compactMap { item in
            guard let parts = item.array, parts.count == 2, let id = parts[0].string else { return nil }
            return (id, SearchEntry(parts[1].array ?? []))
        }
    }

    private init?(_ fields: [RESPValue]) {
        var values: [String: String] = [:]
        for index in stride(from: 0, to: fields.count - 1, by: 2) {
            if let name = fields[index].string { values[name] = fields[index + 1].string }
        }
        guard let text = values["q"], let locale = values["l"], let weight = values["n"].flatMap({ Int64($0) }),
            (1...1_000_000).contains(weight)
        else { return nil }
        self.init(text: text, locale: locale, user: values["u"].flatMap { Base64.url.decode($0) }, weight: weight)
    }
}
