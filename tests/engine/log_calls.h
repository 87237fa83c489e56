// LogCalls: what clients of the simulation ask, one write after the other, of every kind.
#ifndef MNEME_TESTS_ENGINE_LOG_CALLS_H_
#define MNEME_TESTS_ENGINE_LOG_CALLS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "engine/log_record.h"
#include "tests/engine/register_history.h"

namespace mneme::testing {

// A write of a client, which may go into the log several times.
struct LogCall {
  MemoryNumber memory = 0;
  RequestIdentity request;
  std::function<LoggedOperation()> make;  // with the request; the same each time
  bool always_named = false;  // a client that wants an exact answer after crashes gives a request id
  // Of a call on one register: which, and what is asked.
  std::optional<std::string> on;
  RegisterCall asked;
};

// Memory 1 has entries and sessions, memory 2 a capacity, memory 3 is one of learned writes; no other is there.
std::map<MemoryNumber, MemoryHandle> SimulatedMemories();

// Not thread-safe.
class LogCalls {
 public:
  explicit LogCalls(uint64_t seed) : random_(seed) {}

  LogCall Next(int64_t now_ms);
  // An id that a server gave, for later calls.
  void NoteGiven(EntryId id) { given_.push_back(id); }
  // Of a register, as clients last heard of it.
  void NoteVersion(const std::string& name, uint64_t version) { versions_[name] = version; }

 private:
  uint64_t Below(uint64_t bound) { return random_() % bound; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  LogCall AnyCall(int64_t now_ms);
  // Not one that was given before; 0 mostly.
  int64_t Expiry(int64_t now_ms);
  LogCall Insert(MemoryNumber memory, bool with_ids, int64_t now_ms);
  LogCall DeleteIds(MemoryNumber memory);
  LogCall DeleteMany(MemoryNumber memory);
  LogCall Remember();
  LogCall Register();
  LogCall Batch(int64_t now_ms);
  LogCall WholeSession(int64_t now_ms);
  LogCall Refused(int64_t now_ms);
  LogCall States(StateRequest request);
  // With an identity of its own.
  LogCall Call(MemoryNumber memory, std::function<LoggedOperation(const RequestIdentity&)> make);

  std::mt19937_64 random_;
  uint64_t calls_ = 0;
  std::set<int64_t> expiries_;
  std::vector<EntryId> given_;
  std::map<std::string, uint64_t> versions_;
  std::vector<RequestIdentity> asked_;
};

}  // namespace mneme::testing

#endif  // MNEME_TESTS_ENGINE_LOG_CALLS_H_
