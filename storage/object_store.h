// ObjectStore: named objects elsewhere, whole or not there: what copies of backups are kept in (backup_copy.h).
// Implementations: S3Store (cluster/, the product), a directory (the oracle of tests).
#ifndef MNEME_STORAGE_OBJECT_STORE_H_
#define MNEME_STORAGE_OBJECT_STORE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mneme {

struct StoredObject {
  std::string name;
  uint64_t bytes = 0;
};

// Not thread-safe. Names have letters, digits and "-_./" alone, but for those that List() tells, which may be
// anybody's. An object has at most limits::kMaxStoredObjectBytes, and there are at most limits::kMaxStoredObjects:
// OUT_OF_RANGE for what has more. UNAVAILABLE when it is not reached; PERMISSION_DENIED when it refuses.
class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  // By name.
  virtual absl::StatusOr<std::vector<StoredObject>> List() = 0;
  // Takes the place of one that is there. It is kept when this returns, with every byte as it is here.
  virtual absl::Status Put(const std::string& name, std::string_view bytes) = 0;
  // NOT_FOUND.
  virtual absl::StatusOr<std::string> Get(const std::string& name) = 0;
  // Whether it is there or not.
  virtual absl::Status Remove(const std::string& name) = 0;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_OBJECT_STORE_H_
