#include "client/cli/import_state.h"

#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/checksum.h"

namespace mneme::cli {
namespace {

std::string StateFolder() {
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state != '\0') {
    return absl::StrCat(state, "/mneme");
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    return absl::StrCat(home, "/.local/state/mneme");
  }
  return "";
}

}  // namespace

ImportState::ImportState(const std::string& server, const v1::MemoryDescription& memory, uint64_t partition,
                         const std::string& keys_path) {
  const std::string folder = StateFolder();
  struct stat file {};
  std::error_code error;
  const std::string absolute = std::filesystem::absolute(keys_path, error).string();
  if (folder.empty() || error || ::stat(keys_path.c_str(), &file) != 0) return;
  const std::string what =
      absl::StrCat(server, "\n", memory.name(), "\n", memory.number(), "\n", memory.created_ms(), "\n", partition, "\n",
                   absolute, "\n", file.st_size, "\n", file.st_mtim.tv_sec, "\n", file.st_mtim.tv_nsec);
  const Hash128 hash = Checksum128(what);
  path_ = absl::StrFormat("%s/import-%016x%016x", folder, hash.high, hash.low);
}

std::optional<ImportState::Reached> ImportState::Load() const {
  Reached reached;
  std::ifstream file(path_);
  if (!(file >> reached.rows >> reached.first_id)) return std::nullopt;
  return reached;
}

void ImportState::Save(const Reached& reached) const {
  if (path_.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), error);
  const std::string partial = path_ + ".partial";
  std::ofstream(partial) << reached.rows << " " << reached.first_id << "\n";
  std::filesystem::rename(partial, path_, error);
}

void ImportState::Remove() const {
  std::error_code error;
  if (!path_.empty()) std::filesystem::remove(path_, error);
}

}  // namespace mneme::cli
