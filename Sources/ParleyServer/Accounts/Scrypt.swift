import CScrypt

/// The work factors of scrypt (RFC 7914): N = 2^logN, block size r, parallelization p.
public struct ScryptCost: Sendable, Hashable {
    public var logN: Int
    public var blockSize: Int
    public var parallelism: Int

    /// What a real installation uses: 128 MiB and a few tenths of a second a hash.
    public static let full = ScryptCost(logN: 17, blockSize: 8, parallelism: 1)
    /// For trying and testing only: 1 MiB and a few milliseconds.
    public static let cheap = ScryptCost(logN: 10, blockSize: 8, parallelism: 1)

    public init(logN: Int, blockSize: Int, parallelism: Int) {
        self.logN = logN
        self.blockSize = blockSize
        self.parallelism = parallelism
    }

    /// Bounds a cost read from a stored string, so that a damaged row cannot ask for gigabytes.
    var isReasonable: Bool {
        (1...20).contains(logN) && (1...32).contains(blockSize) && (1...16).contains(parallelism)
    }

    /// Bytes that OpenSSL needs: p blocks, N blocks and the scratch block, with slack. Its own default bound is
    /// 32 MiB, which refuses N = 2^17.
    var memoryBound: UInt64 {
        128 * UInt64(blockSize) * (UInt64(1) << UInt64(logN) + UInt64(parallelism) + 2) + 65_536
    }
}

enum Scrypt {
    /// Derives `count` bytes. Blocks the calling thread for the whole computation.
    ///
    /// - Returns: nil where OpenSSL cannot, which with a reasonable cost means that memory is short.
    static func derive(password: [UInt8], salt: [UInt8], cost: ScryptCost, count: Int) -> [UInt8]? {
        var key = [UInt8](repeating: 0, count: count)
        let done = EVP_PBE_scrypt(
            password.map { CChar(bitPattern: $0) },
            password.count,
            salt,
            salt.count,
            UInt64(1) << UInt64(cost.logN),
            UInt64(cost.blockSize),
            UInt64(cost.parallelism),
            cost.memoryBound,
            &key,
            count
        )
        guard done == 1 else {
            ERR_clear_error()
            return nil
        }
        return key
    }
}
