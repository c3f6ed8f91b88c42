// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .treatAllWarnings(as: .error),
]

let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioEmbedded: Target.Dependency = .product(name: "NIOEmbedded", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioHTTP2: Target.Dependency = .product(name: "NIOHTTP2", package: "swift-nio-http2")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let lifecycle: Target.Dependency = .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "parley",
    products: [
        .executable(name: "parley", targets: ["parley"]),
        .executable(name: "parley-load", targets: ["parley-load"]),
        .library(name: "ParleyClient", targets: ["ParleyClient", "ParleyWire"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
        .package(url: "https://github.com/apple/swift-nio-http2", from: "1.46.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
    ],
    targets: [
        // System libraries, installed by Scripts/bootstrap.
        .systemLibrary(name: "CHiredis"),
        .systemLibrary(name: "CLibpq"),
        .systemLibrary(name: "CScrypt"),
        .systemLibrary(name: "CUtf8proc"),

        // What crosses the client wire; decisions without I/O.
        .target(name: "ParleyWire", dependencies: [nioCore], swiftSettings: settings),
        .target(name: "ParleyCore", dependencies: ["CUtf8proc", "ParleyWire"], swiftSettings: settings),

        // The two stores. Neither knows of chat.
        .target(
            name: "RedisClient",
            dependencies: ["CHiredis", nioCore, nioPosix, nioSSL, logging],
            swiftSettings: settings
        ),
        .target(name: "PostgresClient", dependencies: ["CLibpq", logging], swiftSettings: settings),

        .target(
            name: "ParleyServer",
            dependencies: [
                "CScrypt", "ParleyWire", "ParleyCore", "RedisClient", "PostgresClient",
                nioCore, nioPosix, nioHTTP1, nioHTTP2, nioSSL, logging, lifecycle, crypto,
                .product(name: "CryptoExtras", package: "swift-crypto"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "NIOExtras", package: "swift-nio-extras"),
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
                .product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            // Embedded, so that a binary can be moved anywhere.
            resources: [
                .embedInCode("Operations/Migrations"),
                .embedInCode("Messages/Records.lua"), .embedInCode("Messages/Queues.lua"),
                .embedInCode("Push/Push.lua"),
                .embedInCode("Messages/Commit.lua"), .embedInCode("Messages/Delivery.lua"),
                .embedInCode("Messages/Devices.lua"), .embedInCode("Messages/Sync.lua"),
                .embedInCode("Messages/Epoch.lua"),
                .embedInCode("Conversations/Groups/Groups.lua"), .embedInCode("Conversations/Receipts.lua"),
                .embedInCode("Friends/Relations.lua"), .embedInCode("Presence/Presence.lua"),
                .embedInCode("Conversations/Mute/Mute.lua"), .embedInCode("Archive/Workers.lua"),
                .embedInCode("Dashboard/Text.lua"), .embedInCode("Dashboard/Cluster.lua"),
                .embedInCode("Dashboard/Top.lua"), .embedInCode("Dashboard/People.lua"),
                .embedInCode("Dashboard/Senders.lua"), .embedInCode("Admission/Limits.lua"),
                .embedInCode("Discovery/Discovery.lua"), .embedInCode("Typeahead/Suggest.lua"),
                .embedInCode("Typeahead/Gathering/Searches.lua"), .embedInCode("Typeahead/Trending/Trending.lua"),
                .embedInCode("Web"),
            ],
            swiftSettings: settings
        ),
        .target(
            name: "ParleyClient",
            dependencies: ["ParleyWire", nioCore, nioPosix, nioHTTP1],
            swiftSettings: settings
        ),

        .executableTarget(
            name: "parley",
            dependencies: ["ParleyServer", argumentParser, logging, lifecycle],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "parley-load",
            dependencies: [
                "ParleyClient", "ParleyWire", "RedisClient", "PostgresClient",
                argumentParser, nioCore, nioPosix, nioHTTP1, nioHTTP2, nioSSL, logging, crypto,
                .product(name: "Histogram", package: "hdrhistogram-swift"),
            ],
            resources: [.embedInCode("Report/Page")],
            swiftSettings: settings
        ),

        // Tests: no I/O, one embedded channel, one real service, the whole stack.
        .target(name: "TestSupport", path: "Tests/TestSupport", swiftSettings: settings),
        .testTarget(
            name: "ParleyWireTests",
            dependencies: ["ParleyWire", nioCore, nioEmbedded],
            swiftSettings: settings
        ),
        .testTarget(name: "ParleyCoreTests", dependencies: ["ParleyCore", "ParleyWire"], swiftSettings: settings),
        .testTarget(
            name: "RedisClientTests",
            dependencies: ["RedisClient", "TestSupport", nioCore, nioPosix, nioEmbedded, logging],
            swiftSettings: settings
        ),
        .testTarget(
            name: "PostgresClientTests",
            dependencies: ["PostgresClient", "TestSupport"],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleyServerTests",
            dependencies: [
                "ParleyServer", "ParleyCore", "ParleyWire", "PostgresClient", "RedisClient", "TestSupport",
                nioCore, nioPosix, nioEmbedded, logging, crypto,
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Hummingbird", package: "hummingbird"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "IntegrationTests",
            dependencies: [
                "ParleyServer", "ParleyClient", "ParleyWire", "PostgresClient", "parley-load", "TestSupport",
                argumentParser, nioCore, nioPosix, nioHTTP1,
                .product(name: "Histogram", package: "hdrhistogram-swift"),
            ],
            swiftSettings: settings
        ),
    ]
)
