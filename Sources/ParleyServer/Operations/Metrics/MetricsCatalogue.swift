/// Every metric, in the order of `/metrics` and of the runbook's table, which `parley metrics` writes.
extension Metric {
    static let all =
        messages + sockets + http + stores + archive + presence + push + suggestions + searches + process

    // MARK: Messages

    private static let messages = [
        messagesCommitted, messagesDuplicate, messagesDelivered, ackLatency, deliveryLatency, refusals, limited,
    ]

    static let messagesCommitted = Metric(
        "parley_messages_committed_total",
        .counter,
        .gateways,
        labels: ["transport"],
        "Messages and changes of messages that this gateway committed, by socket and http."
    )
    static let messagesDuplicate = Metric(
        "parley_messages_duplicate_total",
        .counter,
        .gateways,
        labels: ["transport"],
        "Sends that were repeats of one committed before."
    )
    static let messagesDelivered = Metric(
        "parley_messages_delivered_total",
        .counter,
        .gateways,
        labels: ["transport"],
        "Durable events written to clients, by socket and poll; one to each device counts as one."
    )
    static let ackLatency = Metric(
        "parley_ack_latency_seconds",
        .histogram,
        .gateways,
        "From reading a send's frame to writing its answer, of sends over sockets that were committed."
    )
    static let deliveryLatency = Metric(
        "parley_delivery_latency_seconds",
        .histogram,
        .gateways,
        "From the commit, by Redis's clock in whole milliseconds, to writing the event to a socket that follows live."
    )
    static let refusals = Metric(
        "parley_refusals_total",
        .counter,
        .gateways,
        labels: ["transport", "code"],
        "Errors answered, by the protocol's code, on sockets and over http."
    )
    static let limited = Metric(
        "parley_limited_total",
        .counter,
        .gateways,
        labels: ["activity", "code"],
        "What limits and load shedding refused, by rate_limited and overloaded. Connections and handshakes are here alone."
    )

    // MARK: Sockets

    private static let sockets = [
        sessions, sessionsLimit, socketsUnauthenticated, pollsWaiting, socketsOpened, socketsLagging, socketCloses,
        socketReceivedBytes, socketSentBytes, draining,
    ]

    static let sessions = Metric("parley_sessions", .gauge, .gateways, "Signed-in sockets.")
    static let sessionsLimit = Metric(
        "parley_sessions_limit",
        .gauge,
        .gateways,
        "Sockets and waiting polls that this gateway may hold."
    )
    static let socketsUnauthenticated = Metric(
        "parley_sockets_unauthenticated",
        .gauge,
        .gateways,
        "Sockets before the end of their sign-in."
    )
    static let pollsWaiting = Metric("parley_polls_waiting", .gauge, .gateways, "Polls that wait for an event.")
    static let socketsOpened = Metric("parley_sockets_opened_total", .counter, .gateways, "Sockets that were opened.")
    static let socketsLagging = Metric(
        "parley_sockets_lagging",
        .gauge,
        .gateways,
        "Sockets whose output is full, because their client reads too slowly."
    )
    static let socketCloses = Metric(
        "parley_socket_closes_total",
        .counter,
        .gateways,
        labels: ["code"],
        "Sockets that ended: by this gateway with a close code, by the client, or lost without a close."
    )
    static let socketReceivedBytes = Metric(
        "parley_socket_received_bytes_total",
        .counter,
        .gateways,
        "Bytes read from sockets, frame headers included."
    )
    static let socketSentBytes = Metric(
        "parley_socket_sent_bytes_total",
        .counter,
        .gateways,
        "Bytes written to sockets, frame headers included."
    )
    static let draining = Metric("parley_draining", .gauge, .gateways, "1 while the gateway sends its clients away.")

    // MARK: HTTP

    private static let http = [httpRequests]

    static let httpRequests = Metric(
        "parley_http_request_duration_seconds",
        .histogram,
        .gateways,
        labels: ["method", "route", "status"],
        "Time of HTTP requests until their answer is made, by the route's template; /v1/sync includes its wait."
    )

    // MARK: Stores

    private static let stores = [
        redisCommands, redisOutstanding, redisUnanswered, redisReconnects, redisSubscribersUnhealthy,
        postgresStatements, postgresConnectionsInUse, postgresConnectionsLimit, postgresWaiting,
    ]

    static let redisCommands = Metric(
        "parley_redis_command_duration_seconds",
        .histogram,
        .all,
        labels: ["pipeline"],
        "Time from asking Redis to its reply: commit for sends, sync for sync queues, other for the rest."
    )
    static let redisOutstanding = Metric(
        "parley_redis_commands_outstanding",
        .gauge,
        .all,
        "Commands that wait for Redis's reply, or for a connection."
    )
    static let redisUnanswered = Metric(
        "parley_redis_commands_unanswered_total",
        .counter,
        .all,
        "Commands that got no reply in time, or lost their connection."
    )
    static let redisReconnects = Metric(
        "parley_redis_reconnects_total",
        .counter,
        .all,
        labels: ["connections"],
        "Connections for commands and for subscriptions that were lost and made again."
    )
    static let redisSubscribersUnhealthy = Metric(
        "parley_redis_subscribers_unhealthy",
        .gauge,
        .gateways,
        "Connections for subscriptions that do not hear what is published for a trial every two seconds."
    )
    static let postgresStatements = Metric(
        "parley_postgres_statement_duration_seconds",
        .histogram,
        .all,
        "Time of PostgreSQL's statements, COMMIT included, without the wait for a connection."
    )
    static let postgresConnectionsInUse = Metric(
        "parley_postgres_connections_in_use",
        .gauge,
        .all,
        "Connections of the pool that are lent out."
    )
    static let postgresConnectionsLimit = Metric(
        "parley_postgres_connections_limit",
        .gauge,
        .all,
        "Connections that the pool may open."
    )
    static let postgresWaiting = Metric(
        "parley_postgres_connection_waiters",
        .gauge,
        .all,
        "Callers that wait for a connection of the pool."
    )

    // MARK: Archive

    private static let archive = [
        archiveLag, commitLogEntries, fanOutPendingAge, fanOutsPending, outboxRows, deadLetters, entriesArchived,
    ]

    static let archiveLag = Metric(
        "parley_archive_lag_seconds",
        .gauge,
        .workers,
        "Age of the oldest committed entry that is not archived, of all lanes: each worker says the same."
    )
    static let commitLogEntries = Metric(
        "parley_commit_log_entries",
        .gauge,
        .workers,
        "Entries of all lanes in Redis; what is archived leaves them within seconds."
    )
    static let fanOutPendingAge = Metric(
        "parley_fanout_pending_age_seconds",
        .gauge,
        .workers,
        "Age of the oldest delivery that a commit left pending."
    )
    static let fanOutsPending = Metric(
        "parley_fanouts_pending",
        .gauge,
        .workers,
        "Deliveries that commits left pending; a group's chunks count as one a message."
    )
    static let outboxRows = Metric(
        "parley_outbox_rows",
        .gauge,
        .workers,
        labels: ["outbox"],
        "Rows of PostgreSQL's outboxes that wait for Redis or the archive."
    )
    static let deadLetters = Metric(
        "parley_dead_letters",
        .gauge,
        .workers,
        "Entries that could not be archived and stand in dead_letters."
    )
    static let entriesArchived = Metric(
        "parley_entries_archived_total",
        .counter,
        .workers,
        "Entries of the commit log that this worker archived."
    )

    // MARK: Presence

    private static let presence = [presencePublished, watches]

    static let presencePublished = Metric(
        "parley_presence_changes_published_total",
        .counter,
        .all,
        "Changes of somebody's presence told on the channels of their friends."
    )
    static let watches = Metric(
        "parley_presence_watches",
        .gauge,
        .gateways,
        "Sockets that watch the presence of somebody."
    )

    // MARK: Push

    private static let push = [
        pushes, pushLatency, pushesDropped, pushesDead, pushBreakersOpen, pushBacklog, pushBacklogAge,
        pushRetriesWaiting, pushDeadLetters,
    ]

    static let pushes = Metric(
        "parley_pushes_total",
        .counter,
        .workers,
        labels: ["provider", "outcome"],
        "Answers of push providers by what they meant: sent, gone, retried, limited, too_large, credentials, refused."
    )
    static let pushLatency = Metric(
        "parley_push_latency_seconds",
        .histogram,
        .workers,
        labels: ["provider"],
        "From asking a push provider to its answer, waiting for a turn included."
    )
    static let pushesDropped = Metric(
        "parley_pushes_dropped_total",
        .counter,
        .workers,
        labels: ["reason"],
        "What was not pushed: acknowledged, read, muted, quiet hours, unregistered for want of a device, sent before."
    )
    static let pushesDead = Metric(
        "parley_pushes_dead_total",
        .counter,
        .workers,
        "Pushes that were given up, and became dead letters."
    )
    static let pushBreakersOpen = Metric(
        "parley_push_breakers_open",
        .gauge,
        .workers,
        "Push services that this worker leaves alone for a while because they fail."
    )
    static let pushBacklog = Metric(
        "parley_push_backlog_entries",
        .gauge,
        .workers,
        "Entries of the push stream, those that rest or are being sent included."
    )
    static let pushBacklogAge = Metric(
        "parley_push_backlog_age_seconds",
        .gauge,
        .workers,
        "How long the oldest entry of the push stream has been there; a few seconds are its rest."
    )
    static let pushRetriesWaiting = Metric(
        "parley_push_retries_waiting",
        .gauge,
        .workers,
        "Pushes that wait to be tried again."
    )
    static let pushDeadLetters = Metric(
        "parley_push_dead_letters",
        .gauge,
        .workers,
        "Dead letters of push; parley push dead lists them."
    )

    // MARK: Searches

    private static let searches = [
        searchesTaken, searchesCounted, searchesWaiting, builds, buildAge, filterVersion, filterDelay,
    ]

    static let searchesTaken = Metric(
        "parley_searches_taken_total",
        .counter,
        .gateways,
        "Submitted searches that went into the stream, of those who are listened to."
    )
    static let searchesCounted = Metric(
        "parley_searches_counted_total",
        .counter,
        .workers,
        "Submitted searches that this worker counted."
    )
    static let searchesWaiting = Metric(
        "parley_searches_waiting",
        .gauge,
        .workers,
        "Entries of the stream of searches, of all shards; one of each stays when all are counted."
    )
    static let builds = Metric(
        "parley_suggest_builds_total",
        .counter,
        .workers,
        labels: ["outcome"],
        "Builds of lists of suggestions by this worker: good, or failed with what is no good and was not put in force."
    )
    static let buildAge = Metric(
        "parley_suggest_build_age_seconds",
        .gauge,
        .workers,
        "Since the last build of any worker ended, whatever came of it; 0 before the first."
    )
    static let filterVersion = Metric(
        "parley_suggest_filter_version",
        .gauge,
        .gateways,
        "Version of the rules of what is never suggested that is in force here."
    )
    static let filterDelay = Metric(
        "parley_suggest_filter_delay_seconds",
        .gauge,
        .gateways,
        "From the last change of these rules to its being in force here; 0 before one was seen."
    )

    // MARK: Suggestions

    private static let suggestions = [suggestLookups, suggestRefills, suggestGeneration]

    static let suggestLookups = Metric(
        "parley_suggest_lookups_total",
        .counter,
        .gateways,
        labels: ["source"],
        "Prefixes answered from cache, redis or postgres; not_modified without a look-up, unavailable not at all; joined waited "
            + "for one that was being looked up."
    )
    static let suggestRefills = Metric(
        "parley_suggest_refills_total",
        .counter,
        .gateways,
        "Shards of lists that Redis lacked and this gateway filled again, or waited for."
    )
    static let suggestGeneration = Metric(
        "parley_suggest_generation",
        .gauge,
        .gateways,
        labels: ["locale"],
        "The generation of each list that this gateway answers from."
    )

    // MARK: The process

    private static let process = [
        eventLoopLag, logLinesDropped, buildInfo, processStart, processCPU, processMemory, processFiles,
        processFileLimit,
    ]

    static let eventLoopLag = Metric(
        "parley_event_loop_lag_seconds",
        .histogram,
        .all,
        "How late the event loops ran a task that is due every 100 ms."
    )
    static let logLinesDropped = Metric(
        "parley_log_lines_dropped_total",
        .counter,
        .all,
        "Lines of the log that were dropped, because standard error was read too slowly."
    )
    static let buildInfo = Metric(
        "parley_build_info",
        .gauge,
        .all,
        labels: ["version", "swift", "role", "name"],
        "1, with what runs here."
    )
    static let processStart = Metric(
        "process_start_time_seconds",
        .gauge,
        .all,
        "When the process started, in seconds since 1970."
    )
    static let processCPU = Metric("process_cpu_seconds_total", .counter, .all, "Processor time, user and system.")
    static let processMemory = Metric("process_resident_memory_bytes", .gauge, .all, "Resident memory.")
    static let processFiles = Metric("process_open_fds", .gauge, .all, "Open file descriptors.")
    static let processFileLimit = Metric("process_max_fds", .gauge, .all, "Descriptors that may be open.")
}
