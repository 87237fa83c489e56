// Every bound on what a client, a file or an operator may ask for, each with its reason (invariant I8).
#ifndef MNEME_COMMON_LIMITS_H_
#define MNEME_COMMON_LIMITS_H_

#include <cstddef>
#include <cstdint>

namespace mneme::limits {

// --- Names and identity -------------------------------------------------------------------------------------------

// A memory's name: fits a path part, a metric label and a log line whole.
inline constexpr size_t kMaxMemoryNameBytes = 128;
// A request id: a UUID with room for a caller's prefix. Only its 128-bit hash is stored.
inline constexpr size_t kMaxRequestIdBytes = 128;
// Ids from 2^62 on are the server's (`2^62 | row << 8 | shard`).
inline constexpr uint64_t kFirstServerId = uint64_t{1} << 62;
// The shard takes the low eight bits of a server-given id.
inline constexpr uint32_t kMaxShards = 256;
// Each text of a fingerprint: a model name, a revision hash, a layer path.
inline constexpr size_t kMaxFingerprintFieldBytes = 256;
// Memories of one deployment: the catalogue is held in ram.
inline constexpr size_t kMaxMemories = 100'000;
// Aliases of one deployment: a drop looks at all of them under the lock that finding a memory takes.
inline constexpr size_t kMaxAliases = 10'000;

// --- Shapes -------------------------------------------------------------------------------------------------------

// The widest hidden state of published models is 16,384.
inline constexpr uint32_t kMaxDimension = 16'384;
// A VECTOR value: residuals over a label set, or another hidden state.
inline constexpr uint32_t kMaxValueDimension = 65'536;
// A BYTES value: a sentence, a candidate text. Larger payloads belong in an object store.
inline constexpr size_t kMaxValueBytes = 64 * 1024;
// Listed components of a SPARSE_VECTOR value: six bytes each, so that a value stays within kMaxValueBytes.
inline constexpr size_t kMaxSparseComponents = 10'000;
// Tokenizers of published models stay below 2^20; 2^24 leaves room and keeps a full distribution below 200 MB.
inline constexpr uint32_t kMaxVocabularySize = uint32_t{1} << 24;
// The capacity of a memory: a partition lies on one shard, and no disk of one holds more rows than this.
inline constexpr uint64_t kMaxCapacity = uint64_t{1} << 40;
// Components of a key: squares of differences stay finite in f32 at the largest dimension (16,384 x (2e16)^2 = 6.6e36).
inline constexpr float kMaxKeyComponent = 1e16F;
// f16 keys: the largest finite half.
inline constexpr float kMaxHalf = 65'504.0F;

// --- Requests -----------------------------------------------------------------------------------------------------

// One message, in or out: 16 times gRPC's default, so that 16,384 x 1,024 f32 keys fit, and no more.
inline constexpr size_t kMaxMessageBytes = 64 * 1024 * 1024;
// Fields of one message, those of messages within it included; a packed list is one. A full message of legal strings of
// 30 bytes has as many; empty messages of two bytes would be 33 million, and take forty times those bytes of ram.
inline constexpr size_t kMaxMessageFields = size_t{1} << 21;
// Messages within messages, which the parser takes a frame of the stack for each.
inline constexpr int kMaxMessageDepth = 100;
// k: the literature goes to 1,024; adaptive combiners and re-ranking double and redouble that.
inline constexpr uint32_t kMaxK = 4'096;
// Rows of one query message: a decode batch with beams, or a prefill of one sequence.
inline constexpr size_t kMaxQueryRows = 1'024;
// rows x k of one query message: with 40 bytes per neighbour an answer stays below the message bound.
inline constexpr size_t kMaxNeighboursPerRequest = size_t{1} << 20;
// Entries of one insert message.
inline constexpr size_t kMaxInsertEntries = 65'536;
// Ids of one get, delete or filter list.
inline constexpr size_t kMaxIds = 65'536;
// Partitions one query may name (all partitions is a flag, not a list).
inline constexpr size_t kMaxPartitionsPerQuery = 1'024;
// Extra candidates (successors) per query row.
inline constexpr size_t kMaxExtraCandidatesPerRow = 4'096;
// (temperature, k) cells of a distribution request: a whole tuning grid in one search.
inline constexpr size_t kMaxDistributionCells = 256;
// Sources of one mixture: a global memory, a tenant's, a session's, and a dozen more; each is a search of its own.
inline constexpr size_t kMaxMixtureSources = 16;
// The weight of a source: any two stand in a ratio whose logarithm and inverse have all their digits.
inline constexpr double kMinMixtureWeight = 1e-9;
inline constexpr double kMaxMixtureWeight = 1e9;
// Bytes of the keys of a mixture, which each of its searches holds: four messages of the largest size.
inline constexpr size_t kMaxMixtureKeyBytes = 4 * kMaxMessageBytes;
// Attention over all entries holds a value for each (row, entry): 64 rows over 4,096 slots of 256 components.
inline constexpr size_t kMaxAttendedBytes = size_t{512} << 20;
// k of a search that wants every entry; the bytes above are reached before.
inline constexpr uint32_t kEveryEntry = uint32_t{1} << 26;
// Entries beyond the k-th that are looked at for ones as near as it (ResMem's ties).
inline constexpr uint32_t kTieRoom = 256;
// Labels of one centroids read-out: the classes of the largest published classifiers are 21,841.
inline constexpr size_t kMaxCentroidLabels = 65'536;
// Sums by label that are kept between read-outs of centroids: two numbers of f64 a component, so the 21,841 classes of
// 768 components just do not fit and the 1,000 classes of 1,024 do sixteen times. The least recently used go first.
inline constexpr uint64_t kMaxLabelSumBytes = uint64_t{256} << 20;
// Below so many rows a partition is summed as fast as its sums are found.
inline constexpr uint64_t kMinSummedRows = 256;
// Multiplications of one match, entries x entries x components: half a minute or so of one core. Coocmap's 5,000 words
// by 5,000 over 10,000 pairs are 2.5e11.
inline constexpr double kMaxMatchProducts = 3e11;
// Bytes of keys of both sides of a match, in double.
inline constexpr size_t kMaxMatchBytes = size_t{1} << 30;
// Entries of all pools that one select looks at: it holds their scores and values.
inline constexpr size_t kMaxPoolEntries = size_t{1} << 20;
// Matches that are kept to be asked again, in full and for a few entries: 32 bytes an entry of either side, so that
// those of two million fit; each may be looked at to find one.
inline constexpr uint64_t kMaxMatchCacheBytes = uint64_t{64} << 20;
inline constexpr size_t kMaxKnownMatches = 256;
// Queries of one learned write: its answers are remembered with the request id, 65 bytes each.
inline constexpr size_t kMaxRememberRows = 1'024;
// Bytes of the slots of one table, which the shard's writer holds in ram.
inline constexpr size_t kMaxSlotBytes = size_t{256} << 20;
// Slots whose similarity a mask tells, and that pos and neg are looked for among.
inline constexpr uint32_t kMaxChooseK = 65'536;
// Rows of one call for token masks: a decode batch.
inline constexpr size_t kMaxMaskRows = 1'024;
// Legal strings of one row: the members of the largest classes are some thousands.
inline constexpr size_t kMaxLegalStrings = 65'536;
// Tokens of the tries of one answer: eight bytes each, half a message.
inline constexpr size_t kMaxTrieTokens = size_t{4} << 20;
// Parsed vocabularies in ram: a quarter of a million tokens are some 30 MB.
inline constexpr size_t kMaxKnownVocabularies = 16;
// Entries of one scan page.
inline constexpr size_t kMaxScanPage = 8'192;
// Request metadata: gRPC's own default, stated.
inline constexpr size_t kMaxMetadataBytes = 8 * 1024;
// Violations named in one error: the details share the peer's 8 KiB of trailing metadata.
inline constexpr size_t kMaxViolations = 16;
inline constexpr size_t kMaxErrorDetailBytes = 4 * 1024;
// The message beside them, which is percent-encoded: up to three bytes for one.
inline constexpr size_t kMaxErrorTextBytes = 1'024;
// Temperature: below, exp underflows for any two different distances; above, every distribution is flat.
inline constexpr double kMinTemperature = 1e-9;
inline constexpr double kMaxTemperature = 1e12;

// --- Working memory ------------------------------------------------------------------------------------------------

// A session and a state: a conversation's UUID with a path of forks behind it; a layer and a head.
inline constexpr size_t kMaxSessionNameBytes = 128;
inline constexpr size_t kMaxStateNameBytes = 128;
// Operations of one batch: a decode step of 40 sequences with a hundred layers each.
inline constexpr size_t kMaxStateOperations = 4'096;
// One state: a linear one of 2,047 x 2,047 in f64, or the feedback activations of a whole model.
inline constexpr size_t kMaxStateBytes = 32 * 1024 * 1024;
// All states of a session, so that it fits in a message with a MiB to spare for what is around them.
inline constexpr size_t kMaxSessionBytes = kMaxMessageBytes - 1024 * 1024;
// One matrix of counters, which is written in pieces: it may fill its session. Some 20 million cells, where the pairs
// of words of a text, over a vocabulary of 5,000, are a few.
inline constexpr size_t kMaxCounterBytes = kMaxSessionBytes;
// States of a session: a whole session is listed when it moves or forks for the last time before it is copied.
inline constexpr size_t kMaxSessionStates = 65'536;
// What a batch may write on one shard: the states that it changes are written whole, and held until they are.
inline constexpr size_t kMaxStateBatchBytes = 256 * 1024 * 1024;
// Frozen spaces below a session: each is one look-up more for a state that is not there. Beyond it a fork copies.
inline constexpr size_t kMaxSessionBases = 16;
// Past blocks that a feedback memory keeps: the paper's best is three.
inline constexpr uint32_t kMaxRingBlocks = 1'024;
// Increments of one operation on counters, and rows that one asks for: 16 MiB of columns.
inline constexpr size_t kMaxIncrements = size_t{1} << 20;
// Sessions of one reset, and of one page of a list.
inline constexpr size_t kMaxResetSessions = 4'096;
inline constexpr size_t kMaxSessionsPage = 1'000;
// Numbers that a matrix of counters may have given to its pieces, in terabytes of additions: none is given twice.
inline constexpr uint64_t kMaxPieceNumber = uint64_t{1} << 31;
// An answer up to this size is remembered with its request id, so that a retry gets the same bytes.
inline constexpr size_t kMaxRememberedAnswerBytes = 64 * 1024;

// --- Server -------------------------------------------------------------------------------------------------------

// Searches waiting for a worker; at 1 ms each a full queue is half a second of delay.
inline constexpr size_t kMaxQueuedSearches = 512;
// Queries that a front end has under way: each shard lets half as many wait, and those that it works on and those that
// are merged in the front end come on top.
inline constexpr size_t kMaxAdmittedQueries = 2 * kMaxQueuedSearches;
// Bytes that they ask, once for each shard, and are answered at most: fifteen of the largest queries of the largest k.
inline constexpr uint64_t kMaxAdmittedBytes = uint64_t{1} << 30;
// Rows of queued queries that one worker searches together: eight fill one pass over the keys, each more saves less,
// and the first of a batch waits for the last.
inline constexpr size_t kMaxBatchedRows = 64;
// Bytes of writes waiting for a shard's writer.
inline constexpr size_t kMaxQueuedWriteBytes = 256 * 1024 * 1024;
// Unacknowledged bytes that one insert stream may have in flight (its back-pressure window).
inline constexpr size_t kInsertStreamWindowBytes = 16 * 1024 * 1024;
// Steps of one query stream that wait for the step before them, and their bytes: two of the largest messages, or a
// decode loop that runs well ahead.
inline constexpr size_t kMaxWaitingSteps = 64;
inline constexpr size_t kMaxWaitingStepBytes = 2 * kMaxMessageBytes;
// Leases of one deployment: each keeps the files of its version on disk. A few hundred jobs read pinned versions.
inline constexpr size_t kMaxLeases = 256;
// The longest lease without renewal: what a client that died keeps goes within it. An epoch of evaluation renews.
inline constexpr uint32_t kMaxLeaseMs = 10 * 60 * 1000;
// Of the ram limit, the share that leases may hold in tails: three parts stay for writes, which count what leases hold.
inline constexpr uint64_t kLeaseRamParts = 4;
// Workers for calls that block (get, scan, count, catalogue), and calls that wait for one.
inline constexpr size_t kCallWorkers = 4;
inline constexpr size_t kMaxQueuedCalls = 256;
// Workers for calls that may run for minutes (build, recall probe), and calls that wait for one.
inline constexpr size_t kLongCallWorkers = 2;
// Workers for changes of replicas: one that waits for a process to serve, which may be hours, sleeps, and must hold up
// no drain. More of them at once are more than one who looks after a deployment has under way.
inline constexpr size_t kReplicaChangeWorkers = 8;
inline constexpr size_t kMaxQueuedLongCalls = 16;
// Lists that a query may ask to probe in each segment, and that a memory may choose (IVF<n>): what the rule of
// ListsFor() gives for 268 million rows.
inline constexpr uint32_t kMaxProbes = 65'536;
// Bits a component of a RaBitQ code: beyond four, int8 is as small and faster.
inline constexpr uint32_t kMaxRabitqBits = 4;
// Components of a key whose index learns a projection: its matrix is 16 MiB and found in tens of seconds, which
// grow with the square and the cube of them.
inline constexpr uint32_t kMaxProjectedDimension = 2'048;
// Descriptions of one page of memories, or of aliases.
inline constexpr size_t kMaxMemoriesPage = 1'000;
// Receipts of one page: with the partitions that each may name it is some ten megabytes, and every replica reads it.
inline constexpr size_t kMaxReceiptsPage = 1'000;
// Queries of one recall probe: each is searched exactly as well.
inline constexpr size_t kMaxProbeQueries = 1'024;
// Queries of a pruning's guard: each is searched exactly twice, and perplexity over so many tokens is known to 2 %.
inline constexpr size_t kMaxGuardQueries = 8'192;
// Neighbours that pruning compares an entry with: the paper's nine, and room to try what more would merge.
inline constexpr uint32_t kMaxPruneNeighbours = 1'024;
// Entries that one pruning looks at: it remembers each with 24 bytes, and finds it by its id with some 35 more, so 8 GB
// at the bound; the largest published memory of a language model has 103 million.
inline constexpr uint64_t kMaxPrunedEntries = uint64_t{1} << 27;
// Bytes that a scan page aims at when the client names no size.
inline constexpr size_t kScanPageBytes = 4 * 1024 * 1024;
// Bytes of the columns of one message of an export: with what is around them it stays below 4 MiB, which is what a gRPC
// client takes unless it was told otherwise.
inline constexpr size_t kExportPieceBytes = 4 * 1024 * 1024 - 4 * 1024;
// Queries of one shard that wait for a version: each holds its keys.
inline constexpr size_t kMaxWaitingReads = 1'024;
// Answers that gRPC has and clients have not taken, over all connections: sixteen of the largest messages, or the pages
// of 250 scans. Beyond it reads of whoever holds most are ended. A shard has no such bound: front ends, which take what
// they ask for, bound what they ask.
inline constexpr size_t kMaxHeldAnswerBytes = size_t{1} << 30;
// Of it, the share of one caller in answers to calls that may have written, which are never ended: four of the largest.
inline constexpr size_t kHeldWrittenParts = 4;
static_assert(kMaxHeldAnswerBytes / kHeldWrittenParts >= kMaxMessageBytes);
// How long a connection may take to say that it speaks HTTP/2, its TLS handshake included: a descriptor is held for it.
// As long as a client of gRPC tries one.
inline constexpr int kHandshakeMs = 20'000;
// Descriptors that stay for the store of each shard, whoever opens connections: RocksDB keeps 512 tables open
// (storage/rocksdb_options.cc), and has logs, a MANIFEST and what it writes besides.
inline constexpr size_t kDescriptorsOfShard = 512 + 64;
// And for the rest of the process: the catalogue, index files while they are mapped, event queues, a backup.
inline constexpr size_t kOtherDescriptors = 128;
// Concurrent streams of one connection.
inline constexpr int kMaxConcurrentStreams = 256;
// And of one connection to a shard: all that the clients of a front end ask at once. What waits in a shard has its
// bounds there.
inline constexpr int kMaxInternalStreams = 4'096;
// One message between processes, either way: what a search for every entry may gather, and room for what is around it.
inline constexpr int kMaxInternalMessageBytes = 1 << 30;
// A column of reals in it, which bounds the columns beside it that take no bytes: twice the neighbours that a search
// for every entry may gather (kMaxAttendedBytes, 64 bytes each at least), not a GiB of ram. Nobody writes more.
inline constexpr uint64_t kMaxReals = uint64_t{1} << 24;
// Ram that gRPC may hold in buffers, over all connections: a few of the largest messages each way.
inline constexpr size_t kMaxTransportBytes = size_t{1} << 30;
// The body of a request to the admin address, where nothing takes one.
inline constexpr size_t kMaxAdminBodyBytes = 4'096;
// How long a SIGTERM waits for calls in flight.
inline constexpr int kDrainSeconds = 8;
// How long a stopping server goes on to refuse new calls by itself before it closes connections.
inline constexpr int kDrainSettleMs = 200;

// --- Options ------------------------------------------------------------------------------------------------------

// Threads that search: more than cores are of no use, and the largest machines have some hundreds.
inline constexpr uint32_t kMaxSearchThreads = 1'024;
// The ram limit: it has room for one message of the largest size; beyond the other are no machines, and no sum of it
// overflows.
inline constexpr uint64_t kMinRamLimitBytes = uint64_t{64} << 20;
inline constexpr uint64_t kMaxRamLimitBytes = uint64_t{1} << 50;
// Between NOT_SERVING and the end: load balancers look every few seconds, and who restarts a server waits for it.
inline constexpr int kMaxDrainDelayMs = 5 * 60 * 1000;
// The path of a Unix socket: sun_path, without the zero at its end.
inline constexpr size_t kMaxSocketPathBytes = 107;
// What `mneme plan` is asked about, a thousand times what was ever published, and machines as nobody sells them: what
// is computed of them are numbers that fit.
inline constexpr uint64_t kMaxPlannedEntries = 1'000'000'000'000;
inline constexpr uint32_t kMaxPlannedCores = 4'096;
inline constexpr double kMinPlannedRamGib = 1.0 / 16;
inline constexpr double kMaxPlannedRamGib = 1 << 20;
inline constexpr double kMaxPlannedQueries = 1e9;
// Calls of one `mneme ping`: a few minutes.
inline constexpr int64_t kMaxPings = 1'000'000;

// --- Files of clients ---------------------------------------------------------------------------------------------

// Levels of a JSON document of the command line: what is read shows, copies and ends itself a frame a level.
inline constexpr int kMaxJsonDepth = 64;
// The header of a NumPy array: three keys need about 120 bytes, and NumPy itself refuses more than 10,000 without being
// told. Its dimensions: NumPy's own bound.
inline constexpr size_t kMaxArrayHeaderBytes = 10'000;
inline constexpr size_t kMaxArrayDimensions = 32;
// Bits of a column of a product quantiser in a FAISS file: the most that FAISS itself knows what to do with.
inline constexpr uint64_t kMaxColumnBits = 16;

// --- Replicated log -----------------------------------------------------------------------------------------------

// One record of a shard's log: a write is cut into so much, which a broker takes once it is told to
// (max.message.bytes of the topic), and a replica holds besides what it applies.
inline constexpr size_t kMaxLogRecordBytes = 8 * 1024 * 1024;
// What is around a record on its way to a broker: heads of a batch and of a request are below a hundred bytes each, and
// the topic's name.
inline constexpr size_t kLogFramingBytes = 64 * 1024;
// How long a record is tried to be appended: a broker that is gone is replaced within ten to twenty seconds, and as
// much is left of what a write has in all to wait for its outcome.
inline constexpr int kLogAppendMs = 30'000;
// How far the moment of a record may lie from the clock of the shard that it reaches: ahead of it by what clocks of
// machines may differ, behind by that and by what it may have waited.
inline constexpr int64_t kMaxAheadMs = 60'000;
inline constexpr int64_t kMaxBehindMs = 180'000;
// Bytes and number of the records of one process, of all shards, that wait to be appended: as for one shard's writer.
inline constexpr size_t kMaxLogQueueBytes = kMaxQueuedWriteBytes;
inline constexpr size_t kMaxLogQueueRecords = 100'000;
// Bytes that a reader of a log has at hand before they are asked for, but for the last fetch (the next bound): a second
// of a replay, for so long nothing more is fetched when they are reached.
inline constexpr size_t kLogReadAheadBytes = 64 * 1024 * 1024;
// Bytes of one fetch: two of the longest records.
inline constexpr size_t kLogFetchBytes = 2 * (kMaxLogRecordBytes + kLogFramingBytes);
// Brokers that a log's address names: some of the cluster's, which tell of the others.
inline constexpr size_t kMaxLogBrokers = 64;
// A topic's name: Kafka's own bound.
inline constexpr size_t kMaxTopicNameBytes = 249;
// After the name of the topic of a deployment's shards: the topic of its names (docs/formats.md). The first is as much
// shorter than that bound.
inline constexpr char kCatalogueTopicSuffix[] = "-catalogue";
// Changes of names whose outcome is remembered, so that one which is handed over again is done once: the latest, some
// hundred bytes each. Who asks gives up after a quarter of a minute, in which a log takes fewer.
inline constexpr size_t kRememberedChanges = 16'384;
// Replicas of one shard: a front end has a connection to each, and asks them one after the other until one is there.
inline constexpr uint32_t kMaxReplicas = 16;
// A read that a replica has not answered is asked at another, too, when it is late (cluster/hedging.h), but not before
// so long: below it is the scheduler that is late, or the timer, and the other would be as well. And at the latest
// after so long: a replica that sleeps is noticed while its callers still wait, however slow answers were before.
inline constexpr int kMinHedgeMs = 2;
inline constexpr int kMaxHedgeMs = 1'000;
// Reads of a shard that pay for one that is asked twice. One in twenty is late by definition, or a little more, as the
// p95 is estimated: with twice as many paid for, what is saved up stays whole until it is needed. Replicas that are
// slow because much is asked get a tenth more to do, and not twice as much.
inline constexpr uint64_t kReadsPerHedge = 10;
// How many of those are saved up: what a busy front end has with a replica when that falls asleep.
inline constexpr uint64_t kMostHedgesAtOnce = 64;
// What a query that may be answered in part keeps of its time for itself, at most, for each round of questions to come
// and for what follows them: merging, reading out and sending the largest answers. It is a tenth of what is left where
// that is less, so that a caller with little time has most of it spent on searching.
inline constexpr int kMaxPartialReserveMs = 200;
// A file of log settings: paths, names and one certificate.
inline constexpr size_t kMaxLogSettingsBytes = 64 * 1024;

// Bytes of records that wait for a replica's writer, and that are read at once: some groups of it, so that it is never
// idle. What is read ahead of it beyond that only takes ram.
inline constexpr size_t kMaxAppliedAheadBytes = 32 * 1024 * 1024;
// Outcomes of records that a replica has at hand, and their bytes: a front end asks within a round trip, in which fewer
// records come; of the longest answers there is room for two. Others are read from the remembered requests.
inline constexpr size_t kMaxKeptOutcomes = 65'536;
inline constexpr size_t kMaxKeptOutcomeBytes = 2 * kMaxMessageBytes;
// Calls that wait for an outcome at one replica: as many as there are outcomes.
inline constexpr size_t kMaxWaitingOutcomes = kMaxKeptOutcomes;

// Records to apply from which on a replica without a store copies a checkpoint (cluster/checkpoint_copy.h): fewer are
// applied within seconds, and disturb no other replica.
inline constexpr uint64_t kMinCopiedRecords = 65'536;
// A piece of a checkpoint's file on its way: a hundredth of a second at the rate below, and what a source has in ram.
inline constexpr size_t kCheckpointChunkBytes = 1024 * 1024;
// Bytes a second that a replica reads for checkpoints that are copied, and for digests, over all of them: a terabyte in
// two and a half hours, and a share of a disk and of a network of ten gigabits that leaves queries theirs.
inline constexpr uint64_t kCheckpointBytesPerSecond = uint64_t{128} << 20;
// Files of one checkpoint: RocksDB's tables have 64 MiB each, so 60 TiB.
inline constexpr size_t kMaxCheckpointFiles = 1'000'000;
// A checkpoint of which nothing was read for so long is removed: who copies it, and was started anew, asks sooner.
inline constexpr int kCheckpointIdleMs = 10 * 60 * 1000;
// What a shard of several processes took to be backed up goes when nobody had it written for so long: a front end takes
// all shards, of which one may have to flush and to catch up with its log, before it has the first written. One that
// has gone holds up the next backup for as long.
inline constexpr int kBackupIdleMs = 5 * 60 * 1000;
// Changes of names wait so long, at most, while the shards of several processes are taken anew for a backup because of
// them: a shard that flushed a moment ago takes some ten milliseconds, of a busy machine some hundred. Well below the
// time in which a change is to be made, which is some seconds.
inline constexpr int kNamesHoldMs = 1'000;

// A file of a backup that is copied into a store of objects, or back: a table has 64 MiB, and a few of one record more;
// it is held in ram meanwhile. And how many files: 60 TiB of tables, as of a checkpoint.
inline constexpr uint64_t kMaxStoredObjectBytes = uint64_t{1} << 30;
inline constexpr size_t kMaxStoredObjects = 1'000'000;
// A page of the list of a store: a thousand keys of at most 1,024 bytes, and a few hundred around each.
inline constexpr size_t kMaxStorePageBytes = size_t{16} << 20;
// An error of a store is a few lines of XML, and what it calls itself a word.
inline constexpr size_t kMaxStoreErrorBytes = 16'384;
inline constexpr size_t kMaxStoreErrorCodeBytes = 200;
// As S3 bounds them: a bucket's name, and a key without that of an object below it.
inline constexpr size_t kMaxBucketBytes = 63;
inline constexpr size_t kMaxPrefixBytes = 512;
// A file's name in a checkpoint that another process sends: what file systems take.
inline constexpr size_t kMaxFileNameBytes = 255;

// --- Security -----------------------------------------------------------------------------------------------------

// A shorter text is no token: it could be guessed.
inline constexpr size_t kMinTokenBytes = 16;
// A token as it travels: JSON web tokens, should somebody use them as opaque ones, stay below; metadata has 8 KiB.
inline constexpr size_t kMaxTokenBytes = 2'048;
// Lines of a token file: two tokens of each of some hundred tenants with their jobs.
inline constexpr size_t kMaxPrincipals = 4'096;
inline constexpr size_t kMaxTokenFileBytes = 4 * 1024 * 1024;
// The file with the token that a process shows: that, and what a human may have written below it.
inline constexpr size_t kMaxShownTokenFileBytes = 64 * 1024;
// A name in it: a user, a job, or a name in a certificate.
inline constexpr size_t kMaxPrincipalNameBytes = 128;
// Grants of one line, and ranges of partitions of one grant: every call looks through them.
inline constexpr size_t kMaxGrants = 256;
inline constexpr size_t kMaxGrantRanges = 256;
// Certificates and keys: a bundle of every authority that a system trusts has a quarter of a megabyte.
inline constexpr size_t kMaxPemBytes = 4 * 1024 * 1024;
// A quota in a second: beyond it a double no longer counts one by one.
inline constexpr uint64_t kMaxQuota = uint64_t{1} << 50;
// How old a count may be by which a write is let in where what is stored has a bound: so far front ends do not know of
// each other's writes, and a busy writer has shards asked once a second. One that is refused was counted for.
inline constexpr int kStoredCountMs = 1'000;
// Who would not fit beside writes that are under way waits so long for what becomes of them, on a worker; they may last
// as long as a client takes no answer, or a log is away. Most are done in some ten milliseconds.
inline constexpr int kStoredWaitMs = 1'000;
// Memories and partitions whose counts are kept, some hundred bytes each; beyond it all are forgotten and counted anew.
inline constexpr size_t kMaxStoredCounts = 65'536;
// Who has to wait for his quota of answers looks so often whether anybody still waits for him, milliseconds.
inline constexpr int kAnswerPauseMs = 500;
// How long a connection takes new calls where certificates of clients are asked for, and as long again its calls go on:
// who is trusted no longer is gone after both. The longest builds and exports have half of it in any case.
inline constexpr int kMaxConnectionAgeMs = 30 * 60 * 1000;
// Leases that one caller who is known may hold at a front end: so many jobs of a tenant, and seven others have as many.
inline constexpr size_t kMaxLeasesOfOne = 32;
// From when on it is said that a certificate ends: time for who renews by hand.
inline constexpr int kCertificateWarningDays = 14;

// --- Storage and index --------------------------------------------------------------------------------------------

// Bytes of its disk that a process keeps free unless an operator says otherwise. They hold what is written whatever is
// refused from then on: what a shard has accepted (kMaxQueuedWriteBytes), the write buffers of the process, which
// become tables (256 MiB), and logs (256 MiB); and tables that are merged, with what was deleted, before they give any
// back.
inline constexpr uint64_t kDiskReserveBytes = uint64_t{1} << 30;
// Beyond it are no disks.
inline constexpr uint64_t kMaxDiskReserveBytes = uint64_t{1} << 50;
// Request ids remembered for exactly-once: at least this many per shard and at least this long.
inline constexpr uint64_t kRememberedRequests = 1'000'000;
inline constexpr int64_t kRememberedRequestMs = 10 * 60 * 1000;
// The FORMAT of a data directory has about 100 bytes.
inline constexpr size_t kMaxFormatBytes = 4'096;
// The manifest of a backup: kMaxShards stores of a hundred bytes each.
inline constexpr size_t kMaxManifestBytes = 65'536;
// The list of a backed up store, a line for each of its files.
inline constexpr size_t kMaxBackupListBytes = size_t{64} << 20;
// Partitions that the receipt of a deletion names, each with its rows: as many as one request may.
inline constexpr size_t kMaxReceiptPartitions = 1'024;
// Receipts that a shard keeps, some forty bytes each: a deletion a minute for two years.
inline constexpr uint64_t kMaxReceipts = 1'000'000;
// Deletions that wait to be erased together, and pairs of one with a partition that it removed something from: what a
// run remembers of them is in ram, some hundred bytes for each pair at most.
inline constexpr uint64_t kMaxWaitingDeletions = 100'000;
inline constexpr uint64_t kMaxWaitingRanges = 1'000'000;
// How long the bytes of what was deleted may stay for others to be erased with them.
inline constexpr uint64_t kMaxEraseAfterSeconds = 30 * 86'400;
// Below this a partition is flat and exact: a scan costs less than two milliseconds at d = 128.
inline constexpr uint64_t kFlatRows = 20'000;
// Rows of a tail that wake the sealer.
inline constexpr uint64_t kSealRows = 16'384;
// Below this an index is not even built on request: k-means on fewer rows says nothing.
inline constexpr uint64_t kMinIndexedRows = 256;
// Mean squared distance of new rows to their centroids, in units of what it was in training, beyond which a codebook no
// longer fits: a half of the way from its centroids to keys that have none near.
inline constexpr double kMaxDrift = 2.0;
// Rows sampled to measure it: the mean of so many squared distances is known to a few percent.
inline constexpr uint64_t kDriftSampleRows = 1'024;
// Segments of one partition before they are merged into one.
inline constexpr size_t kMaxSegments = 6;
// Partitions that are looked at in one round for some to give up their ram: at 25 KiB each, 2 GiB a second. As many
// versions that were replaced while they were read: some eighty thousand a second.
inline constexpr size_t kLooksForSleepers = 4'096;
// Rows sampled to train a codebook, per centroid: FAISS's own upper bound.
inline constexpr size_t kTrainingRowsPerCentroid = 64;
// Ram of one training sample: beyond it a training takes longer and ends no better.
inline constexpr size_t kMaxSampleBytes = size_t{512} << 20;
// Centroids of one codebook, f32: those that are given come in one message, of halves at most, and a training has a
// sixteenth of its sample. So they go from one process to another in one message, too.
inline constexpr size_t kMaxCentroidBytes = 2 * kMaxMessageBytes;

}  // namespace mneme::limits

#endif  // MNEME_COMMON_LIMITS_H_
