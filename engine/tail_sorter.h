// TailSorter: puts the newest rows of partitions that have an index into lists, a moment after they are visible
// (index/tail_lists.h), so that searches need not scan the tail whole. One thread; it stores nothing, and what it did
// is lost and done again after a restart.
#ifndef MNEME_ENGINE_TAIL_SORTER_H_
#define MNEME_ENGINE_TAIL_SORTER_H_

#include <functional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "engine/commands.h"
#include "engine/shard.h"

namespace mneme {

// Thread-safe.
class TailSorter {
 public:
  // `shards` are borrowed and must live until Stop(). `find_memory` returns nullptr for a dropped memory.
  TailSorter(std::vector<Shard*> shards, std::function<MemoryHandle(MemoryNumber)> find_memory);
  ~TailSorter();
  // Ends the thread; Wake() has no effect any more.
  void Stop();

  // Sorts a partition's tail soon.
  void Wake(uint32_t shard, const PartitionKey& key);

 private:
  void Run();

  const std::vector<Shard*> shards_;
  const std::function<MemoryHandle(MemoryNumber)> find_memory_;
  Mutex mutex_;
  CondVar woken_;
  std::set<std::pair<uint32_t, PartitionKey>> due_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_TAIL_SORTER_H_
