#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Values by variable as one source gives them.
public struct SettingSource: Sendable {
    struct Entry: Sendable {
        let variable: String
        let value: String
        /// Where a person finds it.
        let place: String
    }

    var entries: [Entry] = []

    public init() {}

    init(environment: [String: String]) {
        for (variable, value) in environment.sorted(by: { $0.key < $1.key }) where variable.hasPrefix("PARLEY_") {
            entries.append(Entry(variable: variable, value: value, place: variable))
        }
    }

    /// - Parameter arguments: `--name value` or `--name=value`, in any order.
    /// - Throws: `Settings.Problem` about what is no option of these processes.
    public static func options(
        _ arguments: [String],
        for readers: Set<Setting.Reader>
    ) throws(Settings.Problem) -> SettingSource {
        let known = Setting.all.filter { !$0.readers.isDisjoint(with: readers) }.flatMap(\.variables)
        var source = SettingSource()
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard let variable = known.first(where: { Setting.option(of: $0) == parts[0] }) else {
                throw Settings.Problem(
                    "\(parts[0]) is no option of this command"
                        + Setting.suggestion(parts[0], of: known.map(Setting.option))
                )
            }
            guard let value = parts.count == 2 ? parts[1] : rest.popFirst() else {
                throw Settings.Problem("\(parts[0]) has no value")
            }
            source.entries.append(Entry(variable: variable, value: value, place: parts[0]))
        }
        return source
    }

    /// The first that says it.
    subscript(variable: String) -> String? { entries.first { $0.variable == variable }?.value }

    static func + (one: SettingSource, other: SettingSource) -> SettingSource {
        var sum = one
        sum.entries += other.entries
        return sum
    }
}

/// What several sources say, and what is wrong with it.
struct GivenSettings {
    private var values: [String: SettingSource.Entry] = [:]
    private var problems: [String] = []

    /// The lines of a configuration file.
    mutating func file(_ path: String) -> SettingSource {
        var source = SettingSource()
        guard let text = try? Settings.text(ofFile: path) else {
            problems.append("the configuration file \(path) cannot be read")
            return source
        }
        for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            let line = line.drop(while: \.isWhitespace)
            guard !line.isEmpty, !line.hasPrefix("#") else { continue }
            let place = "\(path), line \(index + 1)"
            guard let equals = line.firstIndex(of: "="), line.hasPrefix("PARLEY_") else {
                problems.append("\(place): expected PARLEY_NAME=value")
                continue
            }
            let (variable, value) = (String(line[..<equals]), String(line[line.index(after: equals)...]))
            source.entries.append(.init(variable: variable, value: value, place: "\(place), \(variable)"))
        }
        return source
    }

    /// What this source says wins over what was added before.
    mutating func add(_ source: SettingSource) {
        var places: [String: String] = [:]
        for entry in source.entries {
            guard let setting = Setting.all.first(where: { $0.variables.contains(entry.variable) }) else {
                let suggestion = Setting.suggestion(entry.variable, of: Setting.all.flatMap(\.variables))
                problems.append("\(entry.place) is no setting of Parley\(suggestion)")
                continue
            }
            if let other = places.updateValue(entry.place, forKey: setting.variable) {
                problems.append("\(other) and \(entry.place) say the same: give one of them")
            }
            guard entry.variable != setting.variable else {
                values[setting.variable] = entry
                continue
            }
            do {
                let lines = try Settings.text(ofFile: entry.value).split(whereSeparator: \.isNewline)
                let value = lines.count == 1 ? String(lines[0]) : ""
                values[setting.variable] = .init(variable: setting.variable, value: value, place: entry.place)
            } catch {
                problems.append("\(entry.place): \(error)")
            }
        }
    }

    /// - Throws: everything that is wrong with what these processes read, and with names that nobody knows.
    func settings(for readers: Set<Setting.Reader>) throws(Settings.Problem) -> Settings {
        var settings = Settings()
        var problems = problems
        for setting in Setting.all where !setting.readers.isDisjoint(with: readers) {
            guard let entry = values[setting.variable] else {
                if setting.isRequired { problems.append("\(setting.variable) is not set: \(setting.plainAbout)") }
                continue
            }
            do {
                guard try setting.take(&settings, entry.value) == nil else { continue }
                let given = setting.isSecret ? "" : entry.value.isEmpty ? ", not nothing" : ", not \(entry.value)"
                problems.append("\(entry.place): expected \(setting.plainValues)\(given)")
            } catch {
                problems.append("\(entry.place): \(error)")
            }
        }
        guard problems.isEmpty else { throw Settings.Problem(lines: problems) }
        return settings
    }
}

extension Settings {
    static func text(ofFile path: String) throws(Problem) -> String {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw Problem("the file \(path) cannot be read")
        }
        return text
    }
}

extension Setting {
    /// The names that give it.
    var variables: [String] { isSecret ? [variable, "\(variable)_FILE"] : [variable] }

    /// "; do you mean …?", where one of the names is near.
    static func suggestion(_ name: String, of names: [String]) -> String {
        let nearest = names.map { (name: $0, distance: distance(name, $0)) }.min { $0.distance < $1.distance }
        guard let nearest, nearest.distance <= 3 else { return "" }
        return "; do you mean \(nearest.name)?"
    }

    /// How many letters must be put in, left out or changed (Levenshtein 1966, by rows).
    private static func distance(_ one: String, _ other: String) -> Int {
        var row = Array(0...other.utf8.count)
        for (index, letter) in one.utf8.enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for (column, otherLetter) in other.utf8.enumerated() {
                let changed = diagonal + (letter == otherLetter ? 0 : 1)
                diagonal = row[column + 1]
                row[column + 1] = min(changed, diagonal + 1, row[column] + 1)
            }
        }
        return row[row.count - 1]
    }
}
