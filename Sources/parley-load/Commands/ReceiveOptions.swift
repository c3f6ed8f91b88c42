import ArgumentParser

/// By what those who only listen get their messages.
struct ReceiveOptions: ParsableArguments {
    enum Transport: String, ExpressibleByArgument, CaseIterable {
        case websocket
        case longPoll = "long-poll"
        case poll
    }

    @Option(
        help: ArgumentHelp(
            "How those who only listen get their messages: \(Transport.allValueStrings.joined(separator: ", ")).",
            discussion: """
                Idle sessions only listen. In conversations the first member then writes, by a socket, and the others \
                listen.
                """,
            valueName: "transport"
        )
    )
    var receive: Transport?

    @Option(help: "With --receive poll: the time between two polls of a device.")
    var pollEvery = "1s"

    func validate() throws {
        guard milliseconds(of: pollEvery) != nil else {
            throw ValidationError("--poll-every is a time such as 500ms or 5s")
        }
    }

    var plan: Receive? {
        switch receive {
        case nil: nil
        case .websocket: .webSocket
        case .longPoll: .longPoll
        case .poll: milliseconds(of: pollEvery).map { .poll(every: $0 / 1000) }
        }
    }
}
