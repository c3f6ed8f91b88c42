import ParleyWire
import Testing

@testable import ParleyServer

@Suite struct AccountsPasswordTests {
    /// RFC 7914, section 12, without the vector that needs a gigabyte.
    @Test(arguments: [
        (
            "", "", 4, 1, 1,
            "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"
                + "fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906"
        ),
        (
            "password", "NaCl", 10, 8, 16,
            "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
                + "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
        ),
        (
            "pleaseletmein", "SodiumChloride", 14, 8, 1,
            "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
                + "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
        ),
    ])
    func scryptVectors(
        _ password: String,
        _ salt: String,
        _ logN: Int,
        _ blockSize: Int,
        _ parallelism: Int,
        _ expected: String
    ) throws {
        let cost = ScryptCost(logN: logN, blockSize: blockSize, parallelism: parallelism)
        let key = try #require(
            Scrypt.derive(password: Array(password.utf8), salt: Array(salt.utf8), cost: cost, count: 64)
        )
        let hexadecimal = key.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        #expect(hexadecimal == expected)
    }

    @Test func fullCostFitsTheMemoryBound() {
        #expect(Scrypt.derive(password: [1], salt: [2], cost: .full, count: 32)?.count == 32)
    }

    /// Made by Python's hashlib.
    let known = "$scrypt$ln=10,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$W/Rtq72Htgcz3Syd3hrCAGsXSEqmMzUBgphIKWl53WE"

    @Test func readsAndWritesPHCStrings() throws {
        let hash = try #require(PasswordHash(known))
        #expect(hash.cost == .cheap)
        #expect(hash.salt == Array(0..<16))
        #expect(hash.description == known)
        #expect(hash.matches(password: Array("pässword".utf8)) == true)
        #expect(hash.matches(password: Array("password".utf8)) == false)
        let again = PasswordHash(password: Array("pässword".utf8), cost: .cheap, salt: Array(0..<16))
        #expect(again?.description == known)
    }

    @Test func saltsDiffer() {
        let first = PasswordHash(password: [1, 2, 3], cost: .cheap)
        let second = PasswordHash(password: [1, 2, 3], cost: .cheap)
        #expect(first?.salt.count == 16)
        #expect(first?.salt != second?.salt)
        #expect(first?.hash != second?.hash)
    }

    @Test(arguments: [
        "", "password", "$scrypt$", "$argon2id$v=19$m=65536$AAECAwQFBgcICQ$AAECAwQFBgcICQ",
        "$scrypt$ln=10,r=8$AAECAwQFBgcICQoLDA0ODw$W/Rtq72Htgcz3Syd3hrCAGsXSEqmMzUBgphIKWl53WE",
        "$scrypt$r=8,ln=10,p=1$AAECAwQFBgcICQoLDA0ODw$W/Rtq72Htgcz3Syd3hrCAGsXSEqmMzUBgphIKWl53WE",
        "$scrypt$ln=40,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$W/Rtq72Htgcz3Syd3hrCAGsXSEqmMzUBgphIKWl53WE",
        "$scrypt$ln=-1,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$W/Rtq72Htgcz3Syd3hrCAGsXSEqmMzUBgphIKWl53WE",
        "$scrypt$ln=10,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$",
        "$scrypt$ln=10,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$W/Rtq72Htgcz3Syd3hrCAGsXSEqmMzUBgphIKWl53WE$",
        "$scrypt$ln=10,r=8,p=1$AAECAwQFBgcICQoLDA0OD*$W/Rtq72Htgcz3Syd3hrCAGsXSEqmMzUBgphIKWl53WE",
    ])
    func refusesOtherStrings(_ text: String) {
        #expect(PasswordHash(text) == nil)
    }

    @Test func verifiesAndAsksForRehashWhenTheCostChanged() async throws {
        let hasher = PasswordHasher(configuration: .init(cost: ScryptCost(logN: 11, blockSize: 8, parallelism: 1)))
        let stored = try await hasher.hash("correct horse")
        #expect(stored.hasPrefix("$scrypt$ln=11,r=8,p=1$"))
        let right = try await hasher.verify("correct horse", against: stored)
        #expect(right == .init(matches: true, needsRehash: false))
        let wrong = try await hasher.verify("correct house", against: stored)
        #expect(wrong == .init(matches: false, needsRehash: false))
        let cheaper = try await hasher.verify("pässword", against: known)
        #expect(cheaper == .init(matches: true, needsRehash: true))
        let unknown = try await hasher.verify("pässword", against: nil)
        #expect(unknown == .init(matches: false, needsRehash: false))
        let damaged = try await hasher.verify("pässword", against: "damaged")
        #expect(damaged == .init(matches: false, needsRehash: false))
        try await hasher.shutdown()
    }

    /// An unknown user costs a hash too, or the time of the answer would tell. The best of five by turns, since a busy
    /// machine only ever makes things slower, and may do so for a while.
    @Test func unknownUsersTakeAsLong() async throws {
        let hasher = PasswordHasher(configuration: .init(cost: ScryptCost(logN: 15, blockSize: 8, parallelism: 1)))
        let stored = try await hasher.hash("correct horse")
        var (known, unknown) = (Duration.seconds(60), Duration.seconds(60))
        func time(against stored: String?) async throws -> Duration {
            let start = ContinuousClock.now
            _ = try await hasher.verify("correct horse", against: stored)
            return ContinuousClock.now - start
        }
        for _ in 0..<5 {
            known = min(known, try await time(against: stored))
            unknown = min(unknown, try await time(against: nil))
        }
        #expect(unknown > known / 4)
        try await hasher.shutdown()
    }

    @Test func refusesWhatDoesNotFitTheQueueAndRecovers() async throws {
        let hasher = PasswordHasher(configuration: .init(cost: .full, threads: 1, waiting: 0))
        let outcomes = await withTaskGroup(of: ErrorCode?.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    do {
                        _ = try await hasher.hash("correct horse")
                        return nil
                    } catch {
                        return (error as? HTTPProblem)?.code
                    }
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(outcomes.contains(nil))
        #expect(outcomes.contains(.overloaded))
        #expect(outcomes.allSatisfy { $0 == nil || $0 == .overloaded })
        let again = try await hasher.hash("correct horse")
        #expect(again.hasPrefix("$scrypt$ln=17,r=8,p=1$"))
        try await hasher.shutdown()
    }
}
