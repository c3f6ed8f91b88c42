public import Logging

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Writes what is logged, with the request that it belongs to. Bodies, tokens and passwords are never given to it.
public struct ServerLogHandler: LogHandler {
    public var logLevel = Logger.Level.info
    public var metadata: Logger.Metadata = [:]
    public var metadataProvider: Logger.MetadataProvider?
    private let format: LogFormat
    private let sink: LogSink

    init(format: LogFormat, sink: LogSink) {
        self.format = format
        self.sink = sink
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        var all = metadata.merging(metadataProvider?.get() ?? [:]) { $1 }.merging(event.metadata ?? [:]) { $1 }
        // Hummingbird's own number of the request, which nobody outside knows.
        all["hb.request.id"] = nil
        if let request = RequestID.current { all["request"] = "\(request)" }
        let line = LogLine(
            time: Date(),
            level: event.level,
            message: event.message.description,
            module: event.source,
            metadata: all
        )
        sink.write(line.text(format))
    }
}

extension Logger {
    /// The log of a process, to standard error.
    ///
    /// - Parameter process: its name, in each line.
    public static func server(_ process: String, level: Logger.Level, format: LogFormat) -> Logger {
        var logger = Logger(label: "parley") { _ in ServerLogHandler(format: format, sink: .standardError) }
        logger.logLevel = level
        logger[metadataKey: "process"] = "\(process)"
        return logger
    }
}
