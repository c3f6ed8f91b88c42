import ArgumentParser
import Dispatch
import Foundation
import ParleyServer
import Synchronization

struct Top: AsyncParsableCommand {
    static let configuration = CommandConfiguration.reading(
        [.top],
        "Show the whole deployment, anew each second; into a pipe as plain text. Needs Redis alone."
    )

    @OptionGroup var options: SettingOptions

    @Flag(help: "Write one frame and end.")
    var once = false

    func run() async throws {
        try await explaining {
            let view = try await TopView(settings: options.read(for: [.top]))
            if once {
                _ = Output.write(try await view.lines().joined(separator: "\n") + "\n")
            } else if let terminal = Terminal() {
                await show(view, on: terminal)
            } else {
                await pipe(view)
            }
            await view.close()
        }
    }

    /// A frame; what keeps it from being seen is one too.
    private func frame(_ view: TopView) async -> [String] {
        do { return try await view.lines() } catch { return ["! \(error)"] }
    }

    private func show(_ view: TopView, on terminal: Terminal) async {
        let end = EndSignal()
        terminal.begin()
        defer { terminal.end() }
        var lines: [String] = []
        var due = ContinuousClock.now
        var painted: Screen?
        while !end.hasCome, !terminal.keys().contains("q") {
            if due <= .now {
                let head = "parley top  \(view.endpoint)  \(Date.now.formatted(.iso8601))  q quits"
                due = .now + .seconds(1)
                lines = [head, ""] + (await frame(view))
            }
            let screen = Screen(lines: lines, size: terminal.size)
            if screen != painted { terminal.paint(screen) }
            painted = screen
            try? await Task.sleep(for: .milliseconds(50))
        }
    }

    private func pipe(_ view: TopView) async {
        signal(SIGPIPE, SIG_IGN)
        var next = ContinuousClock.now
        while Output.write(await frame(view).joined(separator: "\n") + "\n\n") {
            next += .seconds(1)
            try? await Task.sleep(until: max(next, .now))
        }
    }
}

/// SIGINT, SIGTERM and SIGHUP end the program by themselves no more: the terminal must be put right before.
private final class EndSignal: Sendable {
    private let came = Atomic(false)

    var hasCome: Bool { came.load(ordering: .relaxed) }

    init() {
        for number in [SIGINT, SIGTERM, SIGHUP] {
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { [self] in
                _ = source  // The source lives as long as its handler.
                came.store(true, ordering: .relaxed)
            }
            source.resume()
        }
    }
}
