// Requests: u8 which message | u8 of which memory | the message. What is refused is INVALID_ARGUMENT and names its
// field; what is taken is whole. How large a message may become by parsing alone is protobuf's affair.
#include <iterator>
#include <memory>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "common/limits.h"
#include "common/utf8.h"
#include "common/vector_codec.h"
#include "engine/flat_commands.h"
#include "engine/session_bytes.h"
#include "google/rpc/error_details.pb.h"
#include "mneme/v1/admin.pb.h"
#include "mneme/v1/memory.pb.h"
#include "mneme/v1/working_memory.pb.h"
#include "server/convert_columns.h"
#include "server/convert_entries.h"
#include "server/convert_keys.h"
#include "server/convert_memory.h"
#include "server/convert_selection.h"
#include "server/convert_states.h"
#include "server/query_plan.h"
#include "tests/fuzz/fuzz.h"
#include "tests/server/column.h"

namespace mneme::fuzz {
namespace {

using absl::StatusCode;

enum Kind : uint8_t {
  kCreate,
  kInsert,
  kDelete,
  kQuery,
  kApply,
  kReset,
  kFork,
  kPutSession,
  kAppend,
  kFingerprint,
  kStateAnswer,
  kSessionPage,
  kKinds
};

constexpr uint32_t kDimension = 4;

std::shared_ptr<MemoryRecord> MemoryOf(uint8_t which) {
  auto memory = std::make_shared<MemoryRecord>();
  MemorySpec& spec = memory->spec;
  spec.name = "wiki";
  spec.dimension = kDimension;
  spec.metric = static_cast<Metric>(1 + which % 3);
  spec.key_dtype = which / 3 % 2 == 0 ? Dtype::kF32 : Dtype::kF16;
  spec.value_kind = static_cast<ValueKind>(1 + which / 6 % 4);
  if (spec.value_kind == ValueKind::kVector) spec.value_dimension = 2;
  if (spec.value_kind == ValueKind::kToken || spec.value_kind == ValueKind::kSparseVector) spec.vocabulary_size = 10;
  spec.fingerprint.model = "gpt2";
  return memory;
}

// An error that is no text reaches no client: the details of what is no UTF-8 do not parse.
void CheckText(const absl::Status& status) {
  Expect(IsUtf8({status.message().data(), status.message().size()}), "an error is text");
  status.ForEachPayload([](const auto& url, const absl::Cord& value) {
    const std::string name(url);
    const std::string bytes(value);
    const bool parses = absl::EndsWith(name, "BadRequest")  ? google::rpc::BadRequest().ParseFromString(bytes)
                        : absl::EndsWith(name, "ErrorInfo") ? google::rpc::ErrorInfo().ParseFromString(bytes)
                        : absl::EndsWith(name, "PreconditionFailure")
                            ? google::rpc::PreconditionFailure().ParseFromString(bytes)
                            : true;
    Expect(parses, "details of an error parse");
  });
}

bool Taken(const absl::Status& status) {
  if (status.ok()) return true;
  CheckText(status);
  ExpectRefusal(status, {StatusCode::kInvalidArgument},
                {"memory",    "index",     "durability", "entries", "request_id",   "partitions", "ids",
                 "filter",    "target",    "everything", "keys",    "k ",           "extra",      "exclude",
                 "search",    "precision", "attention",  "sources", "distribution", "read_out",   "sequence_ids",
                 "operations", "neighbours", "session",  "content", "expiry",       "from",       "to",
                 "fingerprint"});
  return false;
}

bool Create(const std::string& bytes) {
  v1::CreateMemoryRequest request;
  MemoryRecord memory;
  if (!request.ParseFromString(bytes) || !Taken(ReadMemory(request.memory(), memory.spec))) return false;
  v1::MemoryDescription written;
  WriteMemory(memory, &written);
  MemorySpec again;
  Expect(ReadMemory(written, again).ok() && again == memory.spec, "a memory reads back as it was described");
  return true;
}

// A taken entry has what its memory says, within the bounds.
void CheckEntries(const EntryColumns& entries, const MemorySpec& spec) {
  Expect(entries.count >= 1 && entries.count <= limits::kMaxInsertEntries, "entries are bounded");
  std::vector<float> key(spec.dimension);
  for (size_t i = 0; i < entries.count; ++i) {
    const EntryView entry = entries.At(i);
    Expect(entry.key.size() == spec.KeyBytes(), "a key has its bytes");
    DecodeVector(spec.key_dtype, entry.key.data(), key.size(), key.data());
    Expect(FindUnacceptable(key.data(), key.size(), limits::kMaxKeyComponent) == key.size(), "a key is finite");
    Expect(spec.ValueBytes() == 0 ? entry.value.size() <= limits::kMaxValueBytes
                                  : entry.value.size() == spec.ValueBytes(),
           "a value has its bytes");
    if (spec.value_kind == ValueKind::kToken) {
      Token token = 0;
      std::memcpy(&token, entry.value.data(), sizeof(token));
      Expect(token < spec.vocabulary_size, "a token is of the vocabulary");
    }
    Expect(entry.attributes.weight > 0.0F, "a weight is above 0");
  }
}

bool Insert(const std::string& bytes, const MemorySpec& spec) {
  v1::InsertRequest request;
  if (!request.ParseFromString(bytes)) return false;
  InsertCommand command;
  const AllocationBound bound(256 * 1024 + 64 * bytes.size());
  if (!Taken(ReadInsert(request, spec, command))) return false;
  CheckEntries(command.entries, spec);
  v1::InsertRequest written = request;
  written.mutable_entries()->Clear();
  WriteEntries(command.entries, spec, written.mutable_entries());
  InsertCommand again;
  const absl::Status status = ReadInsert(written, spec, again);
  Expect(status.ok(), "what is stored can be inserted: " + status.ToString());
  Expect(again.entries.keys.view() == command.entries.keys.view() &&
             again.entries.values.bytes == command.entries.values.bytes && again.entries.ids == command.entries.ids,
         "what is stored reads back as it was inserted");
  return true;
}

// Entries whose keys are those of the queries before them.
bool Append(const std::string& bytes, const MemorySpec& spec) {
  v1::Entries wire;
  if (!wire.ParseFromString(bytes)) return false;
  EntryColumns entries;
  entries.count = 2;
  const AllocationBound bound(256 * 1024 + 64 * bytes.size());
  if (!Taken(ReadEntriesWithoutKeys("append.entries", wire, spec, entries))) return false;
  constexpr float kRow[kDimension] = {1, 2, 3, 4};
  AlignedBuffer rows;
  for (size_t i = 0; i < entries.count; ++i) rows.Append({reinterpret_cast<const char*>(kRow), sizeof(kRow)});
  return Taken(EncodeStoredKeys("append.entries.keys", std::move(rows), spec, entries.keys));
}

bool GivenFingerprint(const std::string& bytes, const MemorySpec& spec) {
  v1::Fingerprint given;
  if (!given.ParseFromString(bytes)) return false;
  const absl::Status checked = CheckFingerprint("fingerprint", given, spec);
  if (!checked.ok()) CheckText(checked);
  if (!checked.ok()) ExpectRefusal(checked, {StatusCode::kFailedPrecondition}, {"fingerprint"});
  return checked.ok();
}

bool Apply(const std::string& bytes) {
  v1::ApplyRequest request;
  ApplyStates apply;
  StateWriteOptions options;
  return request.ParseFromString(bytes) && Taken(ReadApply(request, apply)) &&
         Taken(ReadWriteOptions(request.request_id(), request.durability(), options));
}

// What another process answers to an operation, on its way to the client.
bool Answer(std::string_view bytes, uint8_t which) {
  StateAnswer answer;
  if (!Unflat(bytes, answer).ok()) return false;
  using Wire = v1::StateOperation;
  constexpr Wire::ActionCase kActions[] = {Wire::kRegisterPut,    Wire::kRegisterGet, Wire::kLinear,
                                           Wire::kLinearGet,      Wire::kFeedbackAttend, Wire::kFeedbackGet,
                                           Wire::kCountersAdd,    Wire::kCountersGet};
  v1::StateOperation operation;
  switch (kActions[which % std::size(kActions)]) {
    case Wire::kRegisterGet: operation.mutable_register_get(); break;
    case Wire::kLinear: operation.mutable_linear(); break;
    case Wire::kLinearGet: operation.mutable_linear_get(); break;
    case Wire::kFeedbackAttend: operation.mutable_feedback_attend(); break;
    case Wire::kFeedbackGet: operation.mutable_feedback_get(); break;
    case Wire::kCountersAdd: operation.mutable_counters_add(); break;
    case Wire::kCountersGet: operation.mutable_counters_get(); break;
    default: operation.mutable_register_put(); break;
  }
  const StateAnswer before = answer;
  v1::StateResult result;
  WriteStateAnswer(operation, std::move(answer), &result);
  Expect(result.has_error() != before.status.ok(), "an error is told as one");
  Expect(result.has_error() || (result.found() == before.found && result.version() == before.version),
         "an answer says what is there");
  return true;
}

bool Page(std::string_view bytes) {
  std::vector<NamedSession> sessions;
  if (!Unflat(bytes, sessions).ok()) return false;
  SessionPage page;
  for (const NamedSession& each : sessions) {
    page.sessions.push_back({each.session, each.record.states, each.record.bytes, each.record.expiry_ms});
  }
  v1::ListSessionsResponse response;
  WriteSessionPage(std::move(page), &response);
  Expect(static_cast<size_t>(response.sessions_size()) == sessions.size(), "a page has its sessions");
  return true;
}

bool Query(const std::string& bytes, const std::shared_ptr<MemoryRecord>& memory, uint8_t which) {
  v1::QueryRequest request;
  if (!request.ParseFromString(bytes)) return false;
  QueryPlan plan;
  plan.mixed = which >= 128;
  for (size_t i = 0; i < (plan.mixed ? 2U : 1U); ++i) {
    QuerySource& source = plan.sources.emplace_back();
    source.memory = memory;
    source.k = request.k();
    source.weight = i == 0 ? 1.0 : 0.5;
    if (!ReadPartitions("partitions", request.partitions(), source.command.partitions).ok()) return false;
    source.several_partitions = CoversSeveral(source.command.partitions);
  }
  // A mask is a list of tokens, and offsets take eight bytes of any width on the wire.
  const AllocationBound bound(1024 * 1024 + 256 * bytes.size());
  if (!Taken(ReadQuery(request, plan))) return false;
  for (const QuerySource& source : plan.sources) {
    const QueryCommand& command = source.command;
    Expect(command.count >= 1 && command.count <= limits::kMaxQueryRows, "rows are bounded");
    Expect(command.queries.size() == command.count * kDimension * sizeof(float), "every row has a key");
    Expect(command.k <= limits::kMaxK + limits::kTieRoom || command.k == limits::kEveryEntry, "k is bounded");
  }
  if (plan.distribution.has_value()) {
    Expect(plan.distribution->cells() >= 1 && plan.distribution->cells() <= limits::kMaxDistributionCells,
           "cells are bounded");
  }
  return true;
}

bool Run(std::string_view input) {
  Input in(input);
  const uint8_t kind = in.Byte() % kKinds;
  const uint8_t which = in.Byte();
  const std::string bytes(in.Rest());
  const std::shared_ptr<MemoryRecord> memory = MemoryOf(which);
  const auto taken = [&](auto request, auto command, const auto& read) {
    return request.ParseFromString(bytes) && Taken(read(request, command));
  };
  switch (kind) {
    case kCreate: return Create(bytes);
    case kInsert: return Insert(bytes, memory->spec);
    case kDelete: return taken(v1::DeleteRequest(), DeleteCommand(), ReadDelete);
    case kQuery: return Query(bytes, memory, which);
    case kApply: return Apply(bytes);
    case kReset: return taken(v1::ResetSessionsRequest(), ResetSessions(), ReadReset);
    case kFork: return taken(v1::ForkSessionRequest(), ForkSession(), ReadFork);
    case kPutSession: return taken(v1::PutSessionRequest(), PutSession(), ReadPutSession);
    case kAppend: return Append(bytes, memory->spec);
    case kFingerprint: return GivenFingerprint(bytes, memory->spec);
    case kStateAnswer: return Answer(bytes, which);
    case kSessionPage: return Page(bytes);
    default: return false;
  }
}

template <typename Message>
std::string Seed(Kind kind, uint8_t which, const Message& message) {
  return std::string{static_cast<char>(kind), static_cast<char>(which)} + message.SerializeAsString();
}

void SetVectors(const std::vector<float>& items, uint32_t dimension, v1::Vectors* out) {
  out->set_data(Column(items));
  out->set_dtype(v1::DTYPE_F32);
  out->set_dimension(dimension);
}

v1::InsertRequest InsertOf(ValueKind kind) {
  v1::InsertRequest request;
  request.set_memory("wiki");
  request.set_request_id("a");
  v1::Entries& entries = *request.mutable_entries();
  SetVectors({1, 2, 3, 4, 5, 6, 7, 8}, kDimension, entries.mutable_keys());
  v1::Values& values = *entries.mutable_values();
  switch (kind) {
    case ValueKind::kToken: values.set_tokens(Column<Token>({3, 4})); break;
    case ValueKind::kVector: SetVectors({1, 2, 3, 4}, 2, values.mutable_vectors()); break;
    case ValueKind::kSparseVector:
      values.mutable_sparse()->set_offsets(Column<uint64_t>({0, 2, 3}));
      values.mutable_sparse()->set_indices(Column<uint32_t>({1, 5, 2}));
      values.mutable_sparse()->set_components(Column<float>({0.5F, 0.25F, 0.75F}));
      values.mutable_sparse()->set_dtype(v1::DTYPE_F32);
      values.mutable_sparse()->set_remainders(Column<float>({0.25F, 0.25F}));
      break;
    case ValueKind::kBytes:
      values.mutable_blobs()->set_data("abc");
      values.mutable_blobs()->set_offsets(Column<uint64_t>({0, 1, 3}));
      break;
  }
  entries.set_ids(Column<uint64_t>({7, 8}));
  entries.set_weights(Column<float>({1.0F, 2.0F}));
  entries.set_labels(Column<int64_t>({-1, 1}));
  entries.set_expiries_ms(Column<int64_t>({0, 5}));
  return request;
}

v1::QueryRequest QueryOf() {
  v1::QueryRequest request;
  request.set_memory("wiki");
  SetVectors({1, 2, 3, 4, 5, 6, 7, 8}, kDimension, request.mutable_keys());
  request.set_k(10);
  request.set_exclude_ids(Column<uint64_t>({1, 2}));
  request.set_sequence_ids(Column<uint64_t>({1, 2}));
  return request;
}

std::vector<std::string> QuerySeeds() {
  v1::QueryRequest neighbours = QueryOf();
  neighbours.mutable_neighbours()->set_with_keys(true);
  neighbours.mutable_neighbours()->set_with_successors(true);
  neighbours.mutable_filter()->set_labels(Column<int64_t>({1, -1}));
  neighbours.mutable_extra()->set_ids(Column<uint64_t>({5, 6, 7}));
  neighbours.mutable_extra()->set_offsets(Column<uint64_t>({0, 1, 3}));
  v1::QueryRequest distribution = QueryOf();
  distribution.mutable_distribution()->add_temperatures(0.5);
  distribution.mutable_distribution()->add_ks(5);
  distribution.mutable_distribution()->set_targets(Column<Token>({3, 4}));
  distribution.mutable_distribution()->mutable_mix()->set_knn_weight(0.3);
  distribution.mutable_distribution()->mutable_mix()->set_lm_log_probs(Column<float>({-1.0F, -2.0F}));
  v1::QueryRequest masked = QueryOf();
  masked.mutable_distribution()->set_allowed_tokens(Column<Token>({3, 4}));
  masked.mutable_distribution()->set_top_m(5);
  v1::QueryRequest attention = QueryOf();
  attention.mutable_attention()->set_scale(0.5);
  attention.mutable_attention()->set_keep_ties(true);
  attention.mutable_attention()->set_with_weights(true);
  return {Seed(kQuery, 0, neighbours), Seed(kQuery, 0, distribution), Seed(kQuery, 144, masked),
          Seed(kQuery, 6, attention)};
}

v1::ApplyRequest ApplyOf() {
  v1::ApplyRequest request;
  request.set_memory("wiki");
  const auto add = [&]() -> v1::StateOperation* {
    v1::StateOperation* operation = request.add_operations();
    operation->set_session("agent/1");
    operation->set_name("memory");
    return operation;
  };
  add()->mutable_register_put()->set_value("text");
  add()->mutable_register_get();
  add()->mutable_register_cas()->set_expected_version(3);
  add()->mutable_remove();
  v1::LinearApply& linear = *add()->mutable_linear();
  SetVectors({1, 2}, 2, linear.mutable_keys());
  SetVectors({1, 2}, 2, linear.mutable_values());
  SetVectors({1, 2}, 2, linear.mutable_queries());
  v1::FeedbackAttend& block = *add()->mutable_feedback_attend();
  for (v1::Vectors* rows : {block.mutable_queries(), block.mutable_keys(), block.mutable_values(),
                            block.mutable_fam_queries(), block.mutable_fam_keys(), block.mutable_fam_values()}) {
    SetVectors({1, 2}, 2, rows);
  }
  block.set_scale(0.5);
  block.set_ring_blocks(2);
  v1::CountersAdd& counts = *add()->mutable_counters_add();
  counts.set_rows(Column<uint32_t>({1, 2}));
  counts.set_columns(Column<uint32_t>({3, 4}));
  counts.set_counts(Column<int64_t>({-1, 2}));
  add()->mutable_counters_get()->set_rows(Column<uint32_t>({1}));
  return request;
}

std::vector<std::string> Seeds() {
  v1::CreateMemoryRequest create;
  v1::MemoryDescription& memory = *create.mutable_memory();
  memory.set_name("wiki");
  memory.set_dimension(64);
  memory.set_metric(v1::METRIC_L2);
  memory.set_value_kind(v1::VALUE_KIND_TOKEN);
  memory.set_vocabulary_size(50'257);
  memory.set_index("IVF64,PQ16x4fs");
  memory.set_capacity(300);
  memory.mutable_fingerprint()->set_model("gpt2");
  v1::DeleteRequest by_ids;
  by_ids.set_ids(Column<uint64_t>({3, 1, 3}));
  by_ids.mutable_partitions()->add_partitions(7);
  v1::DeleteRequest by_filter;
  by_filter.mutable_filter()->set_sources(Column<uint64_t>({7}));
  v1::ResetSessionsRequest reset;
  reset.add_sessions("agent/1");
  v1::ForkSessionRequest fork;
  fork.set_session("agent/1");
  fork.set_to("agent/2");
  v1::PutSessionRequest put;
  put.set_session("agent");
  put.set_content(EncodeSessionBytes(
      {{"draft", std::make_shared<const StateRecord>(StateRecord{StateKind::kRegister, 3, 77, "text"})}}));
  std::vector<std::string> seeds = {Seed(kCreate, 0, create), Seed(kDelete, 0, by_ids), Seed(kDelete, 0, by_filter),
                                    Seed(kApply, 0, ApplyOf()), Seed(kReset, 0, reset),   Seed(kFork, 0, fork),
                                    Seed(kPutSession, 0, put)};
  for (uint8_t which = 0; which < 24; which += 5) {
    seeds.push_back(Seed(kInsert, which, InsertOf(MemoryOf(which)->spec.value_kind)));
  }
  for (uint8_t which = 0; which < 24; which += 5) {
    v1::InsertRequest insert = InsertOf(MemoryOf(which)->spec.value_kind);
    insert.mutable_entries()->clear_keys();
    seeds.push_back(Seed(kAppend, which, insert.entries()));
  }
  v1::Fingerprint fingerprint;
  fingerprint.set_model("gpt2");
  fingerprint.set_layer("transformer.h.11");
  seeds.push_back(Seed(kFingerprint, 0, fingerprint));
  StateAnswer answer;
  answer.found = true;
  answer.version = 3;
  answer.value = "text";
  answer.columns = {"a", "b", "c", "d", "e"};
  for (uint8_t which = 0; which < 8; ++which) {
    seeds.push_back(std::string{static_cast<char>(kStateAnswer), static_cast<char>(which)} + Flat(answer));
  }
  answer.status = WithReason(absl::AbortedError("version is 3"), reason::kVersionMismatch);
  seeds.push_back(std::string{static_cast<char>(kStateAnswer), 0} + Flat(answer));
  seeds.push_back(std::string{static_cast<char>(kSessionPage), 0} +
                  Flat(std::vector<NamedSession>{{"agent/1", {1, {2}, 3, 4, 5}}}));
  for (std::string& seed : QuerySeeds()) seeds.push_back(std::move(seed));
  return seeds;
}

const Registration kTarget({"request", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
