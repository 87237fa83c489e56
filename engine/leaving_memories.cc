#include "engine/leaving_memories.h"

namespace mneme {

void LeavingMemories::Add(MemoryHandle dropped) {
  MutexLock lock(&mutex_);
  leaving_.push_back(std::move(dropped));
}

void LeavingMemories::RemoveUnread() {
  std::vector<MemoryNumber> unread;
  {
    MutexLock lock(&mutex_);
    std::erase_if(leaving_, [&](const MemoryHandle& memory) {
      if (memory.use_count() > 1) return false;
      unread.push_back(memory->number);
      return true;
    });
  }
  for (const MemoryNumber number : unread) remove_(number);
}

}  // namespace mneme
