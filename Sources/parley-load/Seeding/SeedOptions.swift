import ArgumentParser

/// For scenarios whose users need not sign up.
struct SeedOptions: ParsableArguments {
    @Flag(help: "Write the users into the database instead of signing them up, which takes a password's hash each.")
    var seedUsers = false

    @Option(help: "PostgreSQL's URL for --seed-users, unless --stack names one.")
    var database: String?

    /// Nil without --seed-users.
    func seeder(stack: StackDescription?) throws(LoadError) -> Seeder? {
        guard seedUsers else { return nil }
        guard let database = database ?? stack?.postgres.url else {
            throw LoadError("--seed-users needs --database or --stack")
        }
        return Seeder(database: database)
    }
}
