// ImportState: how far an import came, kept on this machine for --resume.
#ifndef MNEME_CLIENT_CLI_IMPORT_STATE_H_
#define MNEME_CLIENT_CLI_IMPORT_STATE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "mneme/v1/admin.pb.h"

namespace mneme::cli {

// One small file under $XDG_STATE_HOME/mneme (~/.local/state/mneme), named after the server, the memory (its number and
// its creation, so that one dropped and made anew starts from nothing), the partition and the key file (its path, size
// and time of change). It may lag behind the server, never run ahead of it: rows sent twice are the same entries.
// Not thread-safe.
class ImportState {
 public:
  ImportState(const std::string& server, const v1::MemoryDescription& memory, uint64_t partition,
              const std::string& keys_path);

  struct Reached {
    uint64_t rows = 0;  // acknowledged
    uint64_t first_id = 0;
  };
  // Nothing when nothing is known.
  std::optional<Reached> Load() const;
  // Best effort: an import does not fail because its state cannot be kept.
  void Save(const Reached& reached) const;
  void Remove() const;

 private:
  std::string path_;  // empty: there is no place to keep it
};

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_IMPORT_STATE_H_
