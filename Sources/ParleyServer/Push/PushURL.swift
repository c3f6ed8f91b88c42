import ParleyCore

/// An `http` or `https` URL as far as a request needs it.
struct PushURL: Sendable, Hashable {
    /// Where connections go to.
    struct Origin: Sendable, Hashable, CustomStringConvertible {
        let isSecure: Bool
        let host: String
        let port: Int

        /// As `aud` of VAPID and in logs: the port only where it is not the scheme's own.
        var description: String { "\(isSecure ? "https" : "http")://\(authority)" }

        var authority: String {
            let name = host.contains(":") ? "[\(host)]" : host
            return port == (isSecure ? 443 : 80) ? name : "\(name):\(port)"
        }
    }

    let origin: Origin
    /// With the query, never empty.
    let path: String

    var isSecure: Bool { origin.isSecure }

    /// nil for another scheme, names and passwords, a fragment, and what no host can be called.
    init?(_ text: String) {
        guard text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }), !text.contains("#"), !text.contains("\\"),
            let colon = text.firstRange(of: "://")
        else { return nil }
        let scheme = text[..<colon.lowerBound].lowercased()
        guard scheme == "https" || scheme == "http" else { return nil }
        let rest = text[colon.upperBound...]
        let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        var authority = rest[..<end]
        var port = scheme == "https" ? 443 : 80
        var host: Substring
        if authority.first == "[", let bracket = authority.firstIndex(of: "]") {
            host = authority[authority.index(after: authority.startIndex)..<bracket]
            guard ClientAddress(host) != nil else { return nil }
            authority = authority[authority.index(after: bracket)...]
        } else {
            host = authority.prefix { $0 != ":" }
            authority = authority[host.endIndex...]
            guard host.utf8.allSatisfy(Self.mayBeInName) else { return nil }
        }
        if authority.first == ":" {
            guard let given = Int(authority.dropFirst()), (1...65535).contains(given) else { return nil }
            port = given
        } else if !authority.isEmpty {
            return nil
        }
        guard (1...253).contains(host.utf8.count) else { return nil }
        origin = Origin(isSecure: scheme == "https", host: host.lowercased(), port: port)
        let tail = rest[end...]
        path = tail.first == "/" ? String(tail) : "/\(tail)"
    }

    private static func mayBeInName(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}

/// Addresses that a URL which a user gave must not lead to: this machine and networks that are not the public internet.
enum PrivateAddresses {
    /// From IANA's registries of special-purpose addresses: what is not globally reachable, and multicast.
    private static let ranges = [
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/3", "::/127", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32",
        "2002::/16",
        "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    ].compactMap { AddressRange($0) }

    static func contains(_ address: ClientAddress) -> Bool { ranges.contains { $0.contains(address) } }
}
