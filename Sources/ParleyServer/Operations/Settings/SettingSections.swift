import ParleyCore
import PostgresClient

extension Setting {
    struct Section: Sendable {
        let title: String
        let settings: [Setting]
    }

    /// All settings there are. A new one takes a field in `Settings` or in a struct that it holds, where its default
    /// stands, an entry here, and `parley config-reference >Ops/CONFIGURATION.md`.
    static let sections = [
        Section(title: "Process", settings: process), Section(title: "Stores", settings: stores),
        Section(title: "Clients", settings: clients), Section(title: "Messages", settings: messages),
        Section(title: "Users and groups", settings: users), Section(title: "Push", settings: push),
        Section(title: "Suggestions", settings: suggestions),
        Section(title: "Gathering searches", settings: gathering),
        Section(title: "Building lists of suggestions", settings: building),
        Section(title: "History", settings: history),
    ]

    static let all = sections.flatMap(\.settings)

    private static let everybody = Set(Reader.allCases)
    private static let servers: Set<Reader> = [.gateway, .worker]
    private static let writers = servers.union([.migrate, .typeahead])

    private static let process: [Setting] = [
        Setting(
            "CONFIG_FILE",
            \.configFile,
            .optional(.text("a file")),
            for: everybody,
            "A file of `PARLEY_NAME=value` lines; lines that begin with `#` are skipped. The environment and options win"
        ),
        Setting("LOG_LEVEL", \.logLevel, .choice, for: writers, "The least that is logged, to standard error"),
        Setting("LOG_FORMAT", \.logFormat, .choice, for: writers, "A line of the log as text, or as a JSON object"),
        Setting(
            "NAME",
            \.name,
            .optional(.text("a name")),
            for: servers,
            fallback: "`gateway-1`, `worker-1`",
            "This process's name, unique among the running ones"
        ),
        Setting("BIND", \.bindAddress, .text("an address or a host's name"), for: servers, "Where it listens"),
        Setting(
            "SERVE",
            \.gateway.serves,
            .choice,
            for: [.gateway],
            "What clients are given here: HTTP without sockets (its polls too), sockets alone, or both"
        ),
        Setting(
            "ROLES",
            \.roles,
            .set(),
            for: [.worker],
            "What this worker does: `archiver` archives messages, finishes what was left undone and keeps history's "
                + "partitions, `presence` puts out the lights of those who are gone, `push` tells their devices, "
                + "`typeahead` counts searches and makes suggestions of them. Each is needed once at least"
        ),
        Setting("PORT", \.port, .port, for: [.gateway], "The port of HTTP and WebSocket; 0 for any that is free"),
        Setting(
            "HEALTH_PORT",
            \.healthPort,
            .optional(.port),
            for: [.worker],
            "The port of `/healthz`, `/readyz` and `/metrics`; none without it"
        ),
        Setting(
            "THREADS",
            \.threads,
            .number(in: 1...256),
            for: [.gateway],
            "Event loops. One serves many thousand sessions; more processes scale further than more threads"
        ),
    ]

    private static let stores: [Setting] = [
        Setting(
            "REDIS_URL",
            \.redisURL,
            .redisURL,
            for: servers.union([.top, .typeahead]),
            isSecret: true,
            "Redis. With `rediss://` its certificate and name are verified; `ca` names a PEM file of the authorities to "
                + "trust instead of the system's"
        ),
        Setting(
            "REDIS_VOLATILE_URL",
            \.volatileRedisURL,
            .optional(.redisURL),
            for: servers.union([.top]),
            isSecret: true,
            fallback: "that of `PARLEY_REDIS_URL`",
            "A Redis of its own for what may be lost: the channels of presence, the registry of gateways, and rate limits"
        ),
        Setting(
            "REDIS_SUGGEST_URL",
            \.suggestRedisURL,
            .optional(.redisURL),
            for: servers.union([.typeahead]),
            isSecret: true,
            fallback: "that of `PARLEY_REDIS_URL`",
            "A Redis of its own for lists of suggestions, which are filled anew from PostgreSQL where they are lost, and for "
                + "searches until they are counted"
        ),
        Setting(
            "REDIS_CONNECTIONS",
            \.redisConnections,
            .number(in: 1...64),
            for: servers,
            "Pipelined connections of each event loop to Redis"
        ),
        Setting("POSTGRES_URL", \.postgres.url, .postgresURL, for: writers, isSecret: true, "PostgreSQL"),
        Setting(
            "POSTGRES_CONNECTIONS",
            \.postgres.connections,
            .number(in: 1...200),
            for: servers,
            "Connections to PostgreSQL, at most"
        ),
    ]

    private static let clients: [Setting] = [
        Setting(
            "TOKEN_KEY_FILE",
            \.tokenKeys,
            .keyFile,
            for: [.gateway],
            isRequired: true,
            "A file with 32 random bytes in base64 (`head -c 32 /dev/urandom | base64`), which sign access tokens, the "
                + "same for all gateways, mode 600: whoever holds it can sign in as anybody. One key a line: the first "
                + "signs, all verify"
        ),
        Setting(
            "PUBLIC_URL",
            \.publicURL,
            .optional(.text("a URL")),
            for: [.gateway],
            fallback: "`http://<bind>:<port>`",
            "The base at which clients reach this gateway"
        ),
        Setting(
            "ALLOWED_ORIGINS",
            \.gateway.allowedOrigins,
            .list("origins"),
            for: [.gateway],
            "Of pages that may connect, besides the gateways' own"
        ),
        Setting(
            "ZONE",
            \.gateway.zone,
            .text("a name"),
            for: [.gateway],
            "Where this gateway stands: clients of the same zone come first"
        ),
        Setting(
            "CAPACITY",
            \.gateway.capacity,
            .number(in: 1...10_000_000),
            for: [.gateway],
            """
            Sockets and waiting polls that this gateway may hold, as far as there are descriptors for them (`ulimit -n`); \
            more are refused with 503
            """
        ),
        Setting(
            "HEARTBEAT_MS",
            \.gateway.heartbeat,
            .milliseconds(in: 500...600_000),
            for: servers,
            "Between pings; a socket that misses two is closed. The same for all processes"
        ),
        Setting(
            "DRAIN_MS",
            \.gateway.drainWindow,
            .milliseconds(in: 0...600_000),
            for: [.gateway],
            "How long clients are spread over when this gateway ends, or is cut off from Redis"
        ),
        Setting(
            "REBALANCE_PERCENT",
            \.gateway.rebalancing.band,
            .percent(in: 0...1000),
            for: [.gateway],
            "How far above its share of all sessions a gateway may be before it sends some to others; `0` sends nobody away"
        ),
        Setting(
            "REBALANCE_SESSIONS",
            \.gateway.rebalancing.leastExcess,
            .number(in: 1...1_000_000),
            for: [.gateway],
            "Sessions above its share below which a gateway sends nobody away"
        ),
        Setting(
            "PASSWORD_COST",
            \.passwordCost,
            .oneOf([("full", .full), ("cheap", .cheap)]),
            for: [.gateway],
            "What a password's hash costs; `cheap` is for trying and measuring alone"
        ),
        Setting(
            "RATE_LIMITS",
            \.admission.isOn,
            .oneOf([("on", true), ("off", false)]),
            for: [.gateway],
            "Whether who asks too often is refused, and load is shed; `off` is for trying and measuring alone"
        ),
        Setting(
            "LIMITS",
            \.admission.limits,
            .limits,
            for: [.gateway],
            "How much of what may be had: a lasting rate, by the second, minute, hour or day, and how many at once. What "
                + "is not named keeps its default. See *Limits* of the runbook"
        ),
        Setting(
            "ADDRESS_CONNECTIONS",
            \.admission.addresses.connections,
            .number(in: 1...10_000_000),
            for: [.gateway],
            "Connections that this gateway may hold of an address, or of an IPv6 /64, which many people may share"
        ),
        Setting(
            "ADDRESS_STRANGERS",
            \.admission.addresses.strangers,
            .number(in: 1...10_000_000),
            for: [.gateway],
            "Those of them that have not signed in yet, or not sent a whole request"
        ),
        Setting(
            "TRUSTED_PROXIES",
            \.admission.proxies,
            .addressRanges,
            for: [.gateway],
            "Proxies whose `X-Forwarded-For` is believed. Without them, all who come through a proxy share its address"
        ),
    ]

    private static let messages: [Setting] = [
        Setting(
            "ACK",
            \.gateway.acknowledgement,
            .choice,
            for: [.gateway],
            "What an acknowledgement waits for: Redis's disk, a replica's memory too, or history in PostgreSQL too"
        ),
        Setting(
            "BACKLOG",
            \.gateway.backlogLimit,
            .number(in: 1...1_000_000_000),
            for: [.gateway],
            "Messages that may wait for the archive; beyond, sends are refused with `overloaded`"
        ),
        Setting(
            "CHANGE_WINDOW_S",
            \.gateway.changeWindow,
            .seconds(in: 0...3_155_760_000),
            for: [.gateway],
            "How long a message may be edited or deleted"
        ),
        Setting(
            "DEDUP_WINDOW_S",
            \.commit.dedupWindow,
            .seconds(in: 1...86_400),
            for: servers,
            "Within this of its own time a repeated send is told from memory; older ones from history"
        ),
        Setting(
            "QUEUE_CAP",
            \.commit.queueCap,
            .number(in: 100...10_000_000),
            for: servers,
            "Entries that a sync queue keeps, about"
        ),
        Setting(
            "ABSENCE_S",
            \.commit.absence,
            .seconds(in: 1...3_155_760_000),
            for: servers,
            "Without any device for as long, users are absent: of what comes then their queue counts the positions and "
                + "keeps nothing"
        ),
        Setting(
            "DEVICE_LIMIT",
            \.commit.deviceLimit,
            .number(in: 1...1000),
            for: servers,
            "Devices of a user that keep a place in the queue; another takes the place of one away for a day, or is "
                + "refused. As many polls of a user may wait on each event loop"
        ),
    ]

    private static let users: [Setting] = [
        Setting(
            "GROUP_LIMIT",
            \.groups.memberLimit,
            .number(in: 1...500),
            for: [.gateway],
            "Members that a group may have; bigger ones stay and take no more"
        ),
        Setting(
            "GROUP_HISTORY",
            \.groups.history,
            .choice,
            for: [.gateway],
            "What new members see of a group: from their joining on, or all of it"
        ),
        Setting(
            "FRIEND_LIMIT",
            \.friends.friendLimit,
            .number(in: 1...100_000),
            for: [.gateway],
            "Friends that a user may have; those who have more keep them"
        ),
        Setting(
            "REQUEST_LIMIT",
            \.friends.requestLimit,
            .number(in: 1...100_000),
            for: [.gateway],
            "Requests of a user to become friends that may wait for an answer"
        ),
        Setting(
            "PRESENCE_GRACE_MS",
            \.gateway.presenceGrace,
            .milliseconds(in: 0...3_600_000),
            for: servers,
            "How long somebody whose connection was lost still counts as online. The same for all processes"
        ),
    ]

    private static let suggestions: [Setting] = [
        Setting(
            "SUGGEST",
            \.suggest.access,
            .choice,
            for: [.gateway],
            "Who is given suggestions over HTTP: everybody, or who has signed in"
        ),
        Setting(
            "SUGGEST_MAX_AGE_S",
            \.suggest.maxAge,
            .seconds(in: 0...86_400),
            for: [.gateway],
            "How long browsers and proxies may keep an answer: as late is a blocked word gone from there"
        ),
        Setting(
            "SUGGEST_CACHE",
            \.suggest.cacheEntries,
            .number(in: 100...10_000_000),
            for: [.gateway],
            "Prefixes whose suggestions each event loop keeps, at about a kilobyte each"
        ),
    ]

    private static let push: [Setting] = [
        Setting(
            "PUSH_VAPID_KEY_FILE",
            \.push.vapidKey,
            .vapidKeyFile,
            for: servers,
            "A file with the key that `parley push vapid` makes, mode 600; Web Push is offered with it. The same for all "
                + "processes, for good: browsers' registrations are bound to it"
        ),
        Setting(
            "PUSH_SUBJECT",
            \.push.subject,
            .optional(.contact),
            for: [.worker],
            "How push services reach whoever runs this. Some refuse Web Push without it"
        ),
        Setting(
            "PUSH_WEBHOOK_URL",
            \.push.webhookURL,
            .optional(.pushURL),
            for: servers,
            "A server of your own that gets pushes as signed JSON, for whatever else reaches your users"
        ),
        Setting(
            "PUSH_WEBHOOK_SECRET",
            \.push.webhookSecret,
            .optional(.text("a secret")),
            for: servers,
            isSecret: true,
            "Signs what the webhook gets; it is offered with both"
        ),
        Setting(
            "PUSH_TTL_S",
            \.push.lifetime,
            .seconds(in: 60...2_419_200),
            for: [.worker],
            "How long a push that did not get through is tried again, and may be shown late"
        ),
        Setting(
            "PUSH_CONTENT",
            \.push.hidesContent,
            .oneOf([("full", false), ("title", true)]),
            for: [.worker],
            "What of a message passes a provider: its text too, or nothing but who sent it. A device can ask for less"
        ),
        Setting(
            "PUSH_CA_FILE",
            \.push.http.authorities,
            .optional(.text("a PEM file")),
            for: [.worker],
            fallback: "the system's",
            "Authorities whose certificates push services may show, instead of the system's"
        ),
        Setting(
            "PUSH_PRIVATE_ADDRESSES",
            \.push.http.allowsPrivateAddresses,
            .oneOf([("refused", false), ("allowed", true)]),
            for: [.worker],
            "Whether endpoints that browsers name may lead to loopback and private networks; `allowed` is for trying alone"
        ),
    ]

    private static let history: [Setting] = [
        Setting(
            "PARTITION",
            \.partitionPeriod,
            .choice,
            for: [.worker],
            "The time that a partition of history takes; may be changed at any time"
        ),
        // Below a week, sends of clients that were offline for a while would be too old to be judged.
        Setting(
            "RETENTION_DAYS",
            \.retentionDays,
            .optional(.number(in: 7...36_500)),
            for: [.worker],
            fallback: "all of it",
            "Days of history that are kept, the same for all workers"
        ),
    ]

    private static let gathering: [Setting] = [
        Setting(
            "SEARCH_SAMPLING",
            \.gathering.sampling,
            .number(in: 1...1_000_000),
            for: [.gateway],
            "Of so many users one's searches are taken, and count for all of them"
        ),
        Setting(
            "SEARCH_GATE",
            \.gathering.gate,
            .number(in: 1...1000),
            for: [.worker, .typeahead],
            "So many different users must have searched for something before it is suggested to anybody, whatever is sampled"
        ),
        Setting(
            "SEARCH_GATE_S",
            \.gathering.gateWindow,
            .seconds(in: 60...3_155_760_000),
            for: [.worker],
            "The time in which they must, from the first of them on"
        ),
        Setting(
            "SEARCH_RETENTION_DAYS",
            \.gathering.retentionDays,
            .number(in: 1...36_500),
            for: [.worker],
            "Days for which it is kept how often what was searched for"
        ),
        Setting(
            "SEARCH_FLUSH_MS",
            \.gathering.flush,
            .milliseconds(in: 10...60_000),
            for: [.worker],
            "Between two writes of what was searched for"
        ),
        Setting(
            "TREND_HALF_LIFE_S",
            \.gathering.trendHalfLife,
            .seconds(in: 1...31_557_600),
            for: [.worker],
            "In which a search of late loses half of its weight among trends"
        ),
    ]

    private static let building: [Setting] = [
        Setting(
            "SUGGEST_BUILD_S",
            \.building.period,
            .seconds(in: 1...31_557_600),
            for: [.worker, .typeahead],
            "Between two builds of all lists by the schedule"
        ),
        Setting(
            "SUGGEST_HALF_LIFE_DAYS",
            \.building.halfLifeDays,
            .number(in: 1...36_500),
            for: [.worker, .typeahead],
            "In which a search loses half of its weight in the lists"
        ),
        Setting(
            "SUGGEST_LIST_LEAST",
            \.building.leastQueries,
            .number(in: 1...1_000_000_000),
            for: [.worker, .typeahead],
            "Queries from which on a language or a country has a list of its own, and a list is split into shards; a list "
                + "that was imported stays"
        ),
        Setting(
            "SUGGEST_SHARDS",
            \.building.shards,
            .number(in: 1...1024),
            for: [.worker, .typeahead],
            "Shards of a list, each a slot of Redis Cluster"
        ),
        Setting(
            "SUGGEST_TOLERANCE_PERCENT",
            \.building.tolerance,
            .percent(in: 0...100),
            for: [.worker, .typeahead],
            "By which the mean reciprocal rank of a new list may be below that of the one in force"
        ),
    ]
}
