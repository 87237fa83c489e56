#include "engine/tail_sorter.h"

#include <chrono>

#include "index/tail_lists.h"

namespace mneme {
namespace {

// Between two looks: under a stream of writes each then sorts more rows at once, and those that wait are few still.
constexpr std::chrono::milliseconds kRest(10);

}  // namespace

TailSorter::TailSorter(std::vector<Shard*> shards, std::function<MemoryHandle(MemoryNumber)> find_memory)
    : shards_(std::move(shards)), find_memory_(std::move(find_memory)), thread_([this] { Run(); }) {}

TailSorter::~TailSorter() { Stop(); }

void TailSorter::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  woken_.NotifyOne();
  if (thread_.joinable()) thread_.join();
}

void TailSorter::Wake(uint32_t shard, const PartitionKey& key) {
  {
    MutexLock lock(&mutex_);
    due_.emplace(shard, key);
  }
  woken_.NotifyOne();
}

void TailSorter::Run() {
  for (;;) {
    std::set<std::pair<uint32_t, PartitionKey>> due;
    {
      MutexLock lock(&mutex_);
      woken_.Await(&mutex_, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !due_.empty(); });
      if (stopping_) return;
      due.swap(due_);
    }
    for (const auto& [shard, key] : due) {
      const MemoryHandle memory = find_memory_(key.memory);
      const auto published = shards_[shard]->PublishedOf(key);
      // A partition that cannot be read is the business of who reads it.
      if (memory == nullptr || !published.ok() || *published == nullptr) continue;
      SortTail(*(*published)->version, MakeIndexSpec(memory->spec), PartitionIndex::kUnsortedRows);
    }
    MutexLock lock(&mutex_);
    woken_.AwaitFor(&mutex_, kRest, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_; });
  }
}

}  // namespace mneme
