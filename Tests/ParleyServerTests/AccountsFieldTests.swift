import Testing

@testable import ParleyServer

@Suite struct AccountsFieldTests {
    @Test func usernamesAreFolded() {
        #expect(Username("Ada.Love-lace_1")?.text == "ada.love-lace_1")
        #expect(Username("abc") != nil)
        #expect(Username(String(repeating: "a", count: 32)) != nil)
    }

    @Test(arguments: [
        "", "ab", String(repeating: "a", count: 33), "a b", "äbc", "a/b", "abc\0", "abc\n", "İabc", "a@b",
        "\u{212A}elvin",
    ])
    func otherUsernamesAreRefused(_ text: String) {
        #expect(Username(text) == nil)
    }

    @Test(arguments: [
        ("Ada", "Ada"), ("  Ada Lovelace\n", "Ada Lovelace"), ("👩‍👩‍👧‍👦", "👩‍👩‍👧‍👦"),
        (String(repeating: "é", count: 64), String(repeating: "é", count: 64)),
    ])
    func displayNamesAreTrimmed(_ given: String, _ expected: String) {
        #expect(DisplayName(given)?.text == expected)
    }

    @Test(arguments: [
        "", "   ", "a\u{0}b", "a\nb", "a\u{7F}b", "a\u{85}b", "a\u{2028}b", "a\u{202E}b", "a\u{2066}b",
        String(repeating: "a", count: 65), "a" + String(repeating: "\u{301}", count: 300),
    ])
    func otherDisplayNamesAreRefused(_ text: String) {
        #expect(DisplayName(text) == nil)
    }

    @Test func passwordsCountBytes() {
        #expect(Password("1234567") == nil)
        #expect(Password("12345678") != nil)
        #expect(Password("ääää") != nil)
        #expect(Password(String(repeating: "a", count: 256)) != nil)
        #expect(Password(String(repeating: "a", count: 257)) == nil)
    }

    @Test func timesOfDayRoundTrip() {
        for minutes in 0..<1440 {
            let time = TimeOfDay(minutes: minutes)
            #expect(time.flatMap { TimeOfDay($0.description) } == time)
        }
        #expect(TimeOfDay("22:05")?.minutes == 1325)
        #expect(TimeOfDay(minutes: 1440) == nil)
    }

    @Test(arguments: ["", "24:00", "12:60", "1:00", "01:0", "01-00", "0a:00", "-1:00", "01:000"])
    func otherTimesAreRefused(_ text: String) {
        #expect(TimeOfDay(text) == nil)
    }
}
