// Records of a log: what is written is what is read, and nothing else is read at all.
#include "engine/log_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/common/hex.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ColumnsOf;
using testing::Hex;
using testing::TokenMemory;

constexpr uint64_t kDeployment = 0x0123456789abcdef;

MemoryHandle Memory() {
  MemoryRecord record;
  record.number = 7;
  record.spec = TokenMemory("wiki", 2);
  return std::make_shared<const MemoryRecord>(record);
}

WriteTicket Ticket(bool with_request = true) {
  WriteTicket ticket;
  ticket.memory = Memory();
  ticket.stamp_ms = 1'717'000'000'123;
  if (with_request) ticket.request = RequestIdentity{{0x1122334455667788, 0x99AABBCCDDEEFF00}, 42};
  return ticket;
}

InsertOperation Insert() {
  InsertOperation insert;
  insert.ticket = Ticket();
  insert.partition = 3;
  insert.bulk = true;
  Attributes attributes;
  attributes.weight = 2.0F;
  attributes.label = -5;
  attributes.source = 11;
  attributes.expiry_ms = 99;
  insert.entries = ColumnsOf(Memory()->spec, {{.id = 1, .key = {0.5F, -1.0F}, .token = 4, .attributes = attributes},
                                              {.id = 9, .key = {2.0F, 3.0F}, .token = 5}});
  return insert;
}

// Of a memory of BYTES, whose values have their own lengths, without ids.
InsertOperation InsertBytes() {
  InsertOperation insert;
  insert.ticket = Ticket(/*with_request=*/false);
  for (const char* value : {"a", "", "longer"}) {
    EntryView entry;
    entry.key = "12345678";
    entry.value = value;
    insert.entries.Append(entry);
  }
  insert.entries.ids.clear();
  return insert;
}

DeleteOperation Delete() {
  DeleteOperation erase;
  erase.ticket = Ticket();
  erase.partitions = {0, 2};
  erase.filter.emplace();
  erase.filter->labels = {-1, 4};
  erase.filter->created_to_ms = 1000;
  return erase;
}

RememberOperation Remember() {
  RememberOperation remember;
  remember.ticket = Ticket();
  remember.partition = 2;
  const float queries[] = {1.0F, 2.0F, 3.0F, 4.0F};
  remember.batch.queries.Append({reinterpret_cast<const char*>(queries), sizeof(queries)});
  remember.batch.count = 2;
  remember.batch.labels = {7, 8};
  remember.batch.options.seed = 3;
  remember.batch.options.want_mask = true;
  return remember;
}

// Every action there is.
StateOperation States() {
  ApplyStates apply;
  apply.session_expiry_ms = 5000;
  const StateRows rows{{1.0F, 2.0F}, 2};
  const std::vector<StateAction> actions = {RegisterPut{"value", 10},
                                            RegisterGet{},
                                            RegisterCas{3, "next", 0},
                                            RemoveState{},
                                            LinearApply{rows, rows, rows, LinearRule::kDelta,
                                                        LinearOrder::kWriteThenRead, 64, 1e-6},
                                            LinearGet{},
                                            FeedbackAttend{2, 0.5, 3, false, rows, rows, rows, rows, rows, rows},
                                            FeedbackGet{},
                                            CountersAdd{{1, 2}, {3, 4}, {-5, 6}},
                                            CountersGet{{1}}};
  for (const StateAction& action : actions) apply.commands.push_back({"agent/1", "memory", action});
  StateOperation states;
  states.ticket = Ticket();
  states.request = std::move(apply);
  return states;
}

StateOperation PutState() {
  PutSession put;
  put.session = "agent";
  put.expiry_ms = 77;
  put.states["draft"] = std::make_shared<const StateRecord>(
      StateRecord{.kind = StateKind::kRegister, .version = 3, .expiry_ms = 0, .payload = "text"});
  StateOperation states;
  states.ticket = Ticket();
  states.request = std::move(put);
  return states;
}

StateOperation Request(StateRequest request) {
  StateOperation states;
  states.ticket = Ticket();
  states.request = std::move(request);
  return states;
}

std::string Encoded(WriteOperation operation) {
  const auto encoded = EncodeLogRecord(kDeployment, operation);
  EXPECT_TRUE(encoded.ok()) << encoded.status();
  return encoded.value_or("");
}

std::string Command(LoggedOperation operation, MemoryNumber memory = 0) {
  return EncodeLogRecord({memory, 5, std::move(operation), kDeployment});
}

MemorySpec Spec() {
  MemorySpec spec = TokenMemory("wiki", 128, Metric::kCosine);
  spec.index = {{CodecKind::kPq, 64, 4}, 4096};
  spec.capacity = 300;
  spec.spread = Spread::kOne;
  spec.fingerprint = {"gpt2", "", "h.11", "", 1000, "none"};
  return spec;
}

// Row 5 takes in two, row 2 one.
MergeRowsCommand Merge() { return {3, {{{5, 1}, {2, 9}}, {2, 1}, {{6, 4}, {1, 1ULL << 62}, {7, 5}}}}; }

struct Example {
  std::string name;
  std::string record;
};

std::vector<Example> Examples() {
  return {{"insert", Encoded(Insert())},
          {"insert of bytes", Encoded(InsertBytes())},
          {"delete", Encoded(Delete())},
          {"remember", Encoded(Remember())},
          {"states", Encoded(States())},
          {"put session", Encoded(PutState())},
          {"reset", Encoded(Request(ResetSessions{{"a", "b/c"}}))},
          {"fork", Encoded(Request(ForkSession{"a", "a/b", true}))},
          {"create", Command(CreateMemoryCommand{Spec(), {1, 2}})},
          {"drop", Command(DropMemoryCommand{"wiki", {3, 4}})},
          {"swing", Command(SetAliasCommand{{"live", "wiki", "old"}, {5, 6}})},
          {"drop alias", Command(DropAliasCommand{"live", {7, 8}})},
          {"expire rows", Command(ExpireRowsCommand{3, {{7, 1}, {9, 1ULL << 62}}}, 7)},
          {"expire states", Command(ExpireStatesCommand{{{99, 7, 0, "agent", ""}, {100, 8, 5, "agent", "draft"}}})},
          {"read marker", Command(ReadMarker{})},
          {"merge rows", Command(Merge(), 7)},
          {"found", Command(FoundCommand{4})},
          {"set replicas", Command(SetReplicasCommand{0, {"a:1"}, {"a:1", "", "b:2"}, {9, 10}, true})}};
}

TEST(LogRecordTest, WhatIsReadIsWrittenAgainToTheByte) {
  for (const Example& each : Examples()) {
    const auto record = DecodeLogRecord(each.record);
    ASSERT_TRUE(record.ok()) << each.name << ": " << record.status();
    EXPECT_EQ(Hex(EncodeLogRecord(*record)), Hex(each.record)) << each.name;
  }
}

TEST(LogRecordTest, AnInsertIsWhatItWas) {
  const LogRecord record = DecodeLogRecord(Encoded(Insert())).value();
  EXPECT_EQ(record.memory, 7U);
  EXPECT_EQ(record.stamp_ms, 1'717'000'000'123);
  const auto& insert = std::get<InsertOperation>(record.operation);
  const InsertOperation expected = Insert();
  EXPECT_EQ(insert.ticket.request->id, expected.ticket.request->id);
  EXPECT_EQ(insert.ticket.request->content, 42U);
  EXPECT_EQ(insert.ticket.memory, nullptr) << "who reads it knows the memory of the number";
  EXPECT_EQ(insert.partition, 3U);
  EXPECT_TRUE(insert.bulk);
  EXPECT_EQ(insert.entries.keys.view(), expected.entries.keys.view());
  EXPECT_THAT(insert.entries.ids, ElementsAre(1, 9));
  EXPECT_EQ(insert.entries.weights, expected.entries.weights);
  EXPECT_EQ(insert.entries.labels, expected.entries.labels);
  EXPECT_EQ(insert.entries.expiries_ms, expected.entries.expiries_ms);
  EXPECT_EQ(insert.entries.At(1).value, expected.entries.At(1).value);
  EXPECT_TRUE(insert.entries.scores.empty());
}

TEST(LogRecordTest, ADeleteKeepsWhatIsAbsentApartFromWhatIsEmpty) {
  DeleteOperation erase = Delete();
  erase.filter->ids.emplace();
  const LogRecord record = DecodeLogRecord(Encoded(std::move(erase))).value();
  const auto& read = std::get<DeleteOperation>(record.operation);
  ASSERT_TRUE(read.filter.has_value());
  EXPECT_TRUE(read.filter->ids.has_value());
  EXPECT_TRUE(read.filter->ids->empty());
  EXPECT_FALSE(read.filter->sources.has_value());
  EXPECT_EQ(read.filter->created_to_ms, 1000);
  EXPECT_FALSE(read.ids.has_value());
}

TEST(LogRecordTest, StatesKeepEveryAction) {
  const LogRecord record = DecodeLogRecord(Encoded(States())).value();
  const auto& read = std::get<StateOperation>(record.operation);
  EXPECT_EQ(ContentOf(read.request), ContentOf(States().request)) << "a checksum of everything that it asks";
}

TEST(LogRecordTest, AMemoryIsCreatedAsItWasDescribed) {
  const LogRecord record = DecodeLogRecord(Command(CreateMemoryCommand{Spec()})).value();
  EXPECT_EQ(std::get<CreateMemoryCommand>(record.operation).spec, Spec());
}

TEST(LogRecordTest, OnlyAChangeOfTheCatalogueHasTheIdOfOne) {
  size_t changes = 0;
  for (const Example& each : Examples()) {
    const LogRecord record = DecodeLogRecord(each.record).value();
    const Hash128* const request = RequestOfChange(record.operation);
    if (request == nullptr) continue;
    EXPECT_EQ(request->high, request->low + 1) << each.name;
    ++changes;
  }
  EXPECT_EQ(changes, 5U);
  EXPECT_FALSE(NewChangeRequest() == NewChangeRequest());
}

TEST(LogRecordTest, HasItsGoldenBytes) {
  EXPECT_EQ(Hex(EncodeLogRecord({0, 258, DropMemoryCommand{"wiki", {1, 2}}, kDeployment})).substr(0, 3 * 43),
            "02 06 ef cd ab 89 67 45 23 01 00 00 00 00 02 01 00 00 00 00 00 00 04 77 69 6b 69 "
            "01 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 ");
  EXPECT_EQ(Hex(EncodeLogRecord({0, 258, FoundCommand{4}, kDeployment})).substr(0, 3 * 26),
            "02 0d ef cd ab 89 67 45 23 01 00 00 00 00 02 01 00 00 00 00 00 00 04 00 00 00 ");
  const ExpireRowsCommand rows{3, {{300, 5}}};
  EXPECT_EQ(Hex(EncodeLogRecord({7, 258, rows, kDeployment})).substr(0, 3 * 47),
            "02 09 ef cd ab 89 67 45 23 01 07 00 00 00 02 01 00 00 00 00 00 00 "
            "03 00 00 00 00 00 00 00 01 2c 01 00 00 00 00 00 00 05 00 00 00 00 00 00 00 ");
  const ExpireStatesCommand states{{{99, 7, 5, "agent", "draft"}}};
  EXPECT_EQ(Hex(EncodeLogRecord({0, 258, states, kDeployment})).substr(0, 3 * 55),
            "02 0a ef cd ab 89 67 45 23 01 00 00 00 00 02 01 00 00 00 00 00 00 "
            "01 63 00 00 00 00 00 00 00 07 00 00 00 05 00 00 00 00 00 00 00 05 61 67 65 6e 74 05 64 72 61 66 74 ");
  EXPECT_EQ(Hex(EncodeLogRecord({0, 258, ReadMarker{}, kDeployment})).substr(0, 3 * 22),
            "02 0b ef cd ab 89 67 45 23 01 00 00 00 00 02 01 00 00 00 00 00 00 ");
  const MergeRowsCommand merge{3, {{{300, 5}}, {1}, {{301, 6}}}};
  EXPECT_EQ(Hex(EncodeLogRecord({7, 258, merge, kDeployment})).substr(0, 3 * 69),
            "02 0c ef cd ab 89 67 45 23 01 07 00 00 00 02 01 00 00 00 00 00 00 "
            "03 00 00 00 00 00 00 00 01 2c 01 00 00 00 00 00 00 05 00 00 00 00 00 00 00 01 01 00 00 00 "
            "01 2d 01 00 00 00 00 00 00 06 00 00 00 00 00 00 00 ");
}

TEST(LogRecordTest, ARecordSaysWhoseLogItIsOf) {
  for (const Example& each : Examples()) {
    EXPECT_EQ(DecodeLogRecord(each.record)->deployment, kDeployment) << each.name;
    const LogRecordHead head = DecodeLogRecordHead(each.record).value();
    EXPECT_EQ(head.deployment, kDeployment) << each.name;
    EXPECT_EQ(head.memory, DecodeLogRecord(each.record)->memory) << each.name;
    EXPECT_EQ(head.stamp_ms, DecodeLogRecord(each.record)->stamp_ms) << each.name;
    EXPECT_EQ(head.operation, DecodeLogRecord(each.record)->operation.index()) << each.name;
    EXPECT_EQ(DecodeLogRecordHead(each.record.substr(1)).status().code(), absl::StatusCode::kDataLoss) << each.name;
  }
}

TEST(LogRecordTest, RowsThatDoNotAscendAreNoExpiry) {
  for (const Row second : {6, 7}) {
    const auto status = DecodeLogRecord(Command(ExpireRowsCommand{3, {{7, 1}, {second, 2}}}, 7)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << "row 7 and then " << second;
  }
}

TEST(LogRecordTest, MergesThatDoNotAddUpAreNone) {
  ASSERT_TRUE(DecodeLogRecord(Command(Merge(), 7)).ok());
  const std::vector<std::pair<std::string, std::function<void(RowMerges&)>>> wrong = {
      {"one takes nothing", [](RowMerges& merges) { merges.taken = {3, 0}; }},
      {"more are taken than named", [](RowMerges& merges) { merges.taken = {2, 2}; }},
      {"one is taken by none", [](RowMerges& merges) { merges.taken = {1, 1}; }},
      {"a survivor is not said to take", [](RowMerges& merges) { merges.taken = {3}; }},
      {"a row goes twice", [](RowMerges& merges) { merges.merged[2] = merges.merged[0]; }},
      {"a survivor goes", [](RowMerges& merges) { merges.merged[2] = {5, 1}; }},
      {"a row survives twice", [](RowMerges& merges) { merges.survivors[1] = merges.survivors[0]; }},
      {"ids of both kinds", [](RowMerges& merges) { merges.survivors[1].id = 1ULL << 62; }}};
  for (const auto& [what, change] : wrong) {
    MergeRowsCommand merge = Merge();
    change(merge.merges);
    EXPECT_EQ(DecodeLogRecord(Command(std::move(merge), 7)).status().code(), absl::StatusCode::kDataLoss) << what;
  }
}

TEST(LogRecordTest, OnlyWhatClientsAskHasATicket) {
  size_t with_ticket = 0;
  for (const Example& each : Examples()) {
    LogRecord record = DecodeLogRecord(each.record).value();
    const bool of_a_client = record.operation.index() < 4;
    EXPECT_EQ(TicketOf(record.operation) != nullptr, of_a_client) << each.name;
    with_ticket += of_a_client ? 1 : 0;
  }
  EXPECT_EQ(with_ticket, 8U);
}

TEST(LogRecordTest, EveryCutIsRefused) {
  for (const Example& each : Examples()) {
    for (size_t size = 0; size < each.record.size(); ++size) {
      ASSERT_EQ(DecodeLogRecord(each.record.substr(0, size)).status().code(), absl::StatusCode::kDataLoss)
          << each.name << " cut to " << size;
    }
    EXPECT_EQ(DecodeLogRecord(each.record + '\0').status().code(), absl::StatusCode::kDataLoss) << each.name;
  }
}

TEST(LogRecordTest, EveryFlippedBitIsRefused) {
  for (const Example& each : Examples()) {
    for (size_t bit = 0; bit < 8 * each.record.size(); ++bit) {
      std::string damaged = each.record;
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
      ASSERT_EQ(DecodeLogRecord(damaged).status().code(), absl::StatusCode::kDataLoss) << each.name << " bit " << bit;
    }
  }
}

// With a checksum that is right: what a program that is wrong might write.
std::string Sealed(std::string record, const std::function<void(std::string&)>& change) {
  record.resize(record.size() - sizeof(uint64_t));
  change(record);
  const uint64_t checksum = Checksum64(record, 0x6C6F677265636F72ULL);
  return record.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
}

TEST(LogRecordTest, AnotherVersionOrKindIsToldApartFromDamage) {
  for (const size_t place : {0, 1}) {
    const auto other = Sealed(Encoded(Insert()), [&](std::string& record) { record[place] = 99; });
    const absl::Status status = DecodeLogRecord(other).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("99"));
  }
}

TEST(LogRecordTest, ABodyThatNobodyWroteIsRefusedWhateverItsChecksum) {
  for (const Example& each : Examples()) {
    for (size_t size = 2; size + sizeof(uint64_t) < each.record.size(); ++size) {
      const auto cut = Sealed(each.record, [&](std::string& record) { record.resize(size); });
      ASSERT_EQ(DecodeLogRecord(cut).status().code(), absl::StatusCode::kDataLoss) << each.name << " cut to " << size;
    }
    // Flipped bits may mean something else, but they end in an answer.
    for (size_t bit = 16; bit + 64 < 8 * each.record.size(); ++bit) {
      const auto flipped = Sealed(each.record, [&](std::string& record) {
        record[bit / 8] = static_cast<char>(record[bit / 8] ^ (1 << (bit % 8)));
      });
      const auto read = DecodeLogRecord(flipped);
      if (read.ok()) {
        EXPECT_EQ(EncodeLogRecord(*read).size(), flipped.size()) << each.name << " bit " << bit;
      }
    }
  }
}

TEST(LogRecordTest, WhatAShardDoesByItselfIsNoRecord) {
  for (const WriteOperation& own : {WriteOperation(CloseMemoryOperation{7}), WriteOperation(SleepOperation{}),
                                    WriteOperation(PassOperation{})}) {
    EXPECT_EQ(EncodeLogRecord(kDeployment, own).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace mneme
