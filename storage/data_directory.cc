#include "storage/data_directory.h"

#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "storage/files.h"
#include "storage/format.h"

namespace mneme {
namespace {

absl::StatusOr<int> Lock(const std::string& path) {
  return LockDirectory(path, absl::StrCat("another process holds the data directory ", path));
}

absl::StatusOr<uint64_t> RandomDeployment() {
  uint64_t number = 0;
  while (number == 0) {
    if (::getrandom(&number, sizeof(number), 0) != sizeof(number)) return ErrnoStatus("read", "random bytes");
  }
  return number;
}

std::string WithoutSlashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

// What a directory without FORMAT must not hold: the files of a deployment whose FORMAT was lost.
bool HoldsStores(const std::string& path) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    const std::string name = entry.path().filename();
    if (name == "catalogue" || absl::StartsWith(name, "shard-")) return true;
  }
  return false;
}

absl::StatusOr<format::DirectoryFormat> NewFormat(uint32_t shards, const std::optional<HostedDirectory>& hosted) {
  format::DirectoryFormat created;
  if (hosted.has_value()) {
    created.version = hosted->logged ? format::kLoggedDirectoryFormat : format::kHostedDirectoryFormat;
    created.hosts = hosted->shard;
    created.deployment = hosted->deployment;
  }
  if (created.deployment == 0) {
    ASSIGN_OR_RETURN(created.deployment, RandomDeployment());
  }
  created.shards = shards;
  return created;
}

absl::StatusOr<format::DirectoryFormat> ReadOrCreateFormat(const std::string& path, uint32_t shards,
                                                           const std::optional<HostedDirectory>& hosted) {
  const std::string file = path + "/FORMAT";
  ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadSmallFile(file, limits::kMaxFormatBytes));
  if (text.has_value()) return format::DecodeDirectoryFormat(*text);
  if (HoldsStores(path)) return absl::DataLossError(absl::StrCat(file, " is missing, but ", path, " holds data"));
  if (hosted.has_value() && hosted->had_data) {
    return absl::DataLossError(absl::StrCat(path, " holds nothing, but the deployment has memories of which shard ",
                                            hosted->shard, " may have had entries: is it another directory, or was its "
                                            "disk lost? Restore a copy, or give up what it had with "
                                            "--accept-empty-shard"));
  }
  ASSIGN_OR_RETURN(format::DirectoryFormat created, NewFormat(shards == 0 ? 1 : shards, hosted));
  RETURN_IF_ERROR(ReplaceFile(file, format::EncodeDirectoryFormat(created)));
  return created;
}

std::string Hosts(std::optional<uint32_t> shard) {
  return shard.has_value() ? absl::StrCat("has shard ", *shard, " alone") : "has all shards";
}

absl::Status CheckHosts(const std::string& path, const format::DirectoryFormat& stored,
                        const std::optional<HostedDirectory>& hosted) {
  const std::optional<uint32_t> wanted = hosted.has_value() ? std::optional(hosted->shard) : std::nullopt;
  if (stored.hosts != wanted) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " ", Hosts(stored.hosts), "; it cannot be opened as one that ", Hosts(wanted)));
  }
  if (hosted.has_value() && hosted->logged != stored.logged()) {
    return absl::FailedPreconditionError(
        stored.logged() ? absl::StrCat(path, " has what a replicated log said; it cannot be opened without --log")
                        : absl::StrCat(path, " has a log of its own; it cannot be opened with --log"));
  }
  if (hosted.has_value() && hosted->deployment != 0 && hosted->deployment != stored.deployment) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is of another deployment than shard 0 serves"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataDirectory>> DataDirectory::Open(std::string path, uint32_t shards,
                                                                   std::optional<HostedDirectory> hosted) {
  if (path.empty()) return absl::InvalidArgumentError("the data directory's path is empty");
  if (shards > limits::kMaxShards) {
    return absl::InvalidArgumentError(absl::StrCat("shards is ", shards, "; must be in [1, ", limits::kMaxShards, "]"));
  }
  path = WithoutSlashes(std::move(path));
  RETURN_IF_ERROR(MakeDirectory(path));
  ASSIGN_OR_RETURN(const int lock_fd, Lock(path));
  absl::Cleanup release = [lock_fd] { ::close(lock_fd); };
  // Vectors can be inverted to text: nobody else may read them.
  if (::chmod(path.c_str(), 0700) != 0) return ErrnoStatus("protect", path);
  ASSIGN_OR_RETURN(const format::DirectoryFormat stored, ReadOrCreateFormat(path, shards, hosted));
  if (shards != 0 && shards != stored.shards) {
    return absl::FailedPreconditionError(absl::StrCat("shards is ", shards, ", but ", path, " was created with ",
                                                      stored.shards, "; the number cannot change"));
  }
  RETURN_IF_ERROR(CheckHosts(path, stored, hosted));
  std::unique_ptr<DataDirectory> directory(
      new DataDirectory(std::move(path), stored.shards, stored.deployment, lock_fd));
  std::move(release).Cancel();
  if (hosted.has_value() && hosted->deployment == 0) RETURN_IF_ERROR(directory->CheckCatalogue(hosted->shard));
  // Of a backup that was cut: its links keep tables on disk that nothing needs.
  std::error_code error;
  std::filesystem::remove_all(directory->CheckpointPath(), error);
  RETURN_IF_ERROR(directory->MakeShardDirectories(hosted));
  return directory;
}

// Opened without its catalogue all entries of a shard would be of memories that nobody knows.
absl::Status DataDirectory::CheckCatalogue(uint32_t shard) const {
  std::error_code error;
  const bool has_shard = std::filesystem::exists(StorePath(shard) + "/CURRENT", error);
  if (!has_shard || std::filesystem::exists(CataloguePath(), error)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(path_, " has a shard and no catalogue, so its memories have no "
                                                    "names: put a copy of the whole directory back"));
}

absl::Status DataDirectory::MakeShardDirectories(const std::optional<HostedDirectory>& hosted) const {
  for (uint32_t shard = 0; shard < shards_; ++shard) {
    if (hosted.has_value() && hosted->shard != shard) continue;
    RETURN_IF_ERROR(MakeDirectory(std::filesystem::path(StorePath(shard)).parent_path().string()));
    RETURN_IF_ERROR(MakeDirectory(IndexPath(shard)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<uint64_t>> DataDirectory::StoredDeployment(const std::string& path) {
  ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadSmallFile(path + "/FORMAT", limits::kMaxFormatBytes));
  if (!text.has_value()) return std::optional<uint64_t>();
  ASSIGN_OR_RETURN(const format::DirectoryFormat stored, format::DecodeDirectoryFormat(*text));
  return std::optional<uint64_t>(stored.deployment);
}

absl::Status DataDirectory::CheckUnused(const std::string& path) {
  std::error_code error;
  const bool exists = std::filesystem::exists(path, error);
  auto entries = exists ? std::filesystem::directory_iterator(path, error) : std::filesystem::directory_iterator();
  if (error) return absl::UnavailableError(absl::StrCat("could not read ", path, ": ", error.message()));
  for (const auto& entry : entries) {
    const std::string name = entry.path().filename();
    if (name == "LOCK") continue;
    const std::string what = std::filesystem::exists(path + "/FORMAT", error) ? "is a data directory already"
                             : HoldsStores(path) ? "has stores without a FORMAT, as after a restore that was cut"
                                                 : absl::StrCat("has ", name);
    return absl::FailedPreconditionError(absl::StrCat(path, " must be absent or empty, but ", what));
  }
  return absl::OkStatus();
}

absl::Status DataDirectory::Make(std::string path, uint32_t shards,
                                 const std::function<absl::Status(const DataDirectory&)>& fill,
                                 const std::optional<HostedDirectory>& hosted) {
  path = WithoutSlashes(std::move(path));
  std::error_code error;
  const bool was_there = std::filesystem::exists(path, error);
  ASSIGN_OR_RETURN(format::DirectoryFormat format, NewFormat(shards, hosted));
  RETURN_IF_ERROR(MakeDirectory(path));
  ASSIGN_OR_RETURN(const int lock_fd, Lock(path));
  const DataDirectory made(path, shards, format.deployment, lock_fd);
  RETURN_IF_ERROR(CheckUnused(path));
  absl::Cleanup remove = [&] {
    for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
      std::filesystem::remove_all(entry.path(), error);
    }
    if (!was_there) std::filesystem::remove(path, error);
  };
  if (::chmod(path.c_str(), 0700) != 0) return ErrnoStatus("protect", path);
  RETURN_IF_ERROR(made.MakeShardDirectories(hosted));
  RETURN_IF_ERROR(fill(made));
  RETURN_IF_ERROR(ReplaceFile(path + "/FORMAT", format::EncodeDirectoryFormat(format)));
  std::move(remove).Cancel();
  return absl::OkStatus();
}

DataDirectory::DataDirectory(std::string path, uint32_t shards, uint64_t deployment, int lock_fd)
    : path_(std::move(path)), shards_(shards), deployment_(deployment), lock_fd_(lock_fd) {}

DataDirectory::~DataDirectory() { ::close(lock_fd_); }

std::string DataDirectory::RestoredPath() const { return path_ + "/RESTORED"; }

std::string DataDirectory::CataloguePath() const { return path_ + "/catalogue"; }

std::string DataDirectory::CheckpointPath() const { return path_ + "/checkpoint"; }

std::string DataDirectory::StorePath(uint32_t shard) const {
  return absl::StrFormat("%s/shard-%03u/db", path_, shard);
}

std::string DataDirectory::IndexPath(uint32_t shard) const {
  return absl::StrFormat("%s/shard-%03u/index", path_, shard);
}

}  // namespace mneme
