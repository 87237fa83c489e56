// MemoryEntryStore: an EntryStore in ram, the oracle that RocksDbEntryStore is compared with.
#ifndef MNEME_STORAGE_MEMORY_ENTRY_STORE_H_
#define MNEME_STORAGE_MEMORY_ENTRY_STORE_H_

#include <memory>

#include "storage/entry_store.h"

namespace mneme {

std::unique_ptr<EntryStore> NewMemoryEntryStore();

}  // namespace mneme

#endif  // MNEME_STORAGE_MEMORY_ENTRY_STORE_H_
