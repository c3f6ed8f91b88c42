import Testing

@testable import ParleyServer

@Suite struct OpenFilesTests {
    private func settings(capacity: Int) -> Settings {
        var settings = Settings()
        settings.gateway.capacity = capacity
        return settings
    }

    @Test func `sessions leave room for others who connect, and these for what the gateway needs itself`() throws {
        for limit in [200, 256, 1024, 20_000, 1_000_000] {
            let files = try OpenFiles(limit: limit, for: settings(capacity: 10_000_000))
            #expect(1 <= files.capacity && files.capacity < files.connections && files.connections < limit - 100)
            #expect(files.warning?.contains("PARLEY_CAPACITY is 10000000") == true)
            #expect(files.warning?.contains("`ulimit -n` of \(limit) leaves room for \(files.capacity)") == true)
        }
    }

    @Test(arguments: [1024, .max])
    func `where there are enough the capacity is what was asked for`(_ limit: Int) throws {
        let files = try OpenFiles(limit: limit, for: settings(capacity: 500))
        #expect(files.capacity == 500 && files.warning == nil)
    }

    @Test func `with next to none a gateway does not start`() {
        #expect(throws: Settings.Problem.self) { try OpenFiles(limit: 100, for: settings(capacity: 1)) }
    }
}
