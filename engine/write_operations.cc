#include "engine/write_operations.h"

namespace mneme {
namespace {

// What an operation costs beside its columns.
constexpr uint64_t kOverheadBytes = 256;

}  // namespace

uint64_t BytesOf(const WriteOperation& operation) {
  if (const auto* insert = std::get_if<InsertOperation>(&operation)) {
    const EntryColumns& entries = insert->entries;
    return kOverheadBytes + entries.keys.size() + entries.values.bytes.size() + entries.count * sizeof(EntryId);
  }
  if (const auto* erase = std::get_if<DeleteOperation>(&operation)) {
    return kOverheadBytes + (erase->ids.has_value() ? erase->ids->size() * sizeof(EntryId) : 0);
  }
  return kOverheadBytes;
}

}  // namespace mneme
