import ParleyCore
import Testing

@Suite struct ClientAddressTests {
    @Test(arguments: [
        ("192.0.2.1", "192.0.2.1"), ("192.0.2.1:443", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"), ("[2001:db8:1:2::9]:443", "2001:db8:1:2::"),
        ("2001:db8:1:2::1", "2001:db8:1:2::"), (" 10.0.0.1 ", "10.0.0.1"), ("::1", "0:0:0:0::"),
    ])
    func `an IPv4 address stands for itself, an IPv6 address for its network`(text: String, network: String) {
        #expect(ClientAddress(text)?.network.description == network)
    }

    @Test(arguments: ["", "localhost", "1.2.3", "1.2.3.4.5", "unknown", "_hidden", "2001:db8::g", "[", "1.2.3.4, x"])
    func `what is no address is none`(text: String) { #expect(ClientAddress(text) == nil) }

    @Test func `ranges contain what begins like them`() throws {
        let range = try #require(AddressRange("10.1.0.0/16"))
        #expect(try range.contains(#require(ClientAddress("10.1.255.7"))))
        #expect(try !range.contains(#require(ClientAddress("10.2.0.1"))))
        #expect(try !range.contains(#require(ClientAddress("2001:db8::1"))))
        let wide = try #require(AddressRange("fd00::/8"))
        #expect(try wide.contains(#require(ClientAddress("fdab:cd::1"))))
        #expect(try !wide.contains(#require(ClientAddress("2001:db8::1"))))
        let one = try #require(AddressRange("2001:db8::5"))
        #expect(try one.contains(#require(ClientAddress("2001:db8::5"))))
        #expect(try !one.contains(#require(ClientAddress("2001:db8::6"))))
        for text in ["10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "x/8", "fd00::/129", ""] {
            #expect(AddressRange(text) == nil, "\(text)")
        }
    }

    @Test(arguments: [
        // Nobody is believed who is not trusted.
        ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        // What a client invents stands on the left.
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.7"], "10.0.0.7"),
        ("10.0.0.1", [], "10.0.0.1"),
    ])
    func `only trusted proxies say where a request is from`(peer: String, forwarded: [String], client: String) throws {
        let proxies = TrustedProxies([try #require(AddressRange("10.0.0.0/8"))])
        let address = try proxies.client(of: #require(ClientAddress(peer)), forwarded: forwarded)
        #expect(address.description == client)
    }
}

@Suite struct AddressCountsTests {
    private let one = ClientAddress("192.0.2.1")!
    private let other = ClientAddress("192.0.2.2")!

    private func counts(_ connections: Int, _ strangers: Int, all: Int = 1000) -> AddressCounts {
        var limits = AddressCounts.Limits()
        (limits.connections, limits.strangers, limits.allStrangers) = (connections, strangers, all)
        return AddressCounts(limits: limits)
    }

    @Test func `an address has so many strangers, and so many connections`() {
        var counts = counts(3, 2)
        var opened = [one, one, one, other].map { counts.opened($0) }
        #expect(opened == [true, true, false, true], "a third stranger; another address is not harmed")
        counts.becameKnown(one)
        counts.becameKnown(one)
        opened = [one, one].map { counts.opened($0) }
        #expect(opened == [true, false], "a fourth connection")
        counts.closed(one, wasStranger: false)
        opened = [one, one].map { counts.opened($0) }
        #expect(opened == [true, false])
    }

    @Test func `strangers of all addresses are bounded together`() {
        var counts = counts(10, 10, all: 2)
        var opened = [one, other, other].map { counts.opened($0) }
        #expect(opened == [true, true, false])
        counts.closed(one, wasStranger: true)
        opened = [other, one].map { counts.opened($0) }
        #expect(opened == [true, false])
    }

    @Test func `nothing stays of addresses without a connection`() throws {
        var counts = counts(10, 10)
        for number in 0...255 as ClosedRange<UInt8> {
            let address = try #require(ClientAddress(bytes: [198, 51, 100, number]))
            guard counts.opened(address) else {
                Issue.record("\(address) is refused")
                return
            }
            if number.isMultiple(of: 2) { counts.becameKnown(address) }
            counts.closed(address, wasStranger: !number.isMultiple(of: 2))
        }
        #expect(counts.count == 0)
        let opened = (0..<11).map { _ in counts.opened(one) }
        #expect(opened == Array(repeating: true, count: 10) + [false], "none of them is still counted")
    }
}

@Suite struct HandshakeGateTests {
    private let limit = RateLimit(100, perSeconds: 1, burst: 50)

    @Test func `a crowd that comes back when it is told to is let in, at the rate and without a second crowd`() {
        var generator = SplitMix64(state: 3)
        var gate = HandshakeGate(limit: limit)
        // Two thousand come at once; each comes again when it was told to.
        var arrivals = [Int64](repeating: 0, count: 2000)
        var (tries, last, entered) = (0, 0 as Int64, 0)
        while let now = arrivals.min() {
            arrivals.remove(at: arrivals.firstIndex(of: now)!)
            tries += 1
            if let wait = gate.enter(at: now, using: &generator) {
                #expect(wait > 0)
                arrivals.append(now + wait)
            } else {
                entered += 1
                last = now
                #expect(entered <= 51 + Int(now / 10_000))
            }
        }
        #expect(entered == 2000)
        #expect(last < 90_000_000, "let in within a few times of what the rate takes: \(last)")
        #expect(tries < 20_000, "and without hammering: \(tries)")
    }

    @Test func `sessions that begin anew use more of the rate than those that resume`() {
        func admitted(fresh: Bool) -> Int {
            var generator = SplitMix64(state: 5)
            var gate = HandshakeGate(limit: limit)
            // A thousand a second ask, for ten seconds.
            return (0..<10_000).count { step in
                let now = Int64(step) * 1000
                guard gate.enter(at: now, using: &generator) == nil else { return false }
                if fresh { gate.beganFresh(at: now) }
                return true
            }
        }
        #expect((1000...1051).contains(admitted(fresh: false)))
        #expect((250...300).contains(admitted(fresh: true)))
    }

    @Test func `nobody waits longer than a minute, however many fresh sessions went ahead`() {
        var generator = SplitMix64(state: 9)
        var gate = HandshakeGate(limit: limit)
        for _ in 0..<100_000 { gate.beganFresh(at: 0) }
        for _ in 0..<100_000 {
            guard let wait = gate.enter(at: 0, using: &generator) else { continue }
            #expect(wait < 60_000_000)
        }
    }
}
