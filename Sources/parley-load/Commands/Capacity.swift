import ArgumentParser

struct Capacity: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Reckons what a number of daily users takes, from measured costs and stated assumptions.",
        discussion: """
            Shows the arithmetic line by line; processes and cores are rounded up. It scales linearly what one machine \
            was measured to need, and says at the end what that leaves out.
            """
    )

    @OptionGroup var assumptions: CapacityAssumptions

    @Option(help: "What chat --stack --json wrote, for a message's processor time. Without: as measured on two cores.")
    var bench: String?

    @Option(help: "What connect --stack --json wrote, for a session's memory. Without: as measured with 10,000.")
    var connect: String?

    @Flag(help: "Print a table in Markdown.")
    var markdown = false

    func run() async throws {
        try await reporting { _ in
            let costs = try MeasuredCosts(chat: bench, connect: connect)
            let model = CapacityModel(assumptions, costs)
            markdown ? printMarkdown(model) : printText(model, costs)
            return .success
        }
    }

    private func printText(_ model: CapacityModel, _ costs: MeasuredCosts) {
        let message = costs.message
        say("Measured")
        printTable([
            ("a message takes of gateways", Working(message.gateways, "µs").text),
            ("of workers", Working(message.workers, "µs").text),
            ("of Redis", Working(message.redis, "µs").text),
            ("of PostgreSQL", Working(message.postgres, "µs").text),
            ("an idle session takes of a gateway", Working(costs.sessionKiB, "KiB").text),
        ])
        for section in model.sections {
            say("\n\(section.title)")
            printTable(section.lines.map { ($0.what, "\($0.working.text) = \($0.result.text)") })
        }
        say("\nWhat this leaves out")
        for sentence in CapacityModel.leftOut { say("  \(sentence)") }
    }

    private func printMarkdown(_ model: CapacityModel) {
        say("| what | | how |\n| --- | --- | --- |")
        for section in model.sections {
            say("| **\(section.title)** | | |")
            for line in section.lines { say("| \(line.what) | \(line.result.text) | \(line.working.text) |") }
        }
        say("")
        for sentence in CapacityModel.leftOut { say("* \(sentence)") }
    }
}
