public import NIOCore

/// Where a gateway listens, from its base URL.
public struct GatewayAddress: Hashable, Sendable, CustomStringConvertible {
    public var host: String
    public var port: Int

    /// Parses `http://host[:port]`, a trailing slash allowed; port 80 by default. IPv6 hosts stand in brackets.
    /// - Throws: `invalidURL`, also for `https`, which this client does not speak.
    public init(_ url: String) throws(ClientError) {
        func refused(_ why: String) -> ClientError { ClientError(.invalidURL, "\(url): \(why)") }
        guard url.hasPrefix("http://") else { throw refused("a gateway's URL begins with http://") }
        var rest = url.dropFirst("http://".count)
        if rest.last == "/" { rest = rest.dropLast() }
        guard !rest.isEmpty, !rest.contains(where: { "/?#@ ".contains($0) }) else {
            throw refused("a gateway's URL is http://host[:port]")
        }
        port = 80
        // The colon after an IPv6 host's bracket, or the only one.
        if let colon = rest.lastIndex(of: ":"), rest.last != "]" {
            guard let number = Int(rest[rest.index(after: colon)...]), 1...65_535 ~= number else {
                throw refused("the port is not a number from 1 to 65535")
            }
            port = number
            rest = rest[..<colon]
        }
        if rest.first == "[", rest.last == "]" { rest = rest.dropFirst().dropLast() }
        host = String(rest)
    }

    /// The value of a Host header.
    public var authority: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// The base URL.
    public var description: String { "http://\(authority)" }

    /// Whether only this machine can be meant.
    public var isLoopback: Bool { host.hasPrefix("127.") || host == "localhost" }

    /// The socket address. Look-ups of names block.
    /// - Throws: `connectionFailed` for a name that does not resolve.
    public func resolve() throws(ClientError) -> SocketAddress {
        do {
            // Sockets bound to 127.0.0.x reach IPv4 alone, so localhost means that too.
            return try .makeAddressResolvingHost(host == "localhost" ? "127.0.0.1" : host, port: port)
        } catch {
            throw ClientError(.connectionFailed, "\(host): \(error)")
        }
    }
}
