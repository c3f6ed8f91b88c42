import NIOCore
import ParleyCore
import ParleyWire

/// The completions of a prefix in one generation, the best first, and what was made of them for answers.
///
/// The filter stands between the two: what is rendered is of one version of it, and made anew with the next.
final class RankedList {
    let generation: SuggestGeneration
    private let completions: [SuggestEntry]
    private var filterVersion: Int64 = -1
    private var allowed: [SuggestEntry] = []
    private var rendered: [(limit: Int, format: SuggestQuestion.Format, bytes: ByteBuffer)] = []

    init(generation: SuggestGeneration, completions: [SuggestEntry]) {
        self.generation = generation
        self.completions = completions
    }

    /// What of it may be suggested, at most as many as an answer can have.
    func items(_ filter: SuggestFilter) -> ArraySlice<SuggestEntry> {
        if filterVersion != filter.version {
            filterVersion = filter.version
            allowed = completions.filter { filter.allows($0.display, in: generation.locale) }
            rendered.removeAll()
        }
        return allowed.prefix(SuggestQuestion.limits.upperBound)
    }

    /// An answer's body, behind the text that was asked for.
    func tail(_ limit: Int, _ format: SuggestQuestion.Format, _ filter: SuggestFilter) -> ByteBuffer {
        let items = items(filter)
        for known in rendered where known.limit == limit && known.format == format { return known.bytes }
        var bytes = ByteBuffer()
        switch format {
        case .json: SuggestBody.json(items.prefix(limit), generation, into: &bytes)
        case .browser: SuggestBody.browser(items.prefix(limit), into: &bytes)
        }
        rendered.append((limit, format, bytes))
        return bytes
    }
}

/// The JSON of answers. What was asked for is repeated as it was typed, so each is a beginning and a tail.
enum SuggestBody {
    static func begin(_ text: [UInt8], _ format: SuggestQuestion.Format, into buffer: inout ByteBuffer) {
        buffer.writeStaticString(format == .json ? #"{"q":"# : "[")
        text.withUnsafeBytes { buffer.writeJSONString(utf8: $0) }
    }

    static func json(
        _ items: some Sequence<SuggestEntry>,
        _ generation: SuggestGeneration?,
        into buffer: inout ByteBuffer
    ) {
        // It follows what `begin` writes.
        buffer.writeStaticString(",\"locale\":")
        buffer.writeJSONString(generation?.locale.description ?? SuggestLocale.fallback.description)
        buffer.writeJSONField("generation", generation?.id ?? 0)
        buffer.writeJSONKey("items")
        buffer.beginJSONArray()
        for item in items {
            buffer.beginJSONElement()
            buffer.beginJSONObject()
            buffer.writeJSONField("text", item.display)
            buffer.writeJSONKey("score")
            buffer.writeString(SuggestMember.text(of: item.weight))
            buffer.endJSONObject()
        }
        buffer.endJSONArray()
        buffer.endJSONObject()
    }

    static func browser(_ items: some Sequence<SuggestEntry>, into buffer: inout ByteBuffer) {
        buffer.writeStaticString(",")
        buffer.beginJSONArray()
        for item in items {
            buffer.beginJSONElement()
            buffer.writeJSONString(item.display)
        }
        buffer.endJSONArray()
        buffer.endJSONArray()
    }
}
