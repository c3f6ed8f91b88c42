import Testing

@testable import ParleyServer

@Suite struct AccountsRefreshTests {
    @Test func textsRoundTripAndDiffer() {
        let token = RefreshToken.first()
        #expect(RefreshToken(token.text) == token)
        #expect(token.text.utf8.count == 64)
        let next = token.next()
        #expect(next.family == token.family)
        #expect(next.secret != token.secret)
        #expect(next.familyHash == token.familyHash)
        #expect(next.hash != token.hash)
        #expect(RefreshToken.first().family != token.family)
    }

    @Test(arguments: ["", "abc", String(repeating: "=", count: 64), String(repeating: "A", count: 65)])
    func refusesWhatIsNoToken(_ text: String) {
        #expect(RefreshToken(text) == nil)
    }

    @Test func onlyThePredecessorOpensTheSeal() {
        let token = RefreshToken.first()
        let next = token.next()
        let sealed = token.seal(next)
        #expect(sealed != next.secret)
        #expect(token.open(sealed) == next)
        #expect(token.next().open(sealed) != next)
    }

    /// A family of which `first` was rotated to `second`, `age` ms ago.
    struct Rotated {
        let first = RefreshToken.first()
        let second: RefreshToken
        var family: RefreshFamily

        init(age: Int64) {
            second = first.next()
            family = RefreshFamily(
                currentHash: second.hash,
                previousHash: first.hash,
                sealedSuccessor: first.seal(second),
                age: age
            )
        }
    }

    @Test func theCurrentTokenRotatesUntilItIsUnusedTooLong() {
        let token = RefreshToken.first()
        var family = RefreshFamily(currentHash: token.hash, age: 0)
        #expect(family.decide(presented: token) == .rotate)
        family.age = RefreshFamily.lifetime - 1
        #expect(family.decide(presented: token) == .rotate)
        family.age = RefreshFamily.lifetime
        #expect(family.decide(presented: token) == .expire)
    }

    @Test func aRepeatWithinTheGraceGetsTheSameSuccessor() {
        let rotated = Rotated(age: RefreshFamily.grace)
        #expect(rotated.family.decide(presented: rotated.first) == .answerAgain(rotated.second))
        #expect(rotated.family.decide(presented: rotated.second) == .rotate)
    }

    @Test func aRepeatAfterTheGraceRevokes() {
        let rotated = Rotated(age: RefreshFamily.grace + 1)
        #expect(rotated.family.decide(presented: rotated.first) == .revoke)
    }

    @Test func aTokenFromBeforeThePreviousRevokesAtOnce() {
        var rotated = Rotated(age: 0)
        let third = rotated.second.next()
        rotated.family.previousHash = rotated.second.hash
        rotated.family.currentHash = third.hash
        rotated.family.sealedSuccessor = rotated.second.seal(third)
        #expect(rotated.family.decide(presented: rotated.first) == .revoke)
        #expect(rotated.family.decide(presented: rotated.second) == .answerAgain(third))
        #expect(rotated.family.decide(presented: rotated.first.next()) == .revoke)
    }

    @Test func aSealThatDoesNotOpenRevokes() {
        var rotated = Rotated(age: 0)
        rotated.family.sealedSuccessor = rotated.first.seal(rotated.first.next())
        #expect(rotated.family.decide(presented: rotated.first) == .revoke)
        rotated.family.sealedSuccessor = nil
        #expect(rotated.family.decide(presented: rotated.first) == .revoke)
    }
}
