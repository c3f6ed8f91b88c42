extension Setting {
    /// What the option list of a command says, in lines of 78 characters at most.
    public static func help(for readers: Set<Reader>) -> String {
        var lines = [
            "Every option is also a variable of the environment (--redis-url is",
            "PARLEY_REDIS_URL) and a line of the file that --config-file names.",
        ]
        for section in sections {
            let settings = section.settings.filter { !$0.readers.isDisjoint(with: readers) }
            guard !settings.isEmpty else { continue }
            lines += ["", "\(section.title):"]
            for setting in settings {
                lines.append("  " + setting.variables.map(option).joined(separator: ", "))
                let fallback = setting.fallback.map { "; default: \($0)" } ?? ""
                for text in ["\(setting.about).", "[\(setting.values)\(fallback)]"] {
                    lines += wrapped(text.replacing("`", with: ""), to: 72).map { "      \($0)" }
                }
            }
        }
        return lines.joined(separator: "\n")
    }

    private static func wrapped(_ text: String, to columns: Int) -> [String] {
        var lines = [""]
        for word in text.split(separator: " ") {
            if lines[lines.count - 1].count + word.count >= columns { lines.append("") }
            lines[lines.count - 1] += lines[lines.count - 1].isEmpty ? "\(word)" : " \(word)"
        }
        return lines
    }

    /// The configuration reference, in Markdown.
    public static var reference: String {
        var text = """
            # Configuration

            <!-- Written by `parley config-reference`, from Sources/ParleyServer/Operations/Settings/SettingSections.swift. -->

            Every setting is a variable of the environment, an option of the commands that read it (`--redis-url` is
            `PARLEY_REDIS_URL`), and a line `PARLEY_NAME=value` of the file that `PARLEY_CONFIG_FILE` names. Options win over
            the environment, and that over the file. A secret can stand in a file of its own: `PARLEY_REDIS_URL_FILE` names
            the file that holds what `PARLEY_REDIS_URL` would say. Settings that a process does not read are passed over;
            names that no process knows are refused. `parley check-config` says everything that is wrong.

            """
        for section in sections {
            text +=
                "\n## \(section.title)\n\n| variable | what | values | default | read by |\n| --- | --- | --- | --- | --- |\n"
            for setting in section.settings {
                let names = setting.variables.map { "`\($0)`" }.joined(separator: " or ")
                let fallback =
                    setting.fallback.map { $0.contains(" ") || $0.contains("`") ? $0 : "`\($0)`" }
                    ?? (setting.isRequired ? "none, needed" : "none")
                let readers = Reader.allCases.filter(setting.readers.contains).map(\.rawValue).joined(separator: ", ")
                let cells = [names, setting.about, setting.values, fallback, readers]
                text += "| \(cells.map { $0.replacing("|", with: "\\|") }.joined(separator: " | ")) |\n"
            }
        }
        return text
    }

    /// For a terminal.
    var plainAbout: String { about.replacing("`", with: "") }
    var plainValues: String { values.replacing("`", with: "") }
}
