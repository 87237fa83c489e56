// GroupRows: which queries of an attention belong together, and the context of each group (ToMMY), from files.
#ifndef MNEME_CLIENT_CLI_GROUP_ROWS_H_
#define MNEME_CLIENT_CLI_GROUP_ROWS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/command.h"
#include "client/npy/npy_file.h"
#include "mneme/v1/admin.pb.h"
#include "mneme/v1/read_outs.pb.h"

namespace mneme::cli {

struct GroupFiles {
  std::string contexts;  // empty: there are no groups
  std::string offsets;   // empty: groups of equal size
  std::string metric = "ip";
  double temperature = 1;
};

inline constexpr char kGroups[] = "A second level of attention over groups of queries";
void AddGroupOptions(Command verb, GroupFiles& files);

// Opened, checked files. Immutable, thread-safe.
class GroupRows {
 public:
  // Returns INVALID_ARGUMENT, naming file and bound, if they are not groups of `rows` queries of `memory`.
  static absl::StatusOr<GroupRows> Open(const GroupFiles& files, uint64_t rows, const v1::MemoryDescription& memory);

  bool any() const { return !contexts_.empty(); }
  size_t count() const { return offsets_.empty() ? 0 : offsets_.size() - 1; }
  uint64_t First(size_t group) const { return offsets_[group]; }
  uint64_t Count(size_t group) const { return offsets_[group + 1] - offsets_[group]; }
  // The group as the only one of a request whose rows are its own.
  v1::AttentionGroups Group(size_t group) const;

 private:
  GroupRows() = default;

  std::vector<NpyFile> contexts_;  // none or one
  std::vector<uint64_t> offsets_;  // empty, or groups + 1
  v1::AttentionGroups common_;
};

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_GROUP_ROWS_H_
