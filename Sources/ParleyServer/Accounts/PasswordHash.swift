/// A stored password: a PHC string `$scrypt$ln=17,r=8,p=1$<salt>$<hash>`, salt and hash in unpadded base64.
struct PasswordHash: Sendable, Equatable, LosslessStringConvertible {
    static let saltLength = 16
    static let hashLength = 32

    let cost: ScryptCost
    let salt: [UInt8]
    let hash: [UInt8]

    /// Hashes anew. Blocks the calling thread; nil where memory is short.
    init?(
        password: [UInt8],
        cost: ScryptCost,
        salt: [UInt8] = (0..<saltLength).map { _ in UInt8.random(in: 0...255) }
    ) {
        guard let hash = Scrypt.derive(password: password, salt: salt, cost: cost, count: Self.hashLength) else {
            return nil
        }
        self.cost = cost
        self.salt = salt
        self.hash = hash
    }

    /// Reads a PHC string; nil for another algorithm, other parameters or an unreasonable cost.
    init?(_ description: String) {
        let parts = description.split(separator: "$", omittingEmptySubsequences: false)
        guard parts.count == 5, parts[0].isEmpty, parts[1] == "scrypt" else { return nil }
        let parameters = parts[2].split(separator: ",", omittingEmptySubsequences: false)
        guard parameters.count == 3,
            let logN = Self.parameter("ln=", parameters[0]),
            let blockSize = Self.parameter("r=", parameters[1]),
            let parallelism = Self.parameter("p=", parameters[2]),
            let salt = Base64.standard.decode(parts[3]),
            let hash = Base64.standard.decode(parts[4]),
            salt.count >= 8, hash.count >= 16
        else { return nil }
        let cost = ScryptCost(logN: logN, blockSize: blockSize, parallelism: parallelism)
        guard cost.isReasonable else { return nil }
        self.cost = cost
        self.salt = salt
        self.hash = hash
    }

    var description: String {
        let parameters = "ln=\(cost.logN),r=\(cost.blockSize),p=\(cost.parallelism)"
        return "$scrypt$\(parameters)$\(Base64.standard.encode(salt))$\(Base64.standard.encode(hash))"
    }

    /// Compares in a time that does not depend on where the bytes differ. Blocks the calling thread; nil where memory
    /// is short.
    func matches(password: [UInt8]) -> Bool? {
        guard let derived = Scrypt.derive(password: password, salt: salt, cost: cost, count: hash.count) else {
            return nil
        }
        return zip(derived, hash).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }

    private static func parameter(_ name: String, _ text: Substring) -> Int? {
        text.hasPrefix(name) ? Int(text.dropFirst(name.count)) : nil
    }
}
