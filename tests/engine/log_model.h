// LogModel: what a shard holds after the records of its log, on plain maps: the oracle of the simulation. It knows
// entries, their expiry and capacity, registers, sessions, and remembered requests; of learned writes, which memories
// of unit keys have, and of other kinds of states only that there are some.
#ifndef MNEME_TESTS_ENGINE_LOG_MODEL_H_
#define MNEME_TESTS_ENGINE_LOG_MODEL_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/log_record.h"
#include "engine/routing.h"
#include "engine/write_operations.h"

namespace mneme::testing {

struct ModelEntry {
  EntryId id = 0;
  std::string key;
  std::string value = {};
  int64_t label = 0;
  uint64_t source = 0;
  int64_t expiry_ms = 0;
  int64_t created_ms = 0;
  float weight = 1.0F;
};

struct ModelPartition {
  Row next_row = 0;
  std::map<Row, ModelEntry> rows;
};

struct ModelState {
  StateKind kind = StateKind::kRegister;  // or counters, or linear
  uint64_t version = 0;
  int64_t expiry_ms = 0;
  std::string value = {};  // of a register
};

struct ModelSession {
  int64_t expiry_ms = 0;
  std::map<std::string, ModelState> states;
};

struct ModelAnswer {
  absl::StatusCode code = absl::StatusCode::kOk;
  bool found = false;
  uint64_t version = 0;
  std::string value = {};
};

// What becomes of a record.
struct ModelOutcome {
  absl::StatusCode code = absl::StatusCode::kOk;
  uint64_t count = 0;
  uint64_t other = 0;
  std::vector<EntryId> given_ids;
  Sequence sequence = 0;
  bool replayed = false;
  std::vector<ModelAnswer> answers;
  uint64_t sessions = 0;  // of a reset: those that were there
  bool opaque = false;    // the model does not know what it did
};

// Empty when `outcome` is what the model says; else what differs.
std::string Difference(const absl::StatusOr<WriteResult>& outcome, const ModelOutcome& expected);

// Copyable: a copy is a moment.
class LogModel {
 public:
  using Sessions = std::map<std::pair<MemoryNumber, std::string>, ModelSession>;

  // `memories`: those that there are; all others were dropped.
  LogModel(uint32_t shard, std::map<MemoryNumber, MemoryHandle> memories)
      : shard_(shard), memories_(std::move(memories)) {}

  // The record at `position`, all before it having been applied.
  ModelOutcome Apply(const LogRecord& record, Sequence position);

  Sequence applied() const { return applied_; }
  const std::map<PartitionKey, ModelPartition>& partitions() const { return partitions_; }
  const Sessions& sessions() const { return sessions_; }
  struct Remembered {
    uint64_t content = 0;
    Sequence sequence = 0;
    int64_t stamp_ms = 0;
    ModelOutcome outcome;
  };
  // Null when nothing is remembered of a request of this id.
  const Remembered* FindRequest(const Hash128& id) const;

 private:
  using RequestKey = std::pair<uint64_t, uint64_t>;

  void ForgetOld(int64_t now_ms, Sequence position);
  ModelOutcome ApplyTicketed(const LogRecord& record, const WriteTicket& ticket, Sequence position);
  ModelOutcome Run(const LogRecord& record, Sequence position);
  ModelOutcome Insert(const LogRecord& record, const InsertOperation& insert);
  ModelOutcome Delete(const LogRecord& record, const DeleteOperation& erase);
  ModelOutcome States(const LogRecord& record, const StateOperation& states);
  ModelOutcome ApplyStates(const LogRecord& record, const mneme::ApplyStates& apply);
  ModelAnswer Act(ModelSession* session, const StateCommand& command, int64_t stamp_ms, ModelSession& made);
  void Expire(const LogRecord& record, const ExpireRowsCommand& expire);
  void Expire(const LogRecord& record, const ExpireStatesCommand& expire);
  ModelOutcome Merge(const LogRecord& record, const MergeRowsCommand& merge);
  // Null when there is none, or it expired: then it goes.
  ModelSession* Open(MemoryNumber memory, const std::string& name, int64_t stamp_ms);
  void Evict(MemoryNumber memory, ModelPartition& partition);

  const uint32_t shard_;
  const std::map<MemoryNumber, MemoryHandle> memories_;
  Sequence applied_ = 0;
  std::map<PartitionKey, ModelPartition> partitions_;
  Sessions sessions_;
  std::map<RequestKey, Remembered> requests_;
};

}  // namespace mneme::testing

#endif  // MNEME_TESTS_ENGINE_LOG_MODEL_H_
