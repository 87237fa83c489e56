// Converters, both directions, without a server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "common/limits.h"
#include "server/convert_columns.h"
#include "server/convert_entries.h"
#include "server/convert_keys.h"
#include "server/convert_memory.h"
#include "server/convert_selection.h"
#include "server/distribution_plan.h"
#include "server/grpc_status.h"
#include "server/merge_version.h"
#include "server/options.h"
#include "server/query_plan.h"
#include "server/request_error.h"
#include "server/security_options.h"
#include "server/step_append.h"
#include "server/step_template.h"
#include "tests/server/column.h"

namespace mneme {
namespace {

MemorySpec Spec(uint32_t dimension) {
  MemorySpec spec;
  spec.name = "wiki";
  spec.dimension = dimension;
  spec.vocabulary_size = 10;
  return spec;
}

// A memory that a query of one row asks for its k nearest.
QuerySource Source(uint32_t dimension, uint32_t k, double weight = 1.0) {
  QuerySource source;
  auto memory = std::make_shared<MemoryRecord>();
  memory->spec = Spec(dimension);
  source.memory = std::move(memory);
  source.weight = weight;
  source.k = k;
  source.command.count = 1;
  source.command.k = k;
  return source;
}

void Find(const std::vector<double>& scores, const std::vector<uint32_t>& tokens, QuerySource& source) {
  NeighbourColumns& neighbours = source.outcome.neighbours;
  neighbours.offsets = {0, scores.size()};
  neighbours.scores = scores;
  neighbours.values.width = sizeof(Token);
  for (const uint32_t token : tokens) neighbours.values.Append(Column<uint32_t>({token}));
}

v1::Vectors F32(const std::vector<float>& components, uint32_t dimension) {
  v1::Vectors out;
  out.set_data(Column(components));
  out.set_dtype(v1::DTYPE_F32);
  out.set_dimension(dimension);
  return out;
}

TEST(ColumnsTest, AnAbsentColumnIsEmptyAndAWrongLengthIsNamed) {
  std::vector<uint64_t> out = {1};
  EXPECT_TRUE(ReadColumn("ids", "", 3, out).ok());
  EXPECT_TRUE(out.empty());
  EXPECT_TRUE(ReadColumn("ids", Column<uint64_t>({4, 5}), 2, out).ok());
  EXPECT_EQ(out, (std::vector<uint64_t>{4, 5}));
  for (size_t size = 1; size < 16; ++size) {
    const absl::Status status = ReadColumn("ids", std::string(size, 'x'), 2, out);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << size;
  }
}

TEST(ColumnsTest, OffsetsAscendFromZeroToTheEnd) {
  std::vector<size_t> out;
  EXPECT_TRUE(ReadOffsets("o", Column<uint64_t>({0, 2, 2}), 2, 2, out).ok());
  EXPECT_FALSE(ReadOffsets("o", Column<uint64_t>({1, 2, 2}), 2, 2, out).ok());
  EXPECT_FALSE(ReadOffsets("o", Column<uint64_t>({0, 3, 2}), 2, 2, out).ok());
  EXPECT_FALSE(ReadOffsets("o", Column<uint64_t>({0, 1, 1}), 2, 2, out).ok());
  EXPECT_FALSE(ReadOffsets("o", "", 2, 0, out).ok());
}

TEST(ColumnsTest, SinglePrecisionHalvesTheBytes) {
  std::string out;
  const std::vector<double> reals = {0.1, -2.0};
  AppendReals(reals, v1::PRECISION_SINGLE, &out);
  ASSERT_EQ(out.size(), 8U);
  float first = 0;
  std::memcpy(&first, out.data(), sizeof(first));
  EXPECT_EQ(first, 0.1F);
}

TEST(KeysTest, EveryDtypeDecodesToTheSameRows) {
  const std::vector<float> rows = {1.0F, -2.5F, 0.0F, 4.0F};  // exact in every dtype
  v1::Vectors half;
  half.set_dimension(2);
  half.set_dtype(v1::DTYPE_F16);
  half.set_data(Column<uint16_t>({0x3C00, 0xC100, 0x0000, 0x4400}));
  v1::Vectors brain = half;
  brain.set_dtype(v1::DTYPE_BF16);
  brain.set_data(Column<uint16_t>({0x3F80, 0xC020, 0x0000, 0x4080}));
  for (const v1::Vectors& wire : {F32(rows, 2), half, brain}) {
    AlignedBuffer out;
    size_t count = 0;
    ASSERT_TRUE(DecodeKeys("keys", wire, Spec(2), 10, out, count).ok());
    EXPECT_EQ(count, 2U);
    EXPECT_EQ(0, std::memcmp(out.data(), rows.data(), out.size()));
  }
}

TEST(KeysTest, AllOffendingRowsAreNamedUpToTheCap) {
  std::vector<float> rows(2 * 40, std::numeric_limits<float>::quiet_NaN());
  AlignedBuffer out;
  size_t count = 0;
  const absl::Status status = DecodeKeys("keys", F32(rows, 2), Spec(2), 100, out, count);
  EXPECT_EQ(std::string(status.message()), "keys[0] has a NaN at component 0 (and 15 more)");
}

TEST(KeysTest, AKeyThatRoundsToNothingHasNoDirection) {
  MemorySpec spec = Spec(2);
  spec.metric = Metric::kCosine;
  spec.key_dtype = Dtype::kF16;
  AlignedBuffer rows;
  size_t count = 0;
  ASSERT_TRUE(DecodeKeys("keys", F32({1e-9F, 0}, 2), spec, 10, rows, count).ok());
  AlignedBuffer stored;
  EXPECT_FALSE(EncodeStoredKeys("keys", std::move(rows), spec, stored).ok());
}

TEST(EntriesTest, ABatchComesBackAsItWent) {
  MemorySpec spec = Spec(2);
  v1::Entries wire;
  *wire.mutable_keys() = F32({1, 2, 3, 4}, 2);
  wire.mutable_values()->set_tokens(Column<uint32_t>({3, 9}));
  wire.set_ids(Column<uint64_t>({5, 6}));
  wire.set_weights(Column<float>({1, 2}));
  wire.set_scores(Column<double>({0.5, -1}));
  wire.set_labels(Column<int64_t>({-1, 1}));
  wire.set_sources(Column<uint64_t>({1, 2}));
  wire.set_positions(Column<uint64_t>({3, 4}));
  wire.set_expiries_ms(Column<int64_t>({0, 77}));
  EntryColumns columns;
  ASSERT_TRUE(ReadEntries("entries", wire, spec, columns).ok());
  v1::Entries back;
  WriteEntries(columns, spec, &back);
  EXPECT_EQ(back.SerializeAsString(), wire.SerializeAsString());
}

TEST(EntriesTest, BytesValuesKeepTheirLengths) {
  MemorySpec spec = Spec(1);
  spec.value_kind = ValueKind::kBytes;
  v1::Entries wire;
  *wire.mutable_keys() = F32({1, 2}, 1);
  wire.mutable_values()->mutable_blobs()->set_data("abc");
  wire.mutable_values()->mutable_blobs()->set_offsets(Column<uint64_t>({0, 0, 3}));
  EntryColumns columns;
  ASSERT_TRUE(ReadEntries("entries", wire, spec, columns).ok());
  EXPECT_EQ(columns.values.At(0), "");
  EXPECT_EQ(columns.values.At(1), "abc");
  wire.mutable_values()->mutable_blobs()->set_data(std::string(limits::kMaxValueBytes + 1, 'x'));
  wire.mutable_values()->mutable_blobs()->set_offsets(Column<uint64_t>({0, 0, limits::kMaxValueBytes + 1}));
  EXPECT_EQ(std::string(ReadEntries("entries", wire, spec, columns).message()),
            "entries.values.blobs[1] has 65537 bytes; must have at most 65536");
}

TEST(SelectionTest, FilterListsAreSortedWithoutRepeatsAndEmptyOnesAcceptEverything) {
  v1::Filter wire;
  wire.set_ids(Column<uint64_t>({5, 1, 5}));
  RowFilter filter;
  ASSERT_TRUE(ReadFilter("filter", wire, filter).ok());
  EXPECT_EQ(*filter.ids, (std::vector<uint64_t>{1, 5}));
  EXPECT_FALSE(filter.labels.has_value());
}

TEST(MemoryTest, ADescriptionComesBackAsItWent) {
  v1::MemoryDescription wire;
  wire.set_name("wiki");
  wire.set_dimension(8);
  wire.set_metric(v1::METRIC_COSINE);
  wire.set_key_dtype(v1::DTYPE_F16);
  wire.set_value_kind(v1::VALUE_KIND_VECTOR);
  wire.set_value_dimension(3);
  wire.set_spread(v1::SPREAD_ONE);
  wire.set_index("IVF64,pq:4x4");
  wire.set_capacity(300);
  wire.mutable_fingerprint()->set_layer("ffn");
  MemoryRecord record;
  ASSERT_TRUE(ReadMemory(wire, record.spec).ok());
  v1::MemoryDescription back;
  WriteMemory(record, &back);
  EXPECT_EQ(back.SerializeAsString(), wire.SerializeAsString());
}

TEST(MemoryTest, WhatIsNotSaidIsAutomaticAndUnbounded) {
  v1::MemoryDescription wire;
  wire.set_name("wiki");
  wire.set_dimension(8);
  wire.set_metric(v1::METRIC_L2);
  wire.set_value_kind(v1::VALUE_KIND_TOKEN);
  MemoryRecord record;
  ASSERT_TRUE(ReadMemory(wire, record.spec).ok());
  v1::MemoryDescription back;
  WriteMemory(record, &back);
  EXPECT_EQ(back.index(), "auto");
  EXPECT_EQ(back.capacity(), 0U);
  EXPECT_EQ(back.spread(), v1::SPREAD_ALL);
}

TEST(MemoryTest, ACapacityIsKeptOnOneShardAndAFaissNameHasOneSpelling) {
  v1::MemoryDescription wire;
  wire.set_name("pool");
  wire.set_dimension(8);
  wire.set_metric(v1::METRIC_L2);
  wire.set_value_kind(v1::VALUE_KIND_TOKEN);
  wire.set_index("IVF64,SQ8");
  wire.set_capacity(10);
  MemoryRecord record;
  ASSERT_TRUE(ReadMemory(wire, record.spec).ok());
  v1::MemoryDescription back;
  WriteMemory(record, &back);
  EXPECT_EQ(back.index(), "IVF64,int8");
  EXPECT_EQ(back.capacity(), 10U);
  EXPECT_EQ(back.spread(), v1::SPREAD_ONE);
}

TEST(DistributionPlanTest, CellsFollowTemperaturesThenKs) {
  std::vector<QuerySource> sources;
  sources.push_back(Source(1, 2));
  v1::DistributionReadOut wire;
  wire.add_temperatures(1);
  wire.add_temperatures(2);
  wire.add_ks(1);
  wire.add_ks(2);
  DistributionPlan plan;
  ASSERT_TRUE(ReadDistribution(wire, sources, plan).ok());
  Find({0.0, -2.0}, {4, 5}, sources[0]);
  v1::QueryResponse response;
  BenefitCount benefit;
  ASSERT_TRUE(WriteDistribution(plan, sources, v1::PRECISION_DOUBLE, CallLimits{}, &response, benefit).ok());
  const v1::DistributionResult& out = response.distribution();
  std::vector<double> log_probs;
  ASSERT_TRUE(ReadList("p", out.log_probs(), 100, log_probs).ok());
  ASSERT_EQ(log_probs.size(), 6U);
  EXPECT_EQ(log_probs[0], 0.0);  // T = 1, k = 1
  EXPECT_NEAR(log_probs[1], -std::log1p(std::exp(-2.0)), 1e-14);  // T = 1, k = 2
  EXPECT_EQ(log_probs[3], 0.0);  // T = 2, k = 1
  EXPECT_NEAR(log_probs[4], -std::log1p(std::exp(-1.0)), 1e-14);  // T = 2, k = 2
  EXPECT_EQ(out.offsets(), Column<uint64_t>({0, 1, 3, 4, 6}));
}

TEST(DistributionPlanTest, WithoutNeighboursTheMixIsTheModelAlone) {
  std::vector<QuerySource> sources;
  sources.push_back(Source(1, 2));
  v1::DistributionReadOut wire;
  wire.set_targets(Column<uint32_t>({4}));
  wire.mutable_mix()->set_knn_weight(0.9);
  wire.mutable_mix()->set_lm_log_probs(Column<float>({-1.5F}));
  DistributionPlan plan;
  ASSERT_TRUE(ReadDistribution(wire, sources, plan).ok());
  Find({}, {}, sources[0]);
  v1::QueryResponse response;
  BenefitCount benefit;
  ASSERT_TRUE(WriteDistribution(plan, sources, v1::PRECISION_DOUBLE, CallLimits{}, &response, benefit).ok());
  const v1::DistributionResult& out = response.distribution();
  EXPECT_EQ(out.target_log_probs(), Column<double>({-1.5}));
  EXPECT_EQ(benefit.tokens, 1U);
  EXPECT_EQ(benefit.nats, 0.0);
}

TEST(DistributionPlanTest, EachSourceOfAMixtureTellsWhatItFoundAndItsWeightInEachCell) {
  std::vector<QuerySource> sources;
  sources.push_back(Source(1, 2, 1.0));
  sources.push_back(Source(1, 1, 3.0));
  v1::DistributionReadOut wire;
  wire.add_ks(1);
  wire.add_ks(2);
  wire.set_allowed_tokens(Column<uint32_t>({5, 6}));
  DistributionPlan plan;
  ASSERT_TRUE(ReadDistribution(wire, sources, plan).ok());
  Find({0.0, -2.0}, {4, 5}, sources[0]);
  Find({-1.0}, {6}, sources[1]);
  v1::QueryResponse response;
  response.add_sources();
  response.add_sources();
  BenefitCount benefit;
  ASSERT_TRUE(WriteDistribution(plan, sources, v1::PRECISION_SINGLE, CallLimits{}, &response, benefit).ok());
  EXPECT_EQ(response.distribution().found(), Column<uint32_t>({3}));
  EXPECT_EQ(response.distribution().min_distances(), Column<float>({0}));
  EXPECT_EQ(response.distribution().tokens(), Column<uint32_t>({6, 6, 5}));  // the first's first: not allowed
  EXPECT_EQ(response.sources(0).found(), Column<uint32_t>({2}));
  EXPECT_EQ(response.sources(1).found(), Column<uint32_t>({1}));
  EXPECT_EQ(response.sources(0).weights(), Column<double>({0, 0.25}));
  EXPECT_EQ(response.sources(1).weights(), Column<double>({1, 0.75}));
}

TEST(DistributionPlanTest, KsAreAtMostTheGreatestKOfASource) {
  std::vector<QuerySource> sources;
  sources.push_back(Source(1, 2));
  sources.push_back(Source(1, 5));
  v1::DistributionReadOut wire;
  DistributionPlan plan;
  ASSERT_TRUE(ReadDistribution(wire, sources, plan).ok());
  EXPECT_EQ(plan.ks, std::vector<uint32_t>{5});
  wire.add_ks(5);
  EXPECT_TRUE(ReadDistribution(wire, sources, plan).ok());
  wire.set_ks(0, 6);
  EXPECT_FALSE(ReadDistribution(wire, sources, plan).ok());
}

TEST(StepTemplateTest, SourcesMakeATemplateThatForgetsTheirVersions) {
  StepTemplate step_template;
  v1::QueryRequest first;
  first.add_sources()->set_memory("wiki");
  first.mutable_sources(0)->set_weight(2);
  first.mutable_sources(0)->set_at_least_version("seen");
  ASSERT_TRUE(step_template.Complete(first).ok());
  EXPECT_EQ(first.sources(0).at_least_version(), "seen");
  v1::QueryRequest second;
  ASSERT_TRUE(step_template.Complete(second).ok());
  ASSERT_EQ(second.sources_size(), 1);
  EXPECT_EQ(second.sources(0).memory(), "wiki");
  EXPECT_EQ(second.sources(0).weight(), 2.0);
  EXPECT_EQ(second.sources(0).at_least_version(), "");
  v1::QueryRequest third;
  third.set_memory("news");
  ASSERT_TRUE(step_template.Complete(third).ok());
  v1::QueryRequest fourth;
  ASSERT_TRUE(step_template.Complete(fourth).ok());
  EXPECT_EQ(fourth.sources_size(), 0);
  EXPECT_EQ(fourth.memory(), "news");
}

TEST(StepTemplateTest, WhatIsLeftOutIsAsInTheLastMessageThatNamedAMemory) {
  StepTemplate step_template;
  v1::QueryRequest first;
  EXPECT_FALSE(step_template.Complete(first).ok());
  first.set_memory("wiki");
  first.set_k(7);
  first.mutable_search()->set_exact(true);
  first.set_allow_partial(true);
  first.mutable_distribution()->set_top_m(3);
  ASSERT_TRUE(step_template.Complete(first).ok());
  v1::QueryRequest second;
  second.mutable_neighbours();
  ASSERT_TRUE(step_template.Complete(second).ok());
  EXPECT_EQ(second.k(), 7U);
  EXPECT_TRUE(second.search().exact());
  EXPECT_TRUE(second.allow_partial());
  EXPECT_TRUE(second.has_neighbours());
  v1::QueryRequest third;
  third.set_memory("news");
  ASSERT_TRUE(step_template.Complete(third).ok());
  v1::QueryRequest fourth;
  ASSERT_TRUE(step_template.Complete(fourth).ok());
  EXPECT_EQ(fourth.memory(), "news");
  EXPECT_EQ(fourth.k(), 0U);
  EXPECT_FALSE(fourth.allow_partial());
}

TEST(VersionTest, TheMergedVersionShowsBothWrites) {
  Version into{1, {{0, 5}, {2, 9}}};
  MergeVersion({1, {{0, 3}, {1, 4}, {2, 10}}}, into);
  ASSERT_EQ(into.parts.size(), 3U);
  EXPECT_EQ(into.parts[0].sequence, 5U);
  EXPECT_EQ(into.parts[1].sequence, 4U);
  EXPECT_EQ(into.parts[2].sequence, 10U);
}

TEST(GrpcStatusTest, EveryErrorCarriesAReasonAndInternalTellsNothing) {
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status = ToGrpcStatus(absl::Status(static_cast<absl::StatusCode>(code), "secret"));
    google::rpc::Status details;
    ASSERT_TRUE(details.ParseFromString(status.error_details()));
    google::rpc::ErrorInfo info;
    ASSERT_TRUE(details.details_size() > 0 && details.details(0).UnpackTo(&info)) << code;
    EXPECT_FALSE(info.reason().empty()) << code;
    EXPECT_EQ(info.domain(), "mneme.v1");
    const bool hidden = code == 2 || code == 13;
    EXPECT_EQ(status.error_code(), hidden ? 13 : code);
    EXPECT_EQ(status.error_message() == "secret", !hidden);
  }
}

TEST(GrpcStatusTest, WhoIsRefusedIsToldWhenToComeBackWhereWaitingHelps) {
  const struct {
    std::string_view reason;
    bool waits;
  } cases[] = {{reason::kQueueFull, true}, {reason::kMemoryLimit, true}, {reason::kRateLimit, true},
               {reason::kStorageLow, true}, {reason::kStorageFull, false}, {reason::kStoredQuota, false}};
  for (const auto& each : cases) {
    google::rpc::Status details;
    const absl::Status refused = WithReason(absl::ResourceExhaustedError("full"), each.reason);
    ASSERT_TRUE(details.ParseFromString(ToGrpcStatus(refused).error_details()));
    const bool waits = std::any_of(details.details().begin(), details.details().end(),
                                   [](const auto& detail) { return detail.template Is<google::rpc::RetryInfo>(); });
    EXPECT_EQ(waits, each.waits) << each.reason;
  }
}

TEST(GrpcStatusTest, AQuotaThatRefusesIsToldWhole) {
  const absl::Status refused = WithQuota(absl::ResourceExhaustedError("no more"), reason::kStoredQuota,
                                         {"tenant-7", "stored-entries", 100, 98});
  EXPECT_EQ(QuotaOf(refused), "stored-entries");
  EXPECT_EQ(QuotaOf(absl::ResourceExhaustedError("a queue is full")), "");
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(ToGrpcStatus(refused).error_details()));
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(details.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "STORED_QUOTA");
  EXPECT_EQ(info.metadata().at("caller"), "tenant-7");
  EXPECT_EQ(info.metadata().at("quota"), "stored-entries");
  EXPECT_EQ(info.metadata().at("bound"), "100");
  EXPECT_EQ(info.metadata().at("used"), "98");
}

TEST(GrpcStatusTest, DetailsStayBelowTheirBound) {
  FieldErrors errors;
  for (int i = 0; i < 100; ++i) errors.Add(std::string(400, 'f'), std::string(400, 'w'));
  const grpc::Status status = ToGrpcStatus(errors.ToStatus());
  EXPECT_LE(status.error_details().size(), limits::kMaxErrorDetailBytes);
  EXPECT_LE(status.error_message().size(), size_t{1024});
}

ParsedOptions Parse(std::vector<const char*> flags) {
  flags.insert(flags.begin(), "mneme-server");
  return ParseOptions(static_cast<int>(flags.size()), flags.data());
}

TEST(OptionsTest, WhatIsWrongIsNamedWithItsBoundAndExitsWithTwo) {
  const std::vector<std::pair<std::vector<const char*>, std::string>> rows = {
      {{}, "--data-dir"},
      {{"--data-dir", "d", "--shards", "257"}, "257"},
      {{"--data-dir", "d", "--listen", "0.0.0.0:7700"}, "--insecure-listen"},
      {{"--data-dir", "d", "--insecure-listen", "--admin-listen", "0.0.0.0:7701"}, "--insecure-admin-listen"},
      {{"--role", "frontend", "--shard-addresses", "shard-0:7700", "--shard-token-file", "f", "--insecure-listen"},
       "--insecure-shard-token"},
      {{"--data-dir", "d", "--listen", "127.0.0.1"}, "HOST:PORT"},
      {{"--data-dir", "d", "--listen", "127.0.0.1:70000"}, "65535"},
      {{"--data-dir", "d", "--drain-delay", "soon"}, "--drain-delay is \"soon\""},
      {{"--data-dir", "d", "--ram-limit", "1024"}, "--ram-limit is \"1024\"; must be 0, or a size"},
      {{"--data-dir", "d", "--role", "shard"}, "--role"},
      {{"--data-dir", "d", "--nonsense"}, "--nonsense"},
      {{"--data-dir", "d", "--backup-dir", "./d/"}, "must not be the --data-dir"},
      {{"--data-dir", "d/", "--backup-dir", "e/../d/checkpoint"}, "must not be the --data-dir or in it"},
      {{"--data-dir", "d", "--verify-backup="}, "--verify-backup: "},
      {{"--data-dir", "--check-config"}, "--data-dir is \"--check-config\"; must be a value, and not an option"},
      {{"--data-dir", "d", "--restore-backup", ""}, "--restore-backup is \"\"; must be given, and not empty"},
      {{"--data-dir", "d", "--backup-number", "3"}, "--restore-backup"},
      {{"--restore-backup", "b"}, "--data-dir is empty"},
      {{"--restore-backup", "b", "--verify-backup", "b", "--data-dir", "d"}, "must be one of them"},
      {{"--restore-backup", "b", "--data-dir", "d", "--role", "shard"}, "--role is shard"},
      {{"--restore-backup", "b", "--data-dir", "d", "--log", "kafka://broker:9092/mneme"},
       "--log is \"kafka://broker:9092/mneme\", but --until is not given"},
      {{"--backup-shard", "1", "--data-dir", "d"}, "--backup-shard is given; needs --verify-backup or"},
      {{"--restore-backup", "b", "--data-dir", "d", "--backup-shard", "256"}, "--backup-shard is \"256\"; must be"},
      {{"--restore-backup", "b", "--data-dir", "d", "--deployment", "0123456789abcdef"}, "needs --restore-backup and"},
      {{"--restore-backup", "b", "--data-dir", "d", "--backup-shard", "1", "--deployment", "12"}, "16 hexadecimal"},
      {{"--restore-backup", "b", "--data-dir", "d", "--backup-shard", "1", "--shards", "2"}, "--shards is 2, but"},
      {{"--restore-backup", "b", "--data-dir", "d", "--backup-shard", "1", "--apart"}, "--apart is given, but"},
      {{"--push-backups", "b", "--pull-backups", "b"}, "must be one of them"},
      {{"--push-backups", "b", "--object-store", "s3://c"}, "--object-store-settings is empty"},
      {{"--pull-backups", "b", "--object-store-settings", "f"}, "--object-store is empty; must be where copies"},
      {{"--push-backups", "b", "--object-store", "c", "--object-store-settings", "f"}, "must be s3://BUCKET"},
      {{"--data-dir", "d", "--object-store", "s3://c"},
       "--object-store is \"s3://c\", where copies of backups are; needs --push-backups or"},
      {{"--data-dir", "d", "--object-store-settings", "f"},
       "--object-store-settings is \"f\", the file that says how the store of copies of backups is reached; needs "
       "--push-backups or --pull-backups"},
      {{"--verify-backup", "b", "--object-store-settings", "f"}, "--object-store-settings is \"f\", the file"},
      {{"--verify-backup", "b", "--apart"}, "--apart is given; needs --restore-backup"},
      {{"--restore-backup", "b", "--data-dir", "d", "--until", "1,2"}, "--until is given without --log"},
      {{"--restore-backup", "b", "--data-dir", "d", "--until", "yesterday"}, "--until is \"yesterday\"; must be"},
      {{"--restore-backup", "b", "--data-dir", "d", "--until", "infinite-future"}, "must be a time, such as"},
      {{"--restore-backup", "b", "--data-dir", "d", "--until", "infinite-past"}, "must be a time, such as"},
  };
  for (const auto& [flags, text] : rows) {
    const ParsedOptions parsed = Parse(flags);
    EXPECT_FALSE(parsed.run) << text;
    EXPECT_EQ(parsed.exit_code, 2) << text;
    EXPECT_THAT(parsed.text, testing::HasSubstr(text));
  }
}

TEST(OptionsTest, WhatIsWrongWithAReplicatedLogIsNamed) {
  constexpr char kLog[] = "kafka://broker:9092/mneme";
  using Flags = std::vector<const char*>;
  const auto shard = [](const char* addresses, Flags more) {
    Flags flags = {"--data-dir", "d", "--role", "shard", "--shard-addresses", addresses};
    flags.insert(flags.end(), more.begin(), more.end());
    return flags;
  };
  const std::vector<std::pair<Flags, std::string>> rows = {
      {{"--data-dir", "d", "--log", kLog}, "--role all has its own"},
      {{"--data-dir", "d", "--log-settings", "f"}, "--log-settings is given without --log"},
      {{"--data-dir", "d", "--replica", "1"}, "--replica is 1; must be 0 without --log"},
      {shard("a:1|a:2", {}), "--shard-addresses has \"a:1|a:2\"; must be one address of each shard without --log"},
      {shard("a:1", {"--replica", "1"}), "--replica is 1; must be 0 without --log"},
      {shard("a:1", {"--log", kLog, "--replica", "1"}), "--replica is 1; must be below the 1 of shard 0"},
      {shard("a:1|a:2,b:1", {"--log", kLog, "--shard-number", "1", "--replica", "1"}), "below the 1 of shard 1"},
      {shard("a:1|a:2", {"--log", kLog, "--replica", "99"}), "--replica"},
      {shard("a:1|", {"--log", kLog}), "--shard-addresses has \"\"; must be HOST:PORT"},
      {shard("a:1|a:0", {"--log", kLog}), "--shard-addresses has \"a:0\""},
      {shard("a:1|b:1|a:1", {"--log", kLog}), "--shard-addresses has a:1 twice in \"a:1|b:1|a:1\""},
      {shard("a:1", {"--log", "zookeeper://a:1/t"}), "--log is \"zookeeper://a:1/t\"; must be kafka://"},
      {shard("a:1,b:1", {"--log", kLog, "--shard-number", "1", "--accept-empty-shard"}), "--accept-empty-shard"},
      {{"--role", "frontend", "--shard-addresses", "a:1|a:2", "--log", kLog, "--replica", "1"}, "--role shard"},
      {{"--role", "frontend", "--shard-addresses", "127.0.0.1:1|a:2", "--log", kLog, "--shard-token-file", "f"},
       "would be shown to a:2 unencrypted"},
  };
  for (const auto& [flags, text] : rows) {
    const ParsedOptions parsed = Parse(flags);
    EXPECT_FALSE(parsed.run) << text;
    EXPECT_THAT(parsed.text, testing::HasSubstr(text));
  }
  std::string many = "a:1";
  for (uint32_t i = 0; i < limits::kMaxReplicas; ++i) many += "|a:1";
  EXPECT_THAT(Parse(shard(many.c_str(), {"--log", kLog})).text, testing::HasSubstr("must be at most 16"));
}

TEST(OptionsTest, ReplicasOfAShardStandBesideEachOther) {
  const ParsedOptions parsed = Parse({"--data-dir", "d", "--role", "shard", "--shard-number", "1", "--replica", "1",
                                      "--shard-addresses", "a:1|a:2,[::1]:1|b:2", "--log", "kafka://h:1,i:2/t"});
  ASSERT_TRUE(parsed.run) << parsed.text;
  EXPECT_EQ(ShardsOf(parsed.options), 2U);
  EXPECT_EQ(ReplicasOf(parsed.options.shard_addresses[1]), (std::vector<std::string>{"[::1]:1", "b:2"}));
  EXPECT_EQ(parsed.options.replica, 1U);
  const std::string json = OptionsJson(parsed.options);
  EXPECT_THAT(json, testing::HasSubstr(R"("log":"kafka://h:1,i:2/t")"));
  EXPECT_THAT(json, testing::HasSubstr(R"("replica":1)"));
  EXPECT_THAT(json, testing::HasSubstr(R"("shard_addresses":["a:1|a:2","[::1]:1|b:2"])"));
}

TEST(OptionsTest, AFileOfLogSettingsIsNamedWithWhatIsWrongInIt) {
  const std::string path = (std::filesystem::temp_directory_path() / "mneme_log_settings").string();
  const auto check = [&](const std::string& text, mode_t mode) {
    std::ofstream(path, std::ios::trunc) << text;
    chmod(path.c_str(), mode);
    ServerOptions options;
    options.role = Role::kFrontEnd;
    options.log_settings = path;
    return std::string(CheckFiles(options).message());
  };
  EXPECT_EQ(check("security.protocol=ssl\n", 0600), "");
  EXPECT_THAT(check("acks=1\n", 0600), testing::HasSubstr("--log-settings " + path + " "));
  EXPECT_THAT(check("security.protocol=ssl\n", 0620), testing::HasSubstr("chmod go-w"));
  std::filesystem::remove(path);
  ServerOptions gone;
  gone.log_settings = path;
  EXPECT_THAT(std::string(CheckFiles(gone).message()), testing::HasSubstr("--log-settings " + path));
}

TEST(OptionsTest, ALogThatOthersMayReadOnTheWayIsKnown) {
  ServerOptions options;
  EXPECT_FALSE(LogIsInTheClear(options));
  options.log = "kafka://127.0.0.1:1,localhost:2/t";
  EXPECT_FALSE(LogIsInTheClear(options));
  options.log = "kafka://127.0.0.1:1,broker:2/t";
  EXPECT_TRUE(LogIsInTheClear(options));
  const std::string path = (std::filesystem::temp_directory_path() / "mneme_log_settings_tls").string();
  for (const auto& [protocol, clear] : {std::pair("sasl_plaintext", true), std::pair("SASL_SSL", false)}) {
    std::ofstream(path, std::ios::trunc) << "security.protocol=" << protocol << "\n";
    chmod(path.c_str(), 0600);
    options.log_settings = path;
    EXPECT_EQ(LogIsInTheClear(options), clear) << protocol;
  }
  std::filesystem::remove(path);
}

TEST(OptionsTest, AFlagWinsOverTheEnvironment) {
  setenv("MNEME_SHARDS", "4", 1);
  EXPECT_EQ(Parse({"--data-dir", "d"}).options.shards, 4U);
  EXPECT_EQ(Parse({"--data-dir", "d", "--shards", "2"}).options.shards, 2U);
  unsetenv("MNEME_SHARDS");
  const ParsedOptions parsed = Parse({"--data-dir", "d", "--listen", "127.0.0.1:0", "--ram-limit", "1GiB"});
  ASSERT_TRUE(parsed.run) << parsed.text;
  EXPECT_EQ(parsed.options.listen, std::vector<std::string>{"127.0.0.1:0"});
  EXPECT_EQ(parsed.options.ram_limit_bytes, uint64_t{1} << 30);
  EXPECT_EQ(parsed.options.disk_reserve_bytes, limits::kDiskReserveBytes);
  EXPECT_EQ(Parse({"--data-dir", "d", "--disk-reserve", "24MiB"}).options.disk_reserve_bytes, uint64_t{24} << 20);
  EXPECT_EQ(Parse({"--data-dir", "d", "--disk-reserve", "0"}).options.disk_reserve_bytes, 0U);
}

}  // namespace
}  // namespace mneme
