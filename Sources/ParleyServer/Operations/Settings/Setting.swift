/// One thing that a process can be told from outside. Its options, its variable, how it is parsed, what `--help` and the
/// configuration reference say of it all come from here.
public struct Setting: Sendable {
    /// A kind of process.
    public enum Reader: String, Sendable, CaseIterable {
        case gateway, worker, migrate, top, typeahead
    }

    /// Without `PARLEY_`.
    let name: String
    let readers: Set<Reader>
    /// May be given as the name of a file that holds it, under the name with `_FILE`; never repeated to anybody.
    let isSecret: Bool
    let isRequired: Bool
    /// What it may be.
    let values: String
    /// What holds where it is not given, as it would be given; nil for nothing.
    let fallback: String?
    /// For a person, in Markdown; without a full stop at the end.
    let about: String
    /// Takes over a value; nil where it is none of `values`, and a reason where that would not say enough.
    let take: @Sendable (inout Settings, String) throws -> Void?

    var variable: String { "PARLEY_\(name)" }
    var option: String { Self.option(of: variable) }

    /// `--redis-url` for `PARLEY_REDIS_URL`.
    static func option(of variable: String) -> String {
        "--" + variable.dropFirst("PARLEY_".count).lowercased().replacing("_", with: "-")
    }

    /// - Parameters:
    ///   - path: where the value goes, and the default stands.
    ///   - fallback: what a person is told of a default that is not in `path`.
    init<Value>(
        _ name: String,
        _ path: any WritableKeyPath<Settings, Value> & Sendable,
        _ kind: SettingKind<Value>,
        for readers: Set<Reader>,
        isSecret: Bool = false,
        isRequired: Bool = false,
        fallback: String? = nil,
        _ about: String
    ) {
        self.name = name
        self.readers = readers
        self.isSecret = isSecret
        self.isRequired = isRequired
        self.values = kind.values
        self.fallback = fallback ?? kind.show(Settings()[keyPath: path])
        self.about = about
        take = { settings, text in try kind.parse(text).map { settings[keyPath: path] = $0 } }
    }
}

/// What a setting may be, and how it is written.
struct SettingKind<Value>: Sendable {
    let values: String
    /// nil where the text is none of `values`.
    let parse: @Sendable (String) throws -> Value?
    /// As `parse` takes it; nil for nothing.
    let show: @Sendable (Value) -> String?
}
