#include "storage/backup_copy.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status_macros.h"
#include "storage/backup_folder.h"
#include "storage/file_pieces.h"
#include "storage/files.h"
#include "storage/format.h"

namespace mneme {
namespace {

constexpr char kManifestPrefix[] = "BACKUP-";
constexpr size_t kMaxManifestBytes = 65'536;
// A table has 64 MiB, and a few of one record more; it is held in ram while it is copied.
constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;

using Files = std::map<std::string, uint64_t>;  // bytes by name

std::string BaseOf(const std::string& name) { return std::filesystem::path(name).filename().string(); }

bool IsManifest(const std::string& name) {
  const std::string base = BaseOf(name);
  return absl::StartsWith(base, kManifestPrefix) &&
         base.find_first_not_of("0123456789", sizeof(kManifestPrefix) - 1) == std::string::npos;
}

// Of a file of RocksDB's backup engine: "private/3/MANIFEST-5" of store "part-000/catalogue", and so on.
struct EngineFile {
  std::string store;
  bool shared = false;  // a table, whose name is of its content
  std::string id;       // of the backup that has it alone
};
std::optional<EngineFile> ParseEngineFile(const std::string& name) {
  const std::vector<std::string> parts = absl::StrSplit(name, '/');
  for (size_t i = 1; i + 1 < parts.size(); ++i) {
    EngineFile file;
    file.shared = parts[i] == "shared_checksum";
    if (!file.shared && parts[i] != "private" && parts[i] != "meta") continue;
    for (size_t at = 0; at < i; ++at) absl::StrAppend(&file.store, at == 0 ? "" : "/", parts[at]);
    file.id = file.shared ? "" : parts[i + 1];
    return file;
  }
  return std::nullopt;
}

// Whether a name leads to a file below where it begins.
bool StaysBelow(const std::string& name) {
  for (const auto part : absl::StrSplit(name, '/')) {
    if (part.empty() || part == "." || part == "..") return false;
  }
  return name.find('\0') == std::string::npos;
}

// What is copied of a directory.
absl::StatusOr<Files> FilesIn(const std::string& directory) {
  Files files;
  std::error_code error;
  std::filesystem::recursive_directory_iterator entry(directory, error);
  for (; !error && entry != std::filesystem::recursive_directory_iterator(); entry.increment(error)) {
    if (!entry->is_regular_file(error)) continue;
    const std::string name = std::filesystem::path(entry->path()).lexically_relative(directory).string();
    const bool engine = ParseEngineFile(name).has_value() && !absl::EndsWith(name, ".tmp");
    if (engine || IsManifest(name)) files[name] = entry->file_size(error);
  }
  if (error) return absl::UnavailableError(absl::StrCat("could not read ", directory, ": ", error.message()));
  return files;
}

// Manifests that are whole: their bytes by name.
using Manifests = std::map<std::string, std::string>;

absl::StatusOr<Manifests> ManifestsIn(const std::string& directory, const Files& files) {
  Manifests manifests;
  for (const auto& [name, bytes] : files) {
    if (!IsManifest(name)) continue;
    ASSIGN_OR_RETURN(std::optional<std::string> text, ReadSmallFile(directory + "/" + name, kMaxManifestBytes));
    if (text.has_value() && format::DecodeBackupManifest(*text).ok()) manifests[name] = *std::move(text);
  }
  return manifests;
}

absl::StatusOr<Manifests> ManifestsOf(ObjectStore& store, const Files& objects) {
  Manifests manifests;
  for (const auto& [name, bytes] : objects) {
    if (!IsManifest(name) || bytes > kMaxManifestBytes) continue;
    ASSIGN_OR_RETURN(std::string text, store.Get(name));
    if (format::DecodeBackupManifest(text).ok()) manifests[name] = std::move(text);
  }
  return manifests;
}

absl::StatusOr<Files> ObjectsOf(ObjectStore& store) {
  ASSIGN_OR_RETURN(const std::vector<StoredObject> listed, store.List());
  Files objects;
  for (const StoredObject& object : listed) {
    if (!StaysBelow(object.name)) continue;  // somebody else's
    if (ParseEngineFile(object.name).has_value() || IsManifest(object.name)) objects[object.name] = object.bytes;
  }
  return objects;
}

// Of manifests that both sides have: the stores with the ids that they name, whose files are therefore on both.
std::set<std::pair<std::string, std::string>> Settled(const Manifests& here, const Manifests& there) {
  std::set<std::pair<std::string, std::string>> settled;
  for (const auto& [name, text] : here) {
    const auto other = there.find(name);
    if (other == there.end() || other->second != text) continue;
    const BackupManifest manifest = format::DecodeBackupManifest(text).value();
    const std::string folder = std::filesystem::path(name).parent_path().string();
    for (size_t i = 0; i < manifest.stores.size(); ++i) {
      const std::string path = StoreFolder(folder.empty() ? "." : folder, manifest.part, i);
      settled.emplace(std::filesystem::path(path).lexically_normal().string(), absl::StrCat(manifest.stores[i].id));
    }
  }
  return settled;
}

// What `from` has that `to` has not, by name; never a manifest.
Files Missing(const Files& from, const Files& to, const std::set<std::pair<std::string, std::string>>& settled) {
  Files missing;
  for (const auto& [name, bytes] : from) {
    const std::optional<EngineFile> file = ParseEngineFile(name);
    if (!file.has_value()) continue;
    const auto there = to.find(name);
    const bool same = there != to.end() && there->second == bytes;
    const bool known = file->shared || settled.count({file->store, file->id}) != 0;
    if (!same || !known) missing[name] = bytes;
  }
  return missing;
}

// Keeps others from writing into a directory of backups, and into those of its parts.
class Locked {
 public:
  absl::Status Lock(const std::string& directory) {
    ASSIGN_OR_RETURN(auto writer, BackupWriter::Open(directory));
    locks_.push_back(std::move(writer));
    return absl::OkStatus();
  }

 private:
  std::vector<std::unique_ptr<BackupWriter>> locks_;
};

absl::Status LockAll(const std::string& directory, const Files& files, Locked& locked) {
  RETURN_IF_ERROR(locked.Lock(directory));
  std::set<std::string> parts;
  for (const auto& [name, bytes] : files) {
    const size_t slash = name.find('/');
    if (slash != std::string::npos && absl::StartsWith(name, "part-")) parts.insert(name.substr(0, slash));
  }
  for (const std::string& part : parts) RETURN_IF_ERROR(locked.Lock(directory + "/" + part));
  return absl::OkStatus();
}

// Copies, telling how far it is.
class Copying {
 public:
  Copying(const Files& files, const BackupProgressSink& progress) : progress_(progress) {
    for (const auto& [name, bytes] : files) total_ += bytes;
  }

  absl::Status Tell() const {
    if (progress_({"copying", done_, total_})) return absl::OkStatus();
    return absl::CancelledError("the copy was given up");
  }
  void Did(uint64_t bytes, CopiedBackups& copied) {
    done_ += bytes;
    copied.bytes += bytes;
    ++copied.files;
  }

 private:
  const BackupProgressSink& progress_;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
};

absl::StatusOr<std::string> ReadWhole(const std::string& path, uint64_t bytes) {
  if (bytes > kMaxFileBytes) {
    return absl::OutOfRangeError(absl::StrCat(path, " has ", bytes, " bytes; must have at most ", kMaxFileBytes));
  }
  ASSIGN_OR_RETURN(std::string read, ReadPiece(path, 0, bytes));
  if (read.size() == bytes) return read;
  return absl::DataLossError(absl::StrCat(path, " has ", read.size(), " bytes; it had ", bytes));
}

}  // namespace

absl::StatusOr<CopiedBackups> PushBackups(const std::string& directory, ObjectStore& store,
                                          const BackupProgressSink& progress) {
  ASSIGN_OR_RETURN(const Files before, FilesIn(directory));
  Locked locked;
  RETURN_IF_ERROR(LockAll(directory, before, locked));
  ASSIGN_OR_RETURN(const Files files, FilesIn(directory));
  ASSIGN_OR_RETURN(const Manifests manifests, ManifestsIn(directory, files));
  ASSIGN_OR_RETURN(const Files objects, ObjectsOf(store));
  ASSIGN_OR_RETURN(const Manifests stored, ManifestsOf(store, objects));
  CopiedBackups copied;
  copied.backups = manifests.size();
  const auto settled = [&](const std::string& name) {
    const auto here = manifests.find(name);
    const auto there = stored.find(name);
    return here != manifests.end() && there != stored.end() && here->second == there->second;
  };
  for (const auto& [name, bytes] : objects) {
    if (!IsManifest(name) || settled(name)) continue;
    RETURN_IF_ERROR(store.Remove(name));
    ++copied.removed;
  }
  const Files missing = Missing(files, objects, Settled(manifests, stored));
  Copying copying(missing, progress);
  for (const auto& [name, bytes] : missing) {
    RETURN_IF_ERROR(copying.Tell());
    ASSIGN_OR_RETURN(const std::string content, ReadWhole(directory + "/" + name, bytes));
    RETURN_IF_ERROR(store.Put(name, content));
    copying.Did(bytes, copied);
  }
  for (const auto& [name, text] : manifests) {
    RETURN_IF_ERROR(copying.Tell());
    if (!settled(name)) RETURN_IF_ERROR(store.Put(name, text));
  }
  for (const auto& [name, bytes] : objects) {
    if (IsManifest(name) || files.count(name) != 0) continue;
    RETURN_IF_ERROR(store.Remove(name));
    ++copied.removed;
  }
  return copied;
}

absl::StatusOr<CopiedBackups> PullBackups(ObjectStore& store, const std::string& directory,
                                          const BackupProgressSink& progress) {
  ASSIGN_OR_RETURN(const Files objects, ObjectsOf(store));
  ASSIGN_OR_RETURN(const Manifests stored, ManifestsOf(store, objects));
  if (stored.empty()) return absl::NotFoundError("the store has no backups there");
  RETURN_IF_ERROR(MakeDirectory(directory));
  Locked locked;
  RETURN_IF_ERROR(LockAll(directory, objects, locked));
  ASSIGN_OR_RETURN(const Files files, FilesIn(directory));
  ASSIGN_OR_RETURN(const Manifests manifests, ManifestsIn(directory, files));
  for (const auto& [name, bytes] : files) {
    if (!IsManifest(name)) continue;
    const auto here = manifests.find(name);
    const auto there = stored.find(name);
    if (here != manifests.end() && there != stored.end() && here->second == there->second) continue;
    return absl::FailedPreconditionError(absl::StrCat(directory, " has ", name, ", which the store has not, or another "
                                                      "one: pull into another directory"));
  }
  const Files missing = Missing(objects, files, Settled(stored, manifests));
  CopiedBackups copied;
  copied.backups = stored.size();
  Copying copying(missing, progress);
  for (const auto& [name, bytes] : missing) {
    RETURN_IF_ERROR(copying.Tell());
    ASSIGN_OR_RETURN(const std::string content, store.Get(name));
    if (content.size() != bytes) {
      return absl::DataLossError(absl::StrCat("object ", name, " came with ", content.size(), " bytes; it has ",
                                              bytes));
    }
    const std::string path = directory + "/" + name;
    RETURN_IF_ERROR(MakeDirectory(std::filesystem::path(path).parent_path().string()));
    RETURN_IF_ERROR(ReplaceFile(path, content));
    copying.Did(bytes, copied);
  }
  for (const auto& [name, text] : stored) {
    RETURN_IF_ERROR(copying.Tell());
    RETURN_IF_ERROR(ReplaceFile(directory + "/" + name, text));
  }
  return copied;
}

}  // namespace mneme
