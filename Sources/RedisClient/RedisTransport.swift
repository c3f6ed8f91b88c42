import NIOCore
import NIOPosix
import NIOSSL

/// Opens channels to a Redis server on a given event loop, with TLS if asked for.
struct RedisTransport: Sendable {
    let configuration: RedisConfiguration
    private let tls: NIOSSLContext?

    init(configuration: RedisConfiguration) throws(RedisError) {
        self.configuration = configuration
        do {
            var settings = TLSConfiguration.makeClientConfiguration()
            if let file = configuration.caFile { settings.trustRoots = .file(file) }
            tls = configuration.usesTLS ? try NIOSSLContext(configuration: settings) : nil
        } catch {
            throw RedisError(.configuration, outcome: .failed, "TLS: \(error)")
        }
    }

    /// - Parameter makeHandler: runs on `eventLoop`.
    func connect(
        on eventLoop: any EventLoop,
        makeHandler: @escaping @Sendable () -> RedisChannelHandler
    ) -> EventLoopFuture<any Channel> {
        let host = configuration.host
        let tls = self.tls
        return ClientBootstrap(group: eventLoop)
            .connectTimeout(configuration.connectTimeout)
            .channelOption(ChannelOptions.socketOption(.so_keepalive), value: 1)
            .channelOption(ChannelOptions.socketOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls {
                        // Server names are for host names; an address cannot stand in the SNI extension.
                        let isAddress = (try? SocketAddress(ipAddress: host, port: 0)) != nil
                        let handler = try NIOSSLClientHandler(context: tls, serverHostname: isAddress ? nil : host)
                        try channel.pipeline.syncOperations.addHandler(handler)
                    }
                    try channel.pipeline.syncOperations.addHandler(makeHandler())
                }
            }
            .connect(host: host, port: configuration.port)
    }

    /// The commands that open every connection.
    var greeting: [RedisCommand] {
        var commands: [RedisCommand] = []
        if let password = configuration.password {
            commands.append(RedisCommand(["AUTH"] + (configuration.user.map { [$0] } ?? []) + [password]))
        }
        if configuration.database != 0 { commands.append(RedisCommand("SELECT", "\(configuration.database)")) }
        commands.append(RedisCommand("CLIENT", "SETNAME", configuration.clientName))
        return commands
    }
}
