// What can be asked of the working memory of sessions, and what it answers. Plain data, validated by who builds it, as
// in commands.h.
#ifndef MNEME_ENGINE_STATE_COMMANDS_H_
#define MNEME_ENGINE_STATE_COMMANDS_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"

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

using StateAction = std::variant<RegisterPut, RegisterGet, RegisterCas, RemoveState>;

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

  // Bytes of its payloads.
  uint64_t PayloadBytes() const { return value.size(); }
};

// --- What a shard is asked -----------------------------------------------------------------------------------------

// In order; all or nothing of what a session is asked.
struct ApplyStates {
  std::vector<StateCommand> commands;
};
// Sessions go with everything in them.
struct ResetSessions {
  std::vector<std::string> sessions;
};

using StateRequest = std::variant<ApplyStates, ResetSessions>;

struct StateOutcome {
  std::vector<StateAnswer> answers;  // of ApplyStates, one each
  uint64_t count = 0;                // of ResetSessions: those that were there
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
