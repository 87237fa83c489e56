// MemoryStates: working memory in ram, for MemoryEntryStore.
#ifndef MNEME_STORAGE_MEMORY_STATES_H_
#define MNEME_STORAGE_MEMORY_STATES_H_

#include <map>
#include <memory>
#include <set>

#include "storage/states.h"

namespace mneme {

// Plain maps. Thread-compatible.
class MemoryStates {
 public:
  void Apply(const StateWrites& writes);
  void DropMemory(MemoryNumber memory);
  // A reader of a copy.
  std::unique_ptr<StateReader> Read() const;

 private:
  friend class MemoryStateReader;
  std::map<SessionKey, SessionRecord> sessions_;
  std::map<StateKey, StateRecord> states_;
  std::map<StateSpace, uint64_t> references_;
  std::set<StateExpiry> expiries_;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_MEMORY_STATES_H_
