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

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "storage/backup_folder.h"
#include "storage/file_pieces.h"
#include "storage/files.h"
#include "storage/format.h"

namespace mneme {
namespace {

constexpr char kManifestPrefix[] = "BACKUP-";
constexpr char kDigits[] = "0123456789";
// Of shards, in names of folders.
constexpr size_t kShardDigits = 3;

using Files = std::map<std::string, uint64_t>;  // bytes by name

std::string FolderOf(const std::string& name) { return std::filesystem::path(name).parent_path().string(); }

bool IsNumber(const std::string& text) {
  return !text.empty() && text.find_first_not_of(kDigits) == std::string::npos;
}

// As StoreFolder() and PartDirectory() name what is of a shard.
bool IsOfShard(const std::string& name, const std::string& prefix) {
  if (!absl::StartsWith(name, prefix) || name.size() != prefix.size() + kShardDigits) return false;
  const std::string digits = name.substr(prefix.size());
  uint32_t shard = 0;
  return IsNumber(digits) && absl::SimpleAtoi(digits, &shard) && shard < limits::kMaxShards;
}

// How many folders a name begins with that are of a part: one or none.
size_t FoldersOfPart(const std::vector<std::string>& parts) {
  return parts.size() > 1 && IsOfShard(parts.front(), "part-") ? 1 : 0;
}

bool IsManifest(const std::string& name) {
  const std::vector<std::string> parts = absl::StrSplit(name, '/');
  return parts.size() == FoldersOfPart(parts) + 1 && absl::StartsWith(parts.back(), kManifestPrefix) &&
         IsNumber(parts.back().substr(sizeof(kManifestPrefix) - 1));
}

// What RocksDB gives a file: nothing of it leads elsewhere, nor does anything to a terminal.
bool IsFileName(const std::string& name) {
  return !name.empty() && name.front() != '.' && !absl::EndsWith(name, ".tmp") &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.';
         });
}

// Of a file of RocksDB's backup engine: "private/3/MANIFEST-5" of store "part-000/catalogue", and so on.
struct EngineFile {
  std::string store;
  bool shared = false;  // a table, whose name is of its content
  std::string id;       // of the backup that has it alone
};
// nullopt for whatever else lies in a directory or a bucket: it is somebody else's, and is left alone.
std::optional<EngineFile> ParseEngineFile(const std::string& name) {
  const std::vector<std::string> parts = absl::StrSplit(name, '/');
  const size_t at = FoldersOfPart(parts);
  if (parts.size() < at + 3 || (parts[at] != "catalogue" && !IsOfShard(parts[at], "shard-"))) return std::nullopt;
  const std::string& kind = parts[at + 1];
  EngineFile file;
  file.store = at == 0 ? parts[0] : absl::StrCat(parts[0], "/", parts[1]);
  file.shared = kind == "shared_checksum";
  if (!file.shared) file.id = parts[at + 2];
  if (!file.shared && !IsNumber(file.id)) return std::nullopt;
  const bool known = file.shared || kind == "private" || kind == "meta";
  const bool whole = parts.size() == at + (kind == "private" ? 4 : 3);
  return known && whole && IsFileName(parts.back()) ? std::optional(file) : std::nullopt;
}

// What is copied of a directory.
absl::StatusOr<Files> FilesIn(const std::string& directory) {
  Files files;
  std::error_code error;
  std::filesystem::recursive_directory_iterator entry(directory, error);
  for (; !error && entry != std::filesystem::recursive_directory_iterator(); entry.increment(error)) {
    if (!entry->is_regular_file(error)) continue;
    const std::string name = std::filesystem::path(entry->path()).lexically_relative(directory).string();
    if (ParseEngineFile(name).has_value() || IsManifest(name)) files[name] = entry->file_size(error);
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
    ASSIGN_OR_RETURN(std::optional<std::string> text, ReadSmallFile(directory + "/" + name, limits::kMaxManifestBytes));
    if (text.has_value() && format::DecodeBackupManifest(*text).ok()) manifests[name] = *std::move(text);
  }
  return manifests;
}

absl::StatusOr<Manifests> ManifestsOf(ObjectStore& store, const Files& objects) {
  Manifests manifests;
  for (const auto& [name, bytes] : objects) {
    if (!IsManifest(name) || bytes > limits::kMaxManifestBytes) continue;
    ASSIGN_OR_RETURN(std::string text, store.Get(name));
    if (format::DecodeBackupManifest(text).ok()) manifests[name] = std::move(text);
  }
  return manifests;
}

absl::StatusOr<Files> ObjectsOf(ObjectStore& store) {
  ASSIGN_OR_RETURN(const std::vector<StoredObject> listed, store.List());
  Files objects;
  for (const StoredObject& object : listed) {
    if (ParseEngineFile(object.name).has_value() || IsManifest(object.name)) objects[object.name] = object.bytes;
  }
  return objects;
}

// The store `i` of a manifest that has this name.
std::string StoreOf(const std::string& name, const BackupManifest& manifest, size_t i) {
  const std::string folder = FolderOf(name);
  const std::string path = StoreFolder(folder.empty() ? "." : folder, manifest.part, i);
  return std::filesystem::path(path).lexically_normal().string();
}

// Of manifests that both sides have: the stores with the ids that they name, whose files are therefore on both.
std::set<std::pair<std::string, std::string>> Settled(const Manifests& here, const Manifests& there) {
  std::set<std::pair<std::string, std::string>> settled;
  for (const auto& [name, text] : here) {
    const auto other = there.find(name);
    if (other == there.end() || other->second != text) continue;
    const BackupManifest manifest = format::DecodeBackupManifest(text).value();
    for (size_t i = 0; i < manifest.stores.size(); ++i) {
      settled.emplace(StoreOf(name, manifest, i), absl::StrCat(manifest.stores[i].id));
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

// That the directory has every file which its backups name: else what is put there is not whole, and what was lost here
// would be removed there.
absl::Status CheckFiles(const std::string& directory, const Files& files, const Manifests& manifests) {
  for (const auto& [name, text] : manifests) {
    const auto lacks = [&directory, &of = name](const std::string& file) {
      return absl::DataLossError(absl::StrCat(directory, " lacks ", file, ", which ", of, " names: pull that backup "
                                              "into another directory, or remove its manifest here and there"));
    };
    const BackupManifest manifest = format::DecodeBackupManifest(text).value();
    for (size_t i = 0; i < manifest.stores.size(); ++i) {
      if (manifest.stores[i].id == 0) continue;  // of another shard than 0: no catalogue
      const std::string store = StoreOf(name, manifest, i);
      const std::string meta = absl::StrCat(store, "/meta/", manifest.stores[i].id);
      ASSIGN_OR_RETURN(const std::optional<std::string> list,
                       ReadSmallFile(directory + "/" + meta, limits::kMaxBackupListBytes));
      if (!list.has_value()) return lacks(meta);
      for (const absl::string_view line : absl::StrSplit(*list, '\n')) {
        if (!absl::StartsWith(line, "shared_checksum/") && !absl::StartsWith(line, "private/")) continue;
        const std::string file = absl::StrCat(store, "/", line.substr(0, line.find(' ')));
        if (files.count(file) == 0) return lacks(file);
      }
    }
  }
  return absl::OkStatus();
}

// That a backup which the store has, and the directory has not, was removed here as old: else the directory was lost,
// or is another one, and the store has what there is. `files` are those of the directory.
absl::Status CheckRemoved(const std::string& directory, const Files& files, const Manifests& here,
                          const Files& objects, const Manifests& there) {
  std::map<std::string, uint64_t> newest;  // number, by folder
  std::set<uint64_t> sets;
  for (const auto& [name, text] : here) {
    const BackupManifest manifest = format::DecodeBackupManifest(text).value();
    uint64_t& number = newest[FolderOf(name)];
    number = std::max(number, manifest.number);
    if (manifest.part.has_value()) sets.insert(manifest.part->set);
  }
  for (const auto& [name, bytes] : objects) {
    if (!IsManifest(name) || there.count(name) != 0 || here.count(name) != 0) continue;
    return absl::FailedPreconditionError(absl::StrCat("the store has ", name, ", which is damaged or of a newer "
                                                      "program, and the directory has it not: push under another "
                                                      "prefix, or remove that object"));
  }
  for (const auto& [name, text] : there) {
    const auto own = here.find(name);
    if (own != here.end() && own->second == text) continue;
    const BackupManifest manifest = format::DecodeBackupManifest(text).value();
    const auto last = newest.find(FolderOf(name));
    const char* const why = own != here.end()       ? "where the directory has another one"
                            : files.count(name) != 0 ? "which is damaged in the directory"
                            : last == newest.end() || last->second < manifest.number
                                ? "which is newer than what the directory has"
                            : manifest.part.has_value() && sets.count(manifest.part->set) != 0
                                ? "of which the directory has another part"
                                : nullptr;
    if (why == nullptr) continue;
    return absl::FailedPreconditionError(absl::StrCat("the store has ", name, ", ", why, ": was ", directory,
                                                      " lost, or is it another one? Pull into another directory, push "
                                                      "under another prefix, or remove that object"));
  }
  return absl::OkStatus();
}

// Keeps others from writing into a directory of backups, and into those of its parts.
class Locked {
 public:
  explicit Locked(std::string directory) : directory_(std::move(directory)) {}

  absl::Status Lock() { return Lock(directory_); }
  // The parts that `files` are of; whether any was not locked before.
  absl::StatusOr<bool> LockParts(const Files& files) {
    bool any = false;
    for (const auto& [name, bytes] : files) {
      const std::vector<std::string> parts = absl::StrSplit(name, '/');
      if (FoldersOfPart(parts) == 0 || !parts_.insert(parts.front()).second) continue;
      RETURN_IF_ERROR(Lock(directory_ + "/" + parts.front()));
      any = true;
    }
    return any;
  }
  // What is there while nobody writes.
  absl::StatusOr<Files> List() {
    while (true) {
      ASSIGN_OR_RETURN(Files files, FilesIn(directory_));
      ASSIGN_OR_RETURN(const bool more, LockParts(files));
      if (!more) return files;
    }
  }

 private:
  absl::Status Lock(const std::string& directory) {
    ASSIGN_OR_RETURN(auto writer, BackupWriter::Open(directory));
    locks_.push_back(std::move(writer));
    return absl::OkStatus();
  }

  const std::string directory_;
  std::set<std::string> parts_;
  std::vector<std::unique_ptr<BackupWriter>> locks_;
};

// Those that a name leads through, each so that it lasts.
absl::Status MakeFolders(const std::string& directory, const std::string& name) {
  for (size_t at = name.find('/'); at != std::string::npos; at = name.find('/', at + 1)) {
    RETURN_IF_ERROR(MakeDirectory(absl::StrCat(directory, "/", name.substr(0, at))));
  }
  return absl::OkStatus();
}

// How many of these are manifests.
uint64_t Count(const Files& files) {
  return static_cast<uint64_t>(
      std::count_if(files.begin(), files.end(), [](const auto& file) { return IsManifest(file.first); }));
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

absl::Status CheckBytes(const std::string& name, uint64_t bytes) {
  if (bytes <= limits::kMaxStoredObjectBytes) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat(name, " has ", bytes, " bytes; must have at most ",
                                            limits::kMaxStoredObjectBytes));
}

absl::StatusOr<std::string> ReadWhole(const std::string& path, uint64_t bytes) {
  RETURN_IF_ERROR(CheckBytes(path, bytes));
  ASSIGN_OR_RETURN(std::string read, ReadPiece(path, 0, bytes));
  if (read.size() == bytes) return read;
  return absl::DataLossError(absl::StrCat(path, " has ", read.size(), " bytes; it had ", bytes));
}

}  // namespace

absl::StatusOr<CopiedBackups> PushBackups(const std::string& directory, ObjectStore& store,
                                          const BackupProgressSink& progress) {
  RETURN_IF_ERROR(FilesIn(directory).status());  // one that is not there is not made
  Locked locked(directory);
  RETURN_IF_ERROR(locked.Lock());
  ASSIGN_OR_RETURN(const Files files, locked.List());
  ASSIGN_OR_RETURN(const Manifests manifests, ManifestsIn(directory, files));
  RETURN_IF_ERROR(CheckFiles(directory, files, manifests));
  ASSIGN_OR_RETURN(const Files objects, ObjectsOf(store));
  ASSIGN_OR_RETURN(const Manifests stored, ManifestsOf(store, objects));
  RETURN_IF_ERROR(CheckRemoved(directory, files, manifests, objects, stored));
  CopiedBackups copied;
  copied.manifests = manifests.size();
  copied.damaged = Count(files) - manifests.size();
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
  Locked locked(directory);
  RETURN_IF_ERROR(locked.Lock());
  RETURN_IF_ERROR(locked.LockParts(objects).status());
  ASSIGN_OR_RETURN(const Files files, locked.List());
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
  copied.manifests = stored.size();
  copied.damaged = Count(objects) - stored.size();
  Copying copying(missing, progress);
  for (const auto& [name, bytes] : missing) {
    RETURN_IF_ERROR(copying.Tell());
    RETURN_IF_ERROR(CheckBytes(absl::StrCat("object ", name), bytes));
    ASSIGN_OR_RETURN(const std::string content, store.Get(name));
    if (content.size() != bytes) {
      return absl::DataLossError(absl::StrCat("object ", name, " came with ", content.size(), " bytes; it has ",
                                              bytes));
    }
    RETURN_IF_ERROR(MakeFolders(directory, name));
    RETURN_IF_ERROR(ReplaceFile(directory + "/" + name, content));
    copying.Did(bytes, copied);
  }
  for (const auto& [name, text] : stored) {
    RETURN_IF_ERROR(copying.Tell());
    RETURN_IF_ERROR(ReplaceFile(directory + "/" + name, text));
  }
  return copied;
}

}  // namespace mneme
