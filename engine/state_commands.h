// What can be asked of the working memory of sessions, and what it answers. Plain data, validated by who builds it, as
// in commands.h.
#ifndef MNEME_ENGINE_STATE_COMMANDS_H_
#define MNEME_ENGINE_STATE_COMMANDS_H_

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "readout/linear_memory.h"
#include "storage/states.h"

namespace mneme {

// --- What one operation does to one state --------------------------------------------------------------------------

// A register: bytes, of which the last write is read.
struct RegisterPut {
  std::string value;
  int64_t expiry_ms = 0;  // Unix ms, from which on it is as if it were not there; 0: never
};
struct RegisterGet {};
// A put when the version is the expected one (0: there is none), else ABORTED.
struct RegisterCas {
  uint64_t expected_version = 0;
  std::string value;
  int64_t expiry_ms = 0;
};
// A state of any kind.
struct RemoveState {};

// Rows of finite components.
struct StateRows {
  std::vector<float> items;
  uint32_t columns = 0;  // may be known without any rows

  size_t rows() const { return columns == 0 ? 0 : items.size() / columns; }
};

// A linear memory (readout/linear_memory.h): writes keys and values, and reads it with queries. Without keys it only
// reads; the columns of the values tell the width of what nothing was written to.
struct LinearApply {
  StateRows keys;
  StateRows values;
  StateRows queries;
  LinearRule rule = LinearRule::kLinear;
  LinearOrder order = LinearOrder::kReadThenWrite;
  size_t segment_length = 0;
  double epsilon = 1e-10;
};
struct LinearGet {};

// A feedback memory (readout/feedback_memory.h): attends with one block. The last block again, with the same content,
// is answered as it was and changes nothing.
struct FeedbackAttend {
  int64_t block_index = 0;
  double scale = 1.0;
  uint32_t ring_blocks = 0;
  bool causal = true;
  StateRows queries;
  StateRows keys;
  StateRows values;
  StateRows fam_queries;
  StateRows fam_keys;
  StateRows fam_values;
};
struct FeedbackGet {};

// A sparse matrix of counts.
struct CountersAdd {
  std::vector<uint32_t> rows;
  std::vector<uint32_t> columns;  // as many
  std::vector<int64_t> counts;    // as many, or none: 1 each
};
struct CountersGet {
  std::vector<uint32_t> rows;  // none: all that have counts
};

// The number of an alternative is part of what is remembered of a request: add new ones at the end.
using StateAction = std::variant<RegisterPut, RegisterGet, RegisterCas, RemoveState, LinearApply, LinearGet,
                                 FeedbackAttend, FeedbackGet, CountersAdd, CountersGet>;

// True when it can change nothing.
bool IsRead(const StateAction& action);

struct StateCommand {
  std::string session;
  std::string name;
  StateAction action;
};

// What an operation answers. Payloads are set by those actions that have them.
struct StateAnswer {
  absl::Status status;   // not OK: nothing of its session's operations of the batch was applied
  bool found = false;    // the state is there: for a write, was there before
  uint64_t version = 0;  // of the state after the operation: counts its writes; 0: there is none
  bool reread = false;   // a replayed answer that was too large to remember: read anew
  std::string value;     // of a register
  int64_t expiry_ms = 0;
  uint32_t key_dimension = 0;  // of a linear or feedback memory
  uint32_t value_dimension = 0;
  uint64_t tokens = 0;      // written to a linear memory
  int64_t last_block = 0;   // of a feedback memory
  // Packed columns. LinearApply: what the queries read, f32. LinearGet: M, z, both f64. FeedbackAttend: A, A^F, both
  // f32. FeedbackGet: keys of the ring and its values f32, offsets of its blocks u64, keys and values of the FAM f32.
  // CountersGet: rows u32, offsets u64, columns u32, counts i64.
  std::vector<std::string> columns;

  // Bytes of its payloads.
  uint64_t PayloadBytes() const;
};

// --- What a shard is asked -----------------------------------------------------------------------------------------

// In order; all or nothing of what a session is asked.
struct ApplyStates {
  std::vector<StateCommand> commands;
  // Unix ms, from which on the sessions that are written to are as if they were not there; 0: as it was.
  int64_t session_expiry_ms = 0;
};
// Sessions go with everything in them.
struct ResetSessions {
  std::vector<std::string> sessions;
};

// A session with the states of another of the same root. NOT_FOUND without `from`; ALREADY_EXISTS when `to` is there,
// unless it is to be replaced.
struct ForkSession {
  std::string from;
  std::string to;
  bool replace = false;
};
// Takes the place of whatever the session was.
struct PutSession {
  std::string session;
  std::map<std::string, StatePtr> states;  // whole, none is null
  int64_t expiry_ms = 0;
};

using StateRequest = std::variant<ApplyStates, ResetSessions, ForkSession, PutSession>;

// Whether it may have the shard store more: what only reads, removes or resets does not.
bool AddsBytes(const StateRequest& request);

struct StateOutcome {
  std::vector<StateAnswer> answers;  // of ApplyStates, one each
  uint64_t count = 0;                // of ResetSessions: those that were there
};

// What went by itself.
struct ExpiredStates {
  uint64_t sessions = 0;
  uint64_t states = 0;  // of sessions that stayed
};

// Bytes that a request holds while it waits.
uint64_t BytesOf(const StateRequest& request);
// A checksum of everything it asks, so that a reused request id is noticed.
uint64_t ContentOf(const StateRequest& request);

// --- Sessions as they are listed -----------------------------------------------------------------------------------

struct SessionDescription {
  std::string session;
  uint64_t states = 0;
  uint64_t bytes = 0;
  int64_t expiry_ms = 0;
};

struct SessionPage {
  std::vector<SessionDescription> sessions;  // by name
  std::string next;                          // go on after it; empty: that was all
};

}  // namespace mneme

#endif  // MNEME_ENGINE_STATE_COMMANDS_H_
