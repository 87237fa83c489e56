#include "storage/checkpoint_target.h"

#include <fcntl.h>
#include <rocksdb/env.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "storage/commit_watermark.h"
#include "storage/file_pieces.h"
#include "storage/files.h"
#include "storage/format.h"
#include "storage/read_only_db.h"
#include "storage/rocksdb_status.h"
#include "storage/table_file.h"

namespace mneme {
namespace {

// A file that is another than it should be so often is another at its source.
constexpr int kMostRefusals = 3;

std::string Beside(const std::string& store_path, const char* name) {
  return (std::filesystem::path(store_path).parent_path() / name).string();
}
std::string IncomingPath(const std::string& store_path) { return Beside(store_path, "incoming"); }
std::string ArrivedPath(const std::string& store_path) { return Beside(store_path, "arrived"); }

absl::Status RemoveAll(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (!error) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("could not remove ", path, ": ", error.message()));
}

absl::Status RemoveContents(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return absl::OkStatus();
  std::vector<std::string> names;
  std::filesystem::directory_iterator entry(path, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    names.push_back(entry->path().string());
  }
  if (error) return absl::UnavailableError(absl::StrCat("could not read ", path, ": ", error.message()));
  for (const std::string& name : names) RETURN_IF_ERROR(RemoveAll(name));
  return SyncDirectory(path);
}

absl::Status Rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return ErrnoStatus("rename", from);
  return SyncDirectory(std::filesystem::path(to).parent_path().string());
}

// A source may say any name: none leads out of the folder, and none is twice.
absl::Status CheckNames(const CheckpointManifest& manifest) {
  std::set<std::string> names;
  for (const CheckpointFile& file : manifest.files) {
    const bool plain = !file.name.empty() && file.name.size() <= limits::kMaxFileNameBytes && file.name != "." &&
                       file.name != ".." && !absl::StrContains(file.name, '/') &&
                       !absl::StrContains(file.name, '\0') && file.name != format::kWatermarkFile;
    if (!plain || !names.insert(file.name).second) {
      return absl::DataLossError("the manifest of a checkpoint names a file that none has");
    }
  }
  if (names.size() <= limits::kMaxCheckpointFiles) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the manifest of a checkpoint has ", names.size(),
                                          " files; must have at most ", limits::kMaxCheckpointFiles));
}

}  // namespace

CheckpointTarget::CheckpointTarget(std::string folder, CheckpointManifest manifest,
                                   std::function<absl::Status()> go_on)
    : folder_(std::move(folder)), manifest_(std::move(manifest)),
      go_on_(go_on != nullptr ? std::move(go_on) : [] { return absl::OkStatus(); }),
      verified_(manifest_.files.size(), false), refused_(manifest_.files.size(), 0) {}

CheckpointTarget::~CheckpointTarget() {
  if (fd_ >= 0) ::close(fd_);
}

absl::StatusOr<std::unique_ptr<CheckpointTarget>> CheckpointTarget::Begin(const std::string& store_path,
                                                                          CheckpointManifest manifest,
                                                                          std::function<absl::Status()> go_on) {
  RETURN_IF_ERROR(CheckNames(manifest));
  std::unique_ptr<CheckpointTarget> begun(
      new CheckpointTarget(IncomingPath(store_path), std::move(manifest), std::move(go_on)));
  RETURN_IF_ERROR(MakeDirectory(begun->folder_));
  RETURN_IF_ERROR(begun->RemoveStrangers());
  return begun;
}

std::string CheckpointTarget::PathOf(uint64_t file) const {
  return absl::StrCat(folder_, "/", manifest_.files[file].name);
}

absl::Status CheckpointTarget::RemoveStrangers() const {
  std::set<std::string> known;
  for (uint64_t file = 0; file < manifest_.files.size(); ++file) {
    ASSIGN_OR_RETURN(const uint64_t size, SizeOf(file));
    if (size <= manifest_.files[file].bytes) known.insert(manifest_.files[file].name);
  }
  std::vector<std::string> strangers;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder_, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    if (known.count(entry->path().filename().string()) == 0) strangers.push_back(entry->path().string());
  }
  if (error) return absl::UnavailableError(absl::StrCat("could not read ", folder_, ": ", error.message()));
  for (const std::string& stranger : strangers) RETURN_IF_ERROR(RemoveAll(stranger));
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> CheckpointTarget::SizeOf(uint64_t file) const {
  struct stat found = {};
  if (::lstat(PathOf(file).c_str(), &found) == 0) return static_cast<uint64_t>(found.st_size);
  if (errno == ENOENT) return uint64_t{0};
  return ErrnoStatus("read", PathOf(file));
}

absl::StatusOr<bool> CheckpointTarget::Verify(uint64_t file) {
  RETURN_IF_ERROR(CloseWritten());
  const std::string path = PathOf(file);
  RETURN_IF_ERROR(SyncFile(path));
  ASSIGN_OR_RETURN(const SummedFile summed, SumFile(path, [this](uint64_t) { return go_on_(); }));
  const CheckpointFile& expected = manifest_.files[file];
  if (summed.bytes == expected.bytes && summed.checksum == expected.checksum) {
    if (absl::EndsWith(expected.name, ".sst")) RETURN_IF_ERROR(VerifyTable(path));
    return true;
  }
  RETURN_IF_ERROR(RemoveAll(path));
  if (++refused_[file] < kMostRefusals) return false;
  return absl::DataLossError(absl::StrCat("file ", expected.name, " of a checkpoint came ", kMostRefusals,
                                          " times with another checksum than its source says"));
}

absl::StatusOr<std::optional<CheckpointTarget::Piece>> CheckpointTarget::Next() {
  for (uint64_t file = 0; file < manifest_.files.size(); ++file) {
    if (verified_[file]) continue;
    const CheckpointFile& expected = manifest_.files[file];
    // One of no bytes comes without any.
    if (expected.bytes == 0) {
      RETURN_IF_ERROR(OpenToWrite(file));
      RETURN_IF_ERROR(CloseWritten());
    }
    ASSIGN_OR_RETURN(uint64_t size, SizeOf(file));
    if (size == expected.bytes) {
      ASSIGN_OR_RETURN(const bool whole, Verify(file));
      verified_[file] = whole;
      if (whole) continue;
      size = 0;
    }
    return std::optional<Piece>(Piece{file, size});
  }
  return std::optional<Piece>();
}

absl::Status CheckpointTarget::OpenToWrite(uint64_t file) {
  if (writing_ == file) return absl::OkStatus();
  RETURN_IF_ERROR(CloseWritten());
  const std::string path = PathOf(file);
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd_ < 0) return ErrnoStatus("create", path);
  writing_ = file;
  return absl::OkStatus();
}

absl::Status CheckpointTarget::CloseWritten() {
  if (!writing_.has_value()) return absl::OkStatus();
  const std::string path = PathOf(*writing_);
  writing_.reset();
  if (::close(std::exchange(fd_, -1)) != 0) return ErrnoStatus("close", path);
  return absl::OkStatus();
}

absl::Status CheckpointTarget::Write(const Piece& piece, const CheckpointChunk& chunk) {
  if (piece.file >= manifest_.files.size()) return absl::InternalError("the checkpoint has no such file");
  const CheckpointFile& file = manifest_.files[piece.file];
  if (chunk.offset != piece.offset || chunk.checksum != ChunkChecksum(chunk.offset, chunk.bytes)) {
    return absl::DataLossError(absl::StrCat("a piece of file ", file.name, " of a checkpoint was damaged on its way"));
  }
  if (chunk.bytes.empty() || chunk.bytes.size() > file.bytes || piece.offset > file.bytes - chunk.bytes.size()) {
    return absl::DataLossError(absl::StrCat("a piece of file ", file.name, " of a checkpoint has ", chunk.bytes.size(),
                                            " bytes at ", piece.offset, "; the file has ", file.bytes));
  }
  RETURN_IF_ERROR(OpenToWrite(piece.file));
  std::string_view rest = chunk.bytes;
  while (!rest.empty()) {
    const uint64_t at = piece.offset + (chunk.bytes.size() - rest.size());
    const ssize_t written = ::pwrite(fd_, rest.data(), rest.size(), static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus("write", PathOf(piece.file));
    rest.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status CheckpointTarget::Finish() {
  ASSIGN_OR_RETURN(const std::optional<Piece> missing, Next());
  if (missing.has_value()) {
    return absl::FailedPreconditionError(
        absl::StrCat("file ", manifest_.files[missing->file].name, " of the checkpoint has not come"));
  }
  {
    ASSIGN_OR_RETURN(const auto store, ReadOnlyDb::Open(folder_, rocksdb::Env::Default()));
    ASSIGN_OR_RETURN(const StoreContents contents, store->ReadContents());
    if (contents.applied != manifest_.applied || contents.entries != manifest_.entries) {
      return absl::DataLossError(absl::StrCat("the copy of a store ends at sequence ", contents.applied, " with ",
                                              contents.entries, " entries; its checkpoint has ", manifest_.applied,
                                              " and ", manifest_.entries));
    }
  }
  RETURN_IF_ERROR(
      CommitWatermark::Create(absl::StrCat(folder_, "/", format::kWatermarkFile), manifest_.applied).status());
  RETURN_IF_ERROR(SyncDirectory(folder_));
  return Rename(folder_, ArrivedPath(folder_));
}

absl::Status CheckpointTarget::Install(const std::string& store_path, const std::string& index_path) {
  const std::string arrived = ArrivedPath(store_path);
  std::error_code error;
  if (!std::filesystem::exists(arrived, error)) return absl::OkStatus();
  // Files of the old index have numbers that the segment records of the copy may name.
  RETURN_IF_ERROR(RemoveContents(index_path));
  RETURN_IF_ERROR(RemoveAll(store_path));
  return Rename(arrived, store_path);
}

absl::Status CheckpointTarget::Discard(const std::string& store_path) { return RemoveAll(IncomingPath(store_path)); }

absl::StatusOr<std::optional<Sequence>> SequenceOfStore(const std::string& path, Sequence enough) {
  std::error_code error;
  if (!std::filesystem::exists(path + "/CURRENT", error)) return std::optional<Sequence>();
  ASSIGN_OR_RETURN(const std::optional<Sequence> mark,
                   CommitWatermark::Read(absl::StrCat(path, "/", format::kWatermarkFile)));
  if (mark.has_value() && *mark >= enough) return mark;
  ASSIGN_OR_RETURN(const auto store, ReadOnlyDb::Open(path, rocksdb::Env::Default()));
  std::string bytes;
  const rocksdb::Status read = store->db().Get(rocksdb::ReadOptions(), format::kStateKey, &bytes);
  if (read.IsNotFound()) return std::optional<Sequence>(0);
  RETURN_IF_ERROR(FromRocksDb(read, "read its state"));
  ASSIGN_OR_RETURN(const format::StoreState state, format::DecodeState(bytes));
  return std::optional<Sequence>(state.applied);
}

}  // namespace mneme
