/// The members of a frame that are known by name. An enum's cases in order, camel case here, snake case on the wire.
protocol FieldName: CaseIterable, RawRepresentable, Sendable where RawValue == Int {
    static var table: [PackedName] { get }
}

extension FieldName {
    /// The name on the wire.
    var wireName: String {
        String(describing: self).reduce(into: "") { name, letter in
            if letter.isUppercase { name += "_" }
            name += letter.lowercased()
        }
    }

    static func makeTable() -> [PackedName] {
        allCases.map { name in
            var text = name.wireName
            guard let packed = text.withUTF8({ PackedName(UnsafeRawBufferPointer($0)) }) else {
                preconditionFailure("\(text) is longer than a packed name")
            }
            return packed
        }
    }
}

/// Up to fifteen bytes and their count in two words, so that names compare without touching memory.
struct PackedName: Hashable {
    private var low: UInt64 = 0
    private var high: UInt64

    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count <= 15 else { return nil }
        high = UInt64(bytes.count) << 56
        for index in 0..<bytes.count {
            let byte = UInt64(bytes[index])
            if index < 8 { low |= byte << UInt64(8 * index) } else { high |= byte << UInt64(8 * (index - 8)) }
        }
    }
}

/// The scanned values of a frame's known fields. An operation reads those it has; the others, like unknown names,
/// are ignored whatever they hold. The last of duplicate keys wins, and `null` counts as absent.
struct FrameFields<Name: FieldName, let count: Int> {
    private var values = InlineArray<count, JSONValue?>(repeating: nil)

    /// Fills in the fields of a whole JSON object. What was read before an error stays.
    mutating func scan(_ bytes: UnsafeRawBufferPointer) throws(JSONError) {
        let table = Name.table
        var scanner = JSONScanner(bytes)
        try scanner.beginObject()
        while let key = try scanner.nextKey() {
            let name = Self.packed(key)
            let value = try scanner.value()
            if let name, let index = table.firstIndex(of: name) { values[index] = value }
        }
        try scanner.finish()
    }

    private static func packed(_ key: JSONValue) -> PackedName? {
        if let content = key.plainContent { return PackedName(content) }
        var text = key.string() ?? ""
        return text.withUTF8 { PackedName(UnsafeRawBufferPointer($0)) }
    }

    subscript(_ name: Name) -> JSONValue? {
        guard let value = values[name.rawValue], value.kind != .null else { return nil }
        return value
    }

    /// What an answer to the frame echoes of a field, if it is fit for it.
    func echo(_ name: Name) -> FrameID? {
        self[name].flatMap { FrameID($0) }
    }
}

/// Typed access. A present field of the wrong type is `bad_frame`, as is an absent one that is required.
extension FrameFields {
    func required<T>(_ name: Name, _ value: T?) throws(FrameError) -> T {
        guard let value else { throw FrameError(.badFrame, "\(name.wireName) is missing") }
        return value
    }

    private func typed<T>(
        _ name: Name,
        _ type: StaticString,
        _ read: (JSONValue) -> T?
    ) throws(FrameError) -> T? {
        guard let value = self[name] else { return nil }
        guard let result = read(value) else { throw FrameError(.badFrame, "\(name.wireName) must be \(type)") }
        return result
    }

    func string(_ name: Name) throws(FrameError) -> String? {
        try typed(name, "a string") { $0.string() }
    }

    func integer(_ name: Name) throws(FrameError) -> Int64? {
        try typed(name, "an integer of at most 2^53-1") { $0.integer() }
    }

    func flag(_ name: Name) throws(FrameError) -> Bool {
        try typed(name, "true or false") { $0.bool() } ?? false
    }

    func object(_ name: Name) throws(FrameError) -> JSONValue? {
        try typed(name, "an object") { $0.kind == .object ? $0 : nil }
    }

    /// An identifier. One that does not follow its grammar is refused with `malformed`.
    func identifier<ID: WireIdentifier>(
        _ name: Name,
        _ type: ID.Type = ID.self,
        malformed: ErrorCode = .badFrame
    ) throws(FrameError) -> ID? {
        guard let value = try typed(name, "a string", { $0.kind == .string ? $0 : nil }) else { return nil }
        guard let identifier = value.identifier(as: type) else {
            throw FrameError(malformed, "\(name.wireName) is malformed")
        }
        return identifier
    }

    /// The elements of an array, each read by `element`.
    func array<T>(
        _ name: Name,
        _ element: (JSONValue) throws(FrameError) -> T
    ) throws(FrameError) -> [T]? {
        guard let array = try typed(name, "an array", { $0.kind == .array ? $0 : nil }) else { return nil }
        var elements: [T] = []
        var scanner = JSONScanner(array.bytes)
        do throws(JSONError) { try scanner.beginArray() } catch { throw FrameError(.badFrame, "\(error)") }
        while true {
            let value: JSONValue
            do throws(JSONError) {
                guard try scanner.nextElement() else { return elements }
                value = try scanner.value()
            } catch {
                throw FrameError(.badFrame, "\(name.wireName): \(error)")
            }
            elements.append(try element(value))
        }
    }
}
