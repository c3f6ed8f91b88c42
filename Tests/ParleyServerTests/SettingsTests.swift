import Foundation
import Logging
import Testing

@testable import ParleyServer

@Suite struct SettingsTests {
    /// A directory with these files.
    private func withFiles(_ files: [String: String], _ body: (_ path: (String) -> String) throws -> Void) throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "parley-settings-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        for (name, text) in files {
            try text.write(to: directory.appending(path: name), atomically: true, encoding: .utf8)
        }
        try body { directory.appending(path: $0).path }
    }

    private func problems(
        for readers: Set<Setting.Reader> = [.worker],
        options: SettingSource = .init(),
        _ environment: [String: String]
    ) -> [String] {
        do {
            _ = try Settings(for: readers, options: options, environment: environment)
            return []
        } catch {
            return error.lines
        }
    }

    @Test func `the reference in Ops is what the code says`() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../Ops/CONFIGURATION.md")
        let text = try String(contentsOf: file, encoding: .utf8)
        #expect(text == Setting.reference, "write it anew: .build/debug/parley config-reference >Ops/CONFIGURATION.md")
    }

    @Test func `no name stands twice`() {
        let names = Setting.all.flatMap(\.variables)
        #expect(Set(names).count == names.count)
    }

    @Test(arguments: Setting.all.filter { !($0.fallback ?? "`").contains("`") && $0.fallback != "all of it" })
    func `a default is one of the values`(_ setting: Setting) throws {
        var settings = Settings()
        #expect(try setting.take(&settings, #require(setting.fallback)) != nil)
    }

    @Test(arguments: Setting.Reader.allCases)
    func `every setting of a process is an option and stands in its help`(_ reader: Setting.Reader) throws {
        let help = Setting.help(for: [reader])
        for setting in Setting.all {
            let isRead = setting.readers.contains(reader)
            let options = try? SettingSource.options(["\(setting.option)=x"], for: [reader])
            #expect((options?[setting.variable] == "x") == isRead)
            #expect(help.contains("\n  \(setting.variables.map(Setting.option).joined(separator: ", "))\n") == isRead)
        }
        #expect(help.split(separator: "\n").allSatisfy { $0.count <= 80 })
    }

    @Test func `options win over the environment and that over the file`() throws {
        let file = "# comment\n\nPARLEY_CAPACITY=1\n  PARLEY_ZONE=a=b\nPARLEY_BIND=::1\n"
        try withFiles(["parley.conf": file, "key": String(repeating: "A", count: 44)]) { path in
            let options = try SettingSource.options(
                ["--capacity", "3", "--config-file=\(path("parley.conf"))"],
                for: [.gateway]
            )
            let settings = try Settings(
                for: [.gateway],
                options: options,
                environment: [
                    "PARLEY_CAPACITY": "2", "PARLEY_BIND": "::2", "PARLEY_CONFIG_FILE": "/absent",
                    "PARLEY_TOKEN_KEY_FILE": path("key"), "PATH": "/bin",
                ]
            )
            #expect(settings.gateway.capacity == 3)
            #expect(settings.bindAddress == "::2")
            #expect(settings.gateway.zone == "a=b")
            #expect(settings.tokenKeys?.keys.count == 1)
        }
    }

    @Test func `everything that is wrong is said at once, where it stands`() throws {
        try withFiles(["parley.conf": "PARLEY_QUEUE_CAP=many\nnonsense\nPARLEY_RETENTION=9\n"]) { path in
            let found = problems([
                "PARLEY_CONFIG_FILE": path("parley.conf"), "PARLEY_HEARTBEAT_MS": "1", "PARLEY_LOGLEVEL": "info",
                "PARLEY_PARTITION": "year", "PARLEY_ZONE": "not a worker's", "PARLEY_CAPACITY": "nor this",
            ])
            let file = path("parley.conf")
            #expect(
                found == [
                    "\(file), line 2: expected PARLEY_NAME=value",
                    "\(file), line 3, PARLEY_RETENTION is no setting of Parley",
                    "PARLEY_LOGLEVEL is no setting of Parley; do you mean PARLEY_LOG_LEVEL?",
                    "PARLEY_HEARTBEAT_MS: expected milliseconds from 500 to 600000, not 1",
                    "\(file), line 1, PARLEY_QUEUE_CAP: expected a number from 100 to 10000000, not many",
                    "PARLEY_PARTITION: expected day, week or month, not year",
                ]
            )
        }
    }

    @Test func `secrets come from files, and are never repeated`() throws {
        try withFiles(["url": "redis://:hunter2@db:7000/1\n", "bad": "http://:hunter2@db\n", "empty": ""]) { path in
            let settings = try Settings(for: [.worker], environment: ["PARLEY_REDIS_URL_FILE": path("url")])
            #expect(settings.redisURL == "redis://:hunter2@db:7000/1")
            let both = problems(["PARLEY_REDIS_URL_FILE": path("url"), "PARLEY_REDIS_URL": "redis://db"])
            #expect(both == ["PARLEY_REDIS_URL and PARLEY_REDIS_URL_FILE say the same: give one of them"])
            for (file, reason) in [("bad", "unknown scheme"), ("empty", "no scheme"), ("absent", "cannot be read")] {
                let found = problems(["PARLEY_REDIS_URL_FILE": path(file)])
                #expect(found.count == 1)
                #expect(found.first?.hasPrefix("PARLEY_REDIS_URL_FILE: ") == true)
                #expect(found.first?.contains(reason) == true)
                #expect(found.first?.contains("hunter2") == false)
            }
            // A nearer source wins, whichever of the two names it uses.
            let options = try SettingSource.options(["--redis-url", "redis://near"], for: [.worker])
            let near = try Settings(
                for: [.worker],
                options: options,
                environment: ["PARLEY_REDIS_URL_FILE": path("url")]
            )
            #expect(near.redisURL == "redis://near")
        }
    }

    @Test func `a setting that is needed is asked for`() {
        let found = problems(for: [.gateway], [:])
        #expect(found.count == 1)
        #expect(found.first?.hasPrefix("PARLEY_TOKEN_KEY_FILE is not set: A file with 32 random bytes") == true)
        #expect(problems(for: [.worker], [:]).isEmpty)
    }

    @Test(arguments: [
        ("--cpacity 5", "--cpacity is no option of this command; do you mean --capacity?"),
        ("--partition day", "--partition is no option of this command"),
        ("--capacity", "--capacity has no value"), ("nonsense", "nonsense is no option of this command"),
        ("--redis-url-fil=x", "--redis-url-fil is no option of this command; do you mean --redis-url-file?"),
    ])
    func `what is no option of a gateway is named`(_ arguments: String, _ expected: String) {
        do {
            _ = try SettingSource.options(arguments.split(separator: " ").map(String.init), for: [.gateway])
            Issue.record("taken")
        } catch {
            #expect(error.lines == [expected])
        }
    }

    @Test func `an option given twice is refused`() throws {
        let options = try SettingSource.options(["--queue-cap", "100", "--queue-cap", "200"], for: [.worker])
        #expect(problems(options: options, [:]) == ["--queue-cap and --queue-cap say the same: give one of them"])
    }
}
