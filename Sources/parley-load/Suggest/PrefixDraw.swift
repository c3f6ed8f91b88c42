import Foundation
import NIOCore

/// Requests for the prefixes that people type: of a list of queries each comes as often as its count says, and each of
/// its prefixes as often as the others.
struct PrefixDraw {
    private let queries: [[UInt8]]
    /// Counts, added up.
    private let sums: [Double]
    private var random: SplitMix

    /// - Parameter file: lines of query and count with a tab between; what else they hold counts for nothing.
    /// - Throws: `LoadError` for a file that holds no such line.
    init(file: String, seed: UInt64) throws {
        let data: Data
        do {
            data = try Data(contentsOf: URL(fileURLWithPath: file))
        } catch {
            throw LoadError("\(file) cannot be read: \(error.localizedDescription)")
        }
        var (queries, sums, sum): ([[UInt8]], [Double], Double) = ([], [], 0)
        for line in data.split(separator: 0x0A) {
            let fields = line.split(separator: 0x09, omittingEmptySubsequences: false)
            guard fields.count >= 2, !fields[0].isEmpty,
                let count = Double(String(decoding: fields[1], as: UTF8.self)), count > 0
            else { continue }
            sum += count
            queries.append(Array(fields[0]))
            sums.append(sum)
        }
        guard !queries.isEmpty else { throw LoadError("\(file) has no line of a query and a count") }
        self.queries = queries
        self.sums = sums
        random = SplitMix(state: seed)
    }

    /// A prefix of whole characters.
    mutating func prefix() -> ArraySlice<UInt8> {
        let point = Double.random(in: 0..<(sums.last ?? 0), using: &random)
        var (low, high) = (0, sums.count - 1)
        while low < high {
            let middle = (low + high) / 2
            if sums[middle] <= point { low = middle + 1 } else { high = middle }
        }
        let query = queries[low]
        let ends = (1...query.count).filter { $0 == query.count || query[$0] & 0xC0 != 0x80 }
        return query[..<(ends.randomElement(using: &random) ?? query.count)]
    }

    /// A whole request.
    mutating func request(host: String, locale: String) -> ByteBuffer {
        var buffer = ByteBuffer(string: "GET /v1/suggest?locale=\(locale)&q=")
        for byte in prefix() {
            switch byte {
            case 0x20: buffer.writeStaticString("+")
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: buffer.writeInteger(byte)
            default: buffer.writeString("%" + (byte < 16 ? "0" : "") + String(byte, radix: 16))
            }
        }
        buffer.writeString(" HTTP/1.1\r\nHost: \(host)\r\n\r\n")
        return buffer
    }
}

/// Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014: a seed repeats a run.
private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
