#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Where a client comes from, as far as limits tell clients apart: an IPv4 address, or the /64 of an IPv6 address, since
/// one customer has all the rest of it.
public struct ClientAddress: Sendable, Hashable, CustomStringConvertible {
    /// In host order; of IPv4 its ::ffff:0:0/96 form.
    public let high: UInt64
    public let low: UInt64

    private static let v4Prefix: UInt64 = 0xffff_0000_0000

    /// An IPv6 address of 16 bytes, or an IPv4 address of 4. nil for any other count.
    public init?(bytes: some Collection<UInt8>) {
        switch bytes.count {
        case 4: self.init(high: 0, low: bytes.reduce(Self.v4Prefix >> 32) { $0 << 8 | UInt64($1) })
        case 16:
            self.init(
                high: bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) },
                low: bytes.dropFirst(8).reduce(0) { $0 << 8 | UInt64($1) }
            )
        default: return nil
        }
    }

    private init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// As proxies write it: with a port or without, an IPv6 address perhaps in brackets.
    public init?(_ text: some StringProtocol) {
        var text = Substring(text.filter { $0 != " " })
        if text.first == "[", let bracket = text.firstIndex(of: "]") {
            text = text[text.index(after: text.startIndex)..<bracket]
        } else if text.contains("."), let colon = text.lastIndex(of: ":"), !text.contains("::") {
            text = text[..<colon]
        }
        var v4 = in_addr()
        var v6 = in6_addr()
        if inet_pton(AF_INET, String(text), &v4) == 1 {
            self.init(bytes: withUnsafeBytes(of: &v4) { Array($0) })
        } else if inet_pton(AF_INET6, String(text), &v6) == 1 {
            self.init(bytes: withUnsafeBytes(of: &v6) { Array($0) })
        } else {
            return nil
        }
    }

    public var isIPv4: Bool { high == 0 && low >> 32 == Self.v4Prefix >> 32 }

    /// Whom limits take for one client.
    public var network: ClientAddress { isIPv4 ? self : ClientAddress(high: high, low: 0) }

    public var description: String {
        if isIPv4 { return (0..<4).reversed().map { String(low >> ($0 * 8) & 0xff) }.joined(separator: ".") }
        let groups = [high, low].flatMap { half in (0..<4).reversed().map { half >> ($0 * 16) & 0xffff } }
        let known = low == 0 ? groups[..<4] : groups[...]
        return known.map { String($0, radix: 16) }.joined(separator: ":") + (low == 0 ? "::" : "")
    }
}

/// Addresses with a common prefix: `10.0.0.0/8`, `fd00::/8`, or one address.
public struct AddressRange: Sendable, Hashable, CustomStringConvertible {
    public let description: String
    private let first: ClientAddress
    /// Of 128 bits.
    private let length: Int

    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = ClientAddress(parts[0]) else { return nil }
        let offset = address.isIPv4 ? 96 : 0
        guard let length = parts.count == 2 ? Int(parts[1]) : 128 - offset, (0...128 - offset).contains(length)
        else { return nil }
        description = String(text)
        first = address
        self.length = offset + length
    }

    public func contains(_ address: ClientAddress) -> Bool {
        let low = max(0, length - 64)
        return Self.agree(first.high, address.high, min(64, length)) && Self.agree(first.low, address.low, low)
    }

    private static func agree(_ one: UInt64, _ other: UInt64, _ bits: Int) -> Bool {
        bits == 0 || (one ^ other) >> UInt64(64 - bits) == 0
    }
}

/// Who is believed about where a request comes from.
public struct TrustedProxies: Sendable, Hashable, CustomStringConvertible {
    private let ranges: [AddressRange]

    public init(_ ranges: [AddressRange] = []) { self.ranges = ranges }

    public var isEmpty: Bool { ranges.isEmpty }
    public var description: String { ranges.map(\.description).joined(separator: ",") }

    public func contains(_ address: ClientAddress) -> Bool { ranges.contains { $0.contains(address) } }

    /// - Parameters:
    ///   - peer: the other end of the connection.
    ///   - forwarded: the values of `X-Forwarded-For`, to which each proxy appends whom it heard from.
    /// - Returns: the last one that no trusted proxy is: whatever stands before it may be invented.
    public func client(of peer: ClientAddress, forwarded: [String]) -> ClientAddress {
        var client = peer
        for hop in forwarded.flatMap({ $0.split(separator: ",") }).reversed() {
            guard contains(client), let next = ClientAddress(hop) else { break }
            client = next
        }
        return client
    }
}
