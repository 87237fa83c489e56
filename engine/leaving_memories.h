// LeavingMemories: dropped memories whose data is still there for the reads that found them before.
//
// Nobody finds a dropped memory any more, so that once only this list holds it nobody ever will: then its data goes.
#ifndef MNEME_ENGINE_LEAVING_MEMORIES_H_
#define MNEME_ENGINE_LEAVING_MEMORIES_H_

#include <functional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "engine/commands.h"

namespace mneme {

// Thread-safe. What is left when it is destroyed keeps its data until the deployment opens again.
class LeavingMemories {
 public:
  // `remove` removes the data of a memory; called once for each, with no lock held.
  explicit LeavingMemories(std::function<void(MemoryNumber)> remove) : remove_(std::move(remove)) {}

  // `dropped` can be found no more.
  void Add(MemoryHandle dropped);
  // Removes what nobody reads any more. Called now and then.
  void RemoveUnread();

 private:
  const std::function<void(MemoryNumber)> remove_;
  Mutex mutex_;
  std::vector<MemoryHandle> leaving_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_ENGINE_LEAVING_MEMORIES_H_
