// Log records: writes as a front end hands them to a shard. With an even first byte the checksum is set right.
#include "engine/log_record.h"

#include <memory>
#include <utility>
#include <variant>

#include "common/checksum.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

using absl::StatusCode;

// docs/formats.md, "Log records".
constexpr uint64_t kLogRecordSeed = 0x6C6F677265636F72ULL;
constexpr size_t kChecksumBytes = 8;

// Every entry of an insert can be looked at.
void LookAt(const LogRecord& record) {
  const auto* insert = std::get_if<InsertOperation>(&record.operation);
  if (insert == nullptr) return;
  size_t bytes = 0;
  for (size_t i = 0; i < insert->entries.count; ++i) {
    const EntryView entry = insert->entries.At(i);
    bytes += entry.key.size() + entry.value.size();
    for (const char byte : entry.key) bytes += static_cast<uint8_t>(byte) & 1U;
    for (const char byte : entry.value) bytes += static_cast<uint8_t>(byte) & 1U;
  }
  Expect(bytes <= 2 * (insert->entries.keys.size() + insert->entries.values.bytes.size()),
         "entries are no larger than their columns");
}

bool Run(std::string_view input) {
  Input in(input);
  const bool sum = in.Byte() % 2 == 0;
  std::string bytes(in.Rest());
  if (sum) {
    const uint64_t checksum = Checksum64(bytes, kLogRecordSeed);
    bytes.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
  }
  // A column of small items of a few bytes each becomes objects.
  const AllocationBound bound(64 * 1024 + 256 * bytes.size());
  const auto record = DecodeLogRecord(bytes);
  if (record.ok()) LookAt(*record);
  if (record.ok()) static_cast<void>(RequestOfChange(record->operation));
  const auto head = DecodeLogRecordHead(bytes);
  Expect(head.ok() || !record.ok(), "what has a whole record has its head");
  if (record.ok()) {
    Expect(head->deployment == record->deployment && head->memory == record->memory &&
               head->stamp_ms == record->stamp_ms && head->operation == record->operation.index(),
           "a head is that of its record");
  }
  return Through(record, bytes, [](const LogRecord& each) { return EncodeLogRecord(each); },
                 {StatusCode::kDataLoss, StatusCode::kUnimplemented}, {"damaged", "a log record has version"});
}

std::string Seed(LoggedOperation operation, MemoryNumber memory = 7) {
  LogRecord record;
  record.memory = memory;
  record.stamp_ms = 1'717'000'000'123;
  record.operation = std::move(operation);
  record.deployment = 0x0123456789abcdef;
  const std::string bytes = EncodeLogRecord(record);
  return '\0' + bytes.substr(0, bytes.size() - kChecksumBytes);
}

InsertOperation Insert() {
  InsertOperation insert;
  insert.ticket.request = RequestIdentity{{1, 2}, 42};
  insert.partition = 3;
  insert.bulk = true;
  insert.entries.values.width = 4;
  for (uint64_t id : {1, 9}) {
    EntryView entry;
    entry.id = id;
    entry.key = "12345678";
    entry.value = "abcd";
    entry.attributes = {2.0F, 0.5, -5, 11, id, 99, 98};
    insert.entries.Append(entry);
  }
  return insert;
}

InsertOperation InsertBytes() {
  InsertOperation insert;
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
  erase.partitions = {0, 2};
  erase.ids = {1, 2, 3};
  erase.filter.emplace();
  erase.filter->labels = {-1, 4};
  erase.filter->created_to_ms = 1000;
  return erase;
}

RememberOperation Remember() {
  RememberOperation remember;
  remember.batch.queries.Append("0123456789abcdef");
  remember.batch.count = 2;
  remember.batch.labels = {7, 8};
  remember.batch.options.want_mask = true;
  return remember;
}

StateOperation States() {
  ApplyStates apply;
  const StateRows rows{{1.0F, 2.0F}, 2};
  const std::vector<StateAction> actions = {
      RegisterPut{"value", 10}, RegisterGet{}, RegisterCas{3, "next", 0}, RemoveState{},
      LinearApply{rows, rows, rows, LinearRule::kDelta, LinearOrder::kWriteThenRead, 64, 1e-6}, LinearGet{},
      FeedbackAttend{2, 0.5, 3, false, rows, rows, rows, rows, rows, rows}, FeedbackGet{},
      CountersAdd{{1, 2}, {3, 4}, {-5, 6}}, CountersGet{{1}}};
  for (const StateAction& action : actions) apply.commands.push_back({"agent/1", "memory", action});
  StateOperation states;
  states.request = std::move(apply);
  return states;
}

StateOperation Request(StateRequest request) {
  StateOperation states;
  states.request = std::move(request);
  return states;
}

std::vector<std::string> Seeds() {
  PutSession put{"agent", {}, 77};
  put.states["draft"] = std::make_shared<const StateRecord>(StateRecord{StateKind::kRegister, 3, 0, "text"});
  MemorySpec spec;
  spec.name = "wiki";
  spec.dimension = 128;
  spec.index = {{CodecKind::kPq, 64, 4}, 4096};
  return {Seed(Insert()),
          Seed(InsertBytes()),
          Seed(Delete()),
          Seed(Remember()),
          Seed(States()),
          Seed(Request(ResetSessions{{"a", "b"}})),
          Seed(Request(ForkSession{"a", "b", true})),
          Seed(Request(std::move(put))),
          Seed(CreateMemoryCommand{spec, {1, 2}}, 0),
          Seed(DropMemoryCommand{"wiki", {3, 4}}, 0),
          Seed(DropAliasCommand{"live", {5, 6}}, 0),
          Seed(SetAliasCommand{{"live", "wiki", "old"}, {7, 8}}, 0),
          Seed(ExpireRowsCommand{3, {{7, 1}, {9, uint64_t{1} << 62}}}),
          Seed(ExpireStatesCommand{{{99, 7, 0, "agent", ""}, {100, 8, 5, "agent", "draft"}}}, 0),
          Seed(ReadMarker{}, 0),
          Seed(MergeRowsCommand{3, {{{5, 1}, {2, 9}}, {2, 1}, {{6, 4}, {1, uint64_t{1} << 62}, {7, 5}}}}),
          Seed(FoundCommand{4}, 0),
          Seed(SetReplicasCommand{0, {"a:1"}, {"a:1", "", "b:2"}, {9, 10}, true}, 0)};
}

const Registration kTarget({"log_record", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
