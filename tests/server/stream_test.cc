// Streams over the wire: order, visibility, acknowledgements, half-close, back-pressure.
#include <cmath>
#include <map>
#include <cstdlib>
#include <iostream>
#include <random>
#include <set>
#include <thread>

#include "engine/leases.h"
#include "tests/server/test_server.h"

namespace mneme {
namespace {

class StreamTest : public testing::Test {
 protected:
  StreamTest() { EXPECT_TRUE(server_.Create("wiki", 2).ok()); }

  std::unique_ptr<grpc::ClientReaderWriter<v1::QueryStreamRequest, v1::QueryStreamResponse>> OpenQueries() {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    return server_.memory->QueryStream(&context_);
  }
  std::unique_ptr<grpc::ClientReaderWriter<v1::InsertStreamRequest, v1::InsertStreamResponse>> OpenInserts() {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    return server_.memory->InsertStream(&context_);
  }
  // A step that asks for the distribution at (x, 0) and then learns that `token` came there.
  static v1::QueryStreamRequest Step(uint64_t step, float x, uint32_t token) {
    v1::QueryStreamRequest request;
    request.set_step(step);
    *request.mutable_query()->mutable_keys() = F32({x, 0}, 2);
    request.mutable_append()->mutable_entries()->mutable_values()->set_tokens(Column<uint32_t>({token}));
    request.mutable_append()->set_lm_log_probs(Column<float>({std::log(0.5F)}));
    request.mutable_append()->set_durability(v1::DURABILITY_WRITTEN);
    return request;
  }
  static v1::QueryStreamRequest FirstStep(float x, uint32_t token) {
    v1::QueryStreamRequest request = Step(1, x, token);
    v1::QueryRequest* query = request.mutable_query();
    query->set_memory("wiki");
    query->set_k(4);
    query->mutable_search()->set_exact(true);
    query->mutable_distribution()->add_temperatures(1.0);
    return request;
  }

  TestServer server_;
  grpc::ClientContext context_;
};

TEST_F(StreamTest, EveryStepSeesAllThatTheStepsBeforeItAppendedAndNothingElse) {
  auto stream = OpenQueries();
  constexpr uint64_t kSteps = 200;
  // All steps are sent before the first answer is read: order is the server's to keep.
  ASSERT_TRUE(stream->Write(FirstStep(1.0F, 1)));
  for (uint64_t step = 2; step <= kSteps; ++step) ASSERT_TRUE(stream->Write(Step(step, static_cast<float>(step), 1)));
  ASSERT_TRUE(stream->WritesDone());
  v1::QueryStreamResponse response;
  uint64_t acknowledged = 0;
  for (uint64_t step = 1; step <= kSteps; ++step) {
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.step(), step);
    const auto found = Items<uint32_t>(response.response().distribution().found());
    EXPECT_EQ(found, std::vector<uint32_t>{static_cast<uint32_t>(std::min<uint64_t>(step - 1, 4))});
    EXPECT_GE(response.acknowledged_step(), acknowledged);
    acknowledged = response.acknowledged_step();
  }
  ASSERT_TRUE(stream->Read(&response)) << "the last acknowledgement is told before the stream ends";
  EXPECT_EQ(response.acknowledged_step(), kSteps);
  EXPECT_FALSE(response.acknowledged_version().empty());
  EXPECT_FALSE(stream->Read(&response));
  const grpc::Status status = stream->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(server_.Count("wiki"), kSteps);
}

// An append reports twice, "visible" and "done". The later report may come while a later step, which has nothing to
// append or has not submitted it yet, is in the same phase; were it taken for that step's own, the next query would run
// too early.
TEST_F(StreamTest, LateAcknowledgementsNeverLetAStepRunBeforeTheAppendOfTheStepBefore) {
  const char* given = std::getenv("MNEME_TEST_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  std::cout << "seed " << seed << " (MNEME_TEST_SEED repeats it)" << std::endl;
  std::mt19937_64 random(seed);
  constexpr uint64_t kSteps = 600;
  auto stream = OpenQueries();
  std::vector<bool> appends(kSteps + 1);
  std::thread writer([&] {
    for (uint64_t step = 1; step <= kSteps; ++step) {
      v1::QueryStreamRequest request = step == 1 ? FirstStep(1.0F, 1) : Step(step, static_cast<float>(step), 1);
      if (step == 1) {
        request.mutable_query()->set_k(kSteps);
        request.mutable_query()->mutable_neighbours();
      }
      request.mutable_append()->clear_lm_log_probs();
      request.mutable_append()->mutable_entries()->set_ids(Column<uint64_t>({step}));
      if (random() % 2 == 0) request.mutable_append()->set_durability(v1::DURABILITY_SYNC);
      appends[step] = random() % 4 != 0;
      if (!appends[step]) request.clear_append();
      EXPECT_TRUE(stream->Write(request));
    }
    EXPECT_TRUE(stream->WritesDone());
  });
  std::vector<std::vector<uint64_t>> seen(kSteps + 1);
  v1::QueryStreamResponse response;
  for (uint64_t step = 1; step <= kSteps; ++step) {
    if (!stream->Read(&response)) break;
    EXPECT_EQ(response.step(), step);
    seen[step] = Items<uint64_t>(response.response().neighbours().ids());
  }
  while (stream->Read(&response)) {
  }
  writer.join();
  const grpc::Status status = stream->Finish();
  ASSERT_TRUE(status.ok()) << status.error_message();
  std::vector<uint64_t> expected;  // by step: the step before is the nearest
  for (uint64_t step = 1; step <= kSteps; ++step) {
    ASSERT_EQ(seen[step], expected) << "step " << step;
    if (appends[step]) expected.insert(expected.begin(), step);
  }
  EXPECT_EQ(server_.Count("wiki"), expected.size());
}

TEST_F(StreamTest, TheBenefitIsTheGainInLogProbability) {
  auto stream = OpenQueries();
  ASSERT_TRUE(stream->Write(FirstStep(1.0F, 3)));       // nothing is known: p = p_LM, a gain of 0
  ASSERT_TRUE(stream->Write(Step(2, 1.0F, 3)));         // the memory is sure: 0.25 * 1 + 0.75 * 0.5
  ASSERT_TRUE(stream->Write(Step(3, 1.0F, 4)));         // and wrong: 0.75 * 0.5
  ASSERT_TRUE(stream->WritesDone());
  v1::QueryStreamResponse response;
  v1::Benefit benefit;
  while (stream->Read(&response)) benefit = response.benefit();
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(benefit.tokens(), 3U);
  EXPECT_NEAR(benefit.nats(), std::log(0.625 / 0.5) + std::log(0.375 / 0.5), 1e-6);
  v1::GetStatisticsRequest request;
  request.set_memory("wiki");
  v1::GetStatisticsResponse statistics;
  ASSERT_TRUE(TestServer::Call(&v1::AdminService::Stub::GetStatistics, *server_.admin, request, &statistics).ok());
  EXPECT_EQ(statistics.benefit().tokens(), 3U);
}

TEST_F(StreamTest, StreamsKeepTheMemoryThatTheirAliasPointedToUntilAMessageNamesItAgain) {
  ASSERT_TRUE(server_.Create("other", 2).ok());
  const auto point = [&](const std::string& memory) {
    v1::SetAliasRequest request;
    request.set_alias("live");
    request.set_memory(memory);
    v1::SetAliasResponse response;
    ASSERT_TRUE(TestServer::Call(&v1::AdminService::Stub::SetAlias, *server_.admin, request, &response).ok());
  };
  point("wiki");
  auto queries = OpenQueries();
  v1::QueryStreamRequest first = FirstStep(1.0F, 1);
  first.mutable_query()->set_memory("live");
  v1::QueryStreamResponse response;
  ASSERT_TRUE(queries->Write(first) && queries->Read(&response));
  grpc::ClientContext context;
  const auto inserts = server_.memory->InsertStream(&context);
  v1::InsertStreamRequest insert;
  insert.set_sequence(1);
  *insert.mutable_insert() = GoodInsert("live");
  v1::InsertStreamResponse acknowledged;
  ASSERT_TRUE(inserts->Write(insert) && inserts->Read(&acknowledged));

  point("other");
  insert.set_sequence(2);
  insert.mutable_insert()->clear_memory();
  insert.mutable_insert()->mutable_entries()->set_ids(Column<uint64_t>({11, 12}));
  ASSERT_TRUE(inserts->Write(insert) && inserts->Read(&acknowledged) && inserts->WritesDone());
  EXPECT_TRUE(inserts->Finish().ok());
  EXPECT_EQ(server_.Count("other"), 0U);
  ASSERT_TRUE(queries->Write(Step(2, 2.0F, 2)) && queries->Read(&response));
  EXPECT_EQ(Items<uint32_t>(response.response().distribution().found()).front(), 4U);  // k
  first.set_step(3);
  ASSERT_TRUE(queries->Write(first) && queries->Read(&response));
  EXPECT_EQ(Items<uint32_t>(response.response().distribution().found()).front(), 0U);
  ASSERT_TRUE(queries->WritesDone());
  while (queries->Read(&response)) {
  }
  EXPECT_TRUE(queries->Finish().ok());
  EXPECT_EQ(server_.Count("wiki"), 6U) << "the first two steps and both batches";
  EXPECT_EQ(server_.Count("other"), 1U) << "the last step";
}

TEST_F(StreamTest, AStreamReadsOfItsLeaseUntilAMessageNamesTheMemoryAgainAndLearnsIntoThePresent) {
  v1::AcquireLeaseRequest acquire;
  acquire.set_memory("wiki");
  acquire.set_lease_ms(60'000);
  v1::AcquireLeaseResponse granted;
  ASSERT_TRUE(TestServer::Call(&v1::MemoryService::Stub::AcquireLease, *server_.memory, acquire, &granted).ok());
  auto stream = OpenQueries();
  v1::QueryStreamRequest first = FirstStep(1.0F, 1);
  first.mutable_query()->set_lease(granted.lease());
  ASSERT_TRUE(stream->Write(first));
  ASSERT_TRUE(stream->Write(Step(2, 2.0F, 2)));
  ASSERT_TRUE(stream->Write(Step(3, 3.0F, 3)));
  v1::QueryStreamRequest again = FirstStep(4.0F, 4);
  again.set_step(4);
  ASSERT_TRUE(stream->Write(again));
  ASSERT_TRUE(stream->WritesDone());
  std::map<uint64_t, uint32_t> found;
  v1::QueryStreamResponse response;
  while (stream->Read(&response)) {
    if (response.has_response()) {
      found[response.step()] = Items<uint32_t>(response.response().distribution().found()).front();
    }
  }
  const grpc::Status status = stream->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(found, (std::map<uint64_t, uint32_t>{{1, 0}, {2, 0}, {3, 0}, {4, 3}}));
  EXPECT_EQ(server_.Count("wiki"), 4U);
}

TEST_F(StreamTest, AppendedKeysAreTheBytesThatAnInsertStores) {
  ASSERT_TRUE(server_.Create("half", 2, v1::METRIC_L2, v1::VALUE_KIND_TOKEN, 100, v1::DTYPE_F16).ok());
  auto stream = OpenQueries();
  v1::QueryStreamRequest step = FirstStep(0.1F, 7);
  step.mutable_query()->set_memory("half");
  step.mutable_append()->mutable_entries()->set_ids(Column<uint64_t>({10}));
  ASSERT_TRUE(stream->Write(step));
  ASSERT_TRUE(stream->WritesDone());
  v1::QueryStreamResponse answer;
  while (stream->Read(&answer)) {
  }
  ASSERT_TRUE(stream->Finish().ok());
  v1::InsertRequest insert;
  insert.set_memory("half");
  *insert.mutable_entries()->mutable_keys() = F32({0.1F, 0}, 2);
  insert.mutable_entries()->mutable_values()->set_tokens(Column<uint32_t>({7}));
  insert.mutable_entries()->set_ids(Column<uint64_t>({11}));
  ASSERT_TRUE(server_.Insert(insert).ok());
  v1::GetRequest get;
  get.set_memory("half");
  get.set_ids(Column<uint64_t>({10, 11}));
  get.set_with_keys(true);
  v1::GetResponse response;
  ASSERT_TRUE(TestServer::Call(&v1::MemoryService::Stub::Get, *server_.memory, get, &response).ok());
  const std::string keys = response.entries().keys().data();
  ASSERT_EQ(keys.size(), 8U);
  EXPECT_EQ(keys.substr(0, 4), keys.substr(4));
  EXPECT_EQ(response.entries().keys().dtype(), v1::DTYPE_F16);
}

TEST_F(StreamTest, AnAppendWithoutAMemoryOrAQueryEndsTheStream) {
  auto stream = OpenQueries();
  v1::QueryStreamRequest step = Step(1, 0.0F, 1);
  step.clear_query();
  ASSERT_TRUE(stream->Write(step));
  v1::QueryStreamResponse response;
  while (stream->Read(&response)) {
  }
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(DetailOf(status).fields, std::vector<std::string>{"query.memory"});
}

TEST_F(StreamTest, LogProbabilitiesNeedTheRowsOfTheLastQuery) {
  auto stream = OpenQueries();
  v1::QueryStreamRequest step = FirstStep(0.0F, 1);
  *step.mutable_append()->mutable_entries()->mutable_keys() = F32({1, 0, 0, 1}, 2);
  step.mutable_append()->mutable_entries()->mutable_values()->set_tokens(Column<uint32_t>({1, 2}));
  step.mutable_append()->set_lm_log_probs(Column<float>({-1, -1}));
  ASSERT_TRUE(stream->Write(step));
  v1::QueryStreamResponse response;
  while (stream->Read(&response)) {
  }
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(DetailOf(status).fields, std::vector<std::string>{"append.lm_log_probs"});
  EXPECT_EQ(server_.Count("wiki"), 0U);
}

TEST_F(StreamTest, AMalformedStepEndsTheStreamAndTheServerGoesOn) {
  auto stream = OpenQueries();
  v1::QueryStreamRequest step = FirstStep(0.0F, 1);
  step.mutable_query()->set_k(0);
  ASSERT_TRUE(stream->Write(step));
  v1::QueryStreamResponse response;
  EXPECT_FALSE(stream->Read(&response));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(DetailOf(status).fields, std::vector<std::string>{"k"});
  EXPECT_TRUE(server_.Query(GoodQuery("wiki")).ok());
}

TEST_F(StreamTest, InsertsAreAcknowledgedInOrderToTheLast) {
  auto stream = OpenInserts();
  constexpr uint64_t kMessages = 300;
  for (uint64_t sequence = 1; sequence <= kMessages; ++sequence) {
    v1::InsertStreamRequest request;
    request.set_sequence(sequence);
    *request.mutable_insert() = GoodInsert("wiki");
    request.mutable_insert()->mutable_entries()->set_ids(Column<uint64_t>({2 * sequence, 2 * sequence + 1}));
    request.mutable_insert()->set_durability(v1::DURABILITY_WRITTEN);
    if (sequence > 1) {  // the rest is as in the first message
      request.mutable_insert()->clear_memory();
      request.mutable_insert()->clear_durability();
    }
    ASSERT_TRUE(stream->Write(request));
  }
  ASSERT_TRUE(stream->WritesDone());
  v1::InsertStreamResponse response;
  uint64_t acknowledged = 0;
  uint64_t inserted = 0;
  while (stream->Read(&response)) {
    EXPECT_GT(response.sequence(), acknowledged);
    EXPECT_EQ(response.durability(), v1::DURABILITY_WRITTEN);
    EXPECT_EQ(response.window_bytes(), limits::kInsertStreamWindowBytes);
    acknowledged = response.sequence();
    inserted += response.inserted();
  }
  const grpc::Status status = stream->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(acknowledged, kMessages);
  EXPECT_EQ(inserted, 2 * kMessages);
  EXPECT_EQ(server_.Count("wiki"), 2 * kMessages);
}

TEST_F(StreamTest, AGapInTheSequenceEndsTheStreamAfterWhatCameBeforeIsAcknowledged) {
  auto stream = OpenInserts();
  v1::InsertStreamRequest request;
  request.set_sequence(1);
  *request.mutable_insert() = GoodInsert("wiki");
  ASSERT_TRUE(stream->Write(request));
  request.set_sequence(3);
  ASSERT_TRUE(stream->Write(request));
  v1::InsertStreamResponse response;
  uint64_t acknowledged = 0;
  while (stream->Read(&response)) acknowledged = response.sequence();
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(acknowledged, 1U);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(status.error_message(), "sequence is 3; must be 2");
  EXPECT_EQ(DetailOf(status).reason, "SEQUENCE_GAP");
}

TEST_F(StreamTest, AStreamThatNobodyReadsIsHeldBackAndLosesNothing) {
  auto stream = OpenInserts();
  // 40 messages of 1 MiB: more than the window, with no acknowledgement read before the last is sent.
  constexpr uint64_t kMessages = 40;
  ASSERT_TRUE(server_.Create("wide", 1024).ok());
  for (uint64_t sequence = 1; sequence <= kMessages; ++sequence) {
    v1::InsertStreamRequest request;
    request.set_sequence(sequence);
    request.mutable_insert()->set_memory("wide");
    request.mutable_insert()->set_durability(v1::DURABILITY_WRITTEN);
    *request.mutable_insert()->mutable_entries()->mutable_keys() = F32(std::vector<float>(256 * 1024, 0.5F), 1024);
    request.mutable_insert()->mutable_entries()->mutable_values()->set_tokens(
        Column(std::vector<uint32_t>(256, 1)));
    ASSERT_TRUE(stream->Write(request));
  }
  ASSERT_TRUE(stream->WritesDone());
  v1::InsertStreamResponse response;
  size_t ids = 0;
  while (stream->Read(&response)) ids += Items<uint64_t>(response.ids()).size();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(ids, 256 * kMessages);
  EXPECT_EQ(server_.Count("wide"), 256 * kMessages);
}

TEST_F(StreamTest, CancelledStreamsLeaveTheServerWell) {
  for (int i = 0; i < 50; ++i) {
    grpc::ClientContext context;
    auto stream = server_.memory->QueryStream(&context);
    stream->Write(FirstStep(static_cast<float>(i), 1));
    context.TryCancel();
    v1::QueryStreamResponse response;
    while (stream->Read(&response)) {
    }
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_TRUE(server_.Query(GoodQuery("wiki")).ok());
}

TEST_F(StreamTest, ScanPagesGoOnWhereTheLastOneEnded) {
  v1::InsertRequest insert;
  insert.set_memory("wiki");
  *insert.mutable_entries()->mutable_keys() = F32(std::vector<float>(200, 1.0F), 2);
  insert.mutable_entries()->mutable_values()->set_tokens(Column(std::vector<uint32_t>(100, 1)));
  ASSERT_TRUE(server_.Insert(insert).ok());
  v1::ScanRequest request;
  request.set_memory("wiki");
  request.set_page_size(7);
  request.set_page_limit(3);
  std::set<uint64_t> seen;
  int calls = 0;
  do {
    grpc::ClientContext context;
    auto reader = server_.memory->Scan(&context, request);
    v1::ScanResponse page;
    request.clear_page_token();
    while (reader->Read(&page)) {
      for (const uint64_t id : Items<uint64_t>(page.entries().ids())) EXPECT_TRUE(seen.insert(id).second);
      request.set_page_token(page.next_page_token());
    }
    ASSERT_TRUE(reader->Finish().ok());
    ++calls;
  } while (!request.page_token().empty());
  EXPECT_EQ(seen.size(), 100U);
  EXPECT_GE(calls, 5);
}

TEST_F(StreamTest, AScanOfAMemoryThatIsDroppedMidwayIsNotFound) {
  ASSERT_TRUE(server_.Create("gone", 1024).ok());
  // 64 MiB in pages of 256 KiB: far more than a connection holds for a client that does not read.
  v1::InsertRequest insert;
  insert.set_memory("gone");
  *insert.mutable_entries()->mutable_keys() = F32(std::vector<float>(4096 * 1024 / 4, 0.5F), 1024);
  insert.mutable_entries()->mutable_values()->set_tokens(Column(std::vector<uint32_t>(1024, 1)));
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(server_.Insert(insert).ok());
  for (const bool made_anew : {true, false}) {
    v1::ScanRequest request;
    request.set_memory("gone");
    request.set_with_keys(true);
    request.set_page_size(64);
    grpc::ClientContext context;
    auto reader = server_.memory->Scan(&context, request);
    v1::ScanResponse page;
    ASSERT_TRUE(reader->Read(&page));
    v1::DropMemoryRequest drop;
    drop.set_memory("gone");
    v1::DropMemoryResponse dropped;
    ASSERT_TRUE(TestServer::Call(&v1::AdminService::Stub::DropMemory, *server_.admin, drop, &dropped).ok());
    if (made_anew) {
      ASSERT_TRUE(server_.Create("gone", 1024).ok());
      for (int i = 0; i < 16; ++i) ASSERT_TRUE(server_.Insert(insert).ok());
    }
    size_t pages = 1;
    while (reader->Read(&page)) ++pages;
    const grpc::Status status = reader->Finish();
    EXPECT_LT(pages, 256U) << "the client was held back when the memory went";
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND) << status.error_message();
    EXPECT_EQ(DetailOf(status).reason, "MEMORY_NOT_FOUND");
    EXPECT_EQ(DetailOf(status).resource, "gone");
  }
}

class ExportTest : public StreamTest {
 protected:
  // 64 MiB of keys in an index: far more than a connection holds for a client that does not read.
  ExportTest() {
    EXPECT_TRUE(server_.Create("large", 1024).ok());
    v1::InsertRequest insert;
    insert.set_memory("large");
    std::vector<float> keys(1024 * 1024, 0.5F);
    for (size_t i = 0; i < keys.size(); i += 7) keys[i] = static_cast<float>(i % 1013);
    *insert.mutable_entries()->mutable_keys() = F32(keys, 1024);
    insert.mutable_entries()->mutable_values()->set_tokens(Column(std::vector<uint32_t>(1024, 1)));
    for (int i = 0; i < 16; ++i) EXPECT_TRUE(server_.Insert(insert).ok());
    // Any centroids do, and these cost no training.
    v1::BuildIndexRequest build;
    build.set_memory("large");
    *build.mutable_centroids() = F32(std::vector<float>(1024 * 3, 0.5F), 1024);
    grpc::ClientContext context;
    auto reader = server_.admin->BuildIndex(&context, build);
    v1::BuildIndexResponse step;
    while (reader->Read(&step)) {
    }
    const grpc::Status built = reader->Finish();
    EXPECT_TRUE(built.ok()) << built.error_message();
  }
  std::unique_ptr<grpc::ClientReader<v1::ExportIndexResponse>> Open(grpc::ClientContext& context) {
    v1::ExportIndexRequest request;
    request.set_memory("large");
    return server_.admin->ExportIndex(&context, request);
  }
  uint64_t Leases() { return server_.server().deployment().Statistics().leases; }
  // The lease of a call that has ended is given back, be it a moment later.
  void ExpectNoLease() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (Leases() > 0 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    EXPECT_EQ(Leases(), 0U);
  }
};

TEST_F(ExportTest, ComesInMessagesOfFourMebibytesAndGivesItsLeaseBack) {
  grpc::ClientContext context;
  auto reader = Open(context);
  v1::ExportIndexResponse piece;
  ASSERT_TRUE(reader->Read(&piece));
  const v1::ExportedShape shape = piece.shape();
  EXPECT_EQ(shape.dimension(), 1024U);
  EXPECT_EQ(shape.metric(), v1::METRIC_L2);
  EXPECT_EQ(shape.lists(), 3U);
  EXPECT_EQ(shape.entries(), 16U * 1024);
  EXPECT_FALSE(shape.version().empty());
  EXPECT_EQ(Leases(), 1U);
  size_t centroids = 0;
  std::vector<uint64_t> sizes;
  std::set<uint64_t> ids;
  while (reader->Read(&piece)) {
    EXPECT_FALSE(piece.has_shape());
    EXPECT_LE(piece.ByteSizeLong(), 4U * 1024 * 1024);
    EXPECT_EQ(piece.keys().size(), piece.ids().size() / 8 * 4096);
    centroids += piece.centroids().size();
    for (const uint64_t size : Items<uint64_t>(piece.list_sizes())) sizes.push_back(size);
    for (const uint64_t id : Items<uint64_t>(piece.ids())) EXPECT_TRUE(ids.insert(id).second);
  }
  const grpc::Status status = reader->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(centroids, 3U * 4096);
  ASSERT_EQ(sizes.size(), 3U);
  EXPECT_EQ(sizes[0] + sizes[1] + sizes[2], ids.size());
  EXPECT_EQ(ids.size(), 16U * 1024);
  ExpectNoLease();
}

TEST_F(ExportTest, OfAMemoryThatIsDroppedMidwayEndsAsOneThatIsGone) {
  grpc::ClientContext context;
  auto reader = Open(context);
  v1::ExportIndexResponse piece;
  ASSERT_TRUE(reader->Read(&piece));
  v1::DropMemoryRequest drop;
  drop.set_memory("large");
  v1::DropMemoryResponse dropped;
  ASSERT_TRUE(TestServer::Call(&v1::AdminService::Stub::DropMemory, *server_.admin, drop, &dropped).ok());
  size_t pieces = 1;
  while (reader->Read(&piece)) ++pieces;
  const grpc::Status status = reader->Finish();
  EXPECT_LT(pieces, 17U) << "the client was held back when the memory went";
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND) << status.error_message();
  EXPECT_EQ(DetailOf(status).resource, "large");
  ExpectNoLease();
}

TEST_F(ExportTest, EndsWithTheCallAndWithItsDeadline) {
  for (const bool cancel : {true, false}) {
    grpc::ClientContext context;
    if (!cancel) context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
    auto reader = Open(context);
    v1::ExportIndexResponse piece;
    ASSERT_TRUE(reader->Read(&piece));
    if (cancel) context.TryCancel();
    // Nobody reads: only the deadline ends it.
    ExpectNoLease();
    while (reader->Read(&piece)) {
    }
    EXPECT_EQ(reader->Finish().error_code(),
              cancel ? grpc::StatusCode::CANCELLED : grpc::StatusCode::DEADLINE_EXCEEDED);
  }
}

TEST_F(ExportTest, ALeaseThatEndedMeanwhileEndsTheExport) {
  grpc::ClientContext context;
  auto reader = Open(context);
  v1::ExportIndexResponse piece;
  ASSERT_TRUE(reader->Read(&piece));
  const auto memory = server_.server().deployment().FindMemory("large");
  ASSERT_TRUE(memory.ok());
  dynamic_cast<HeldLeases&>(server_.server().deployment().leases()).EndAllOf((*memory)->number);
  while (reader->Read(&piece)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION) << status.error_message();
  EXPECT_EQ(DetailOf(status).reason, "LEASE_EXPIRED");
}

TEST_F(StreamTest, ADryRunTellsWhatADeletionWouldTakeAndTakesNothing) {
  ASSERT_TRUE(server_.Insert(GoodInsert("wiki")).ok());
  v1::DeleteRequest request;
  request.set_memory("wiki");
  request.set_everything(true);
  v1::DeleteResponse response;
  const auto call = [&] {
    return TestServer::Call(&v1::MemoryService::Stub::Delete, *server_.memory, request, &response);
  };
  request.set_dry_run(true);
  ASSERT_TRUE(call().ok());
  EXPECT_EQ(response.receipt().deleted(), 2U);
  EXPECT_TRUE(response.receipt().dry_run());
  EXPECT_EQ(server_.Count("wiki"), 2U);
  request.set_memory("nowhere");
  EXPECT_EQ(call().error_code(), grpc::StatusCode::NOT_FOUND) << "an error on the worker ends the call";
  request.set_memory("wiki");
  request.set_dry_run(false);
  ASSERT_TRUE(call().ok());
  EXPECT_EQ(response.receipt().deleted(), 2U);
  EXPECT_EQ(server_.Count("wiki"), 0U);
}

TEST_F(StreamTest, BuildIndexTellsThatItIsDone) {
  ASSERT_TRUE(server_.Insert(GoodInsert("wiki")).ok());
  v1::BuildIndexRequest request;
  request.set_memory("wiki");
  auto reader = server_.admin->BuildIndex(&context_, request);
  v1::BuildIndexResponse response;
  std::string stage;
  while (reader->Read(&response)) stage = response.stage();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(stage, "done");
}

}  // namespace
}  // namespace mneme
