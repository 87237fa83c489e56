#include "engine/index_files.h"

#include <charconv>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

constexpr char kSegmentEnding[] = ".segment";
constexpr char kCodebookEnding[] = ".codebook";

}  // namespace

IndexFiles::IndexFiles(std::string directory, uint64_t deployment)
    : directory_(std::move(directory)), deployment_(deployment) {}

absl::StatusOr<std::unique_ptr<IndexFiles>> IndexFiles::Open(std::string directory, uint64_t deployment) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return absl::UnavailableError(absl::StrCat("cannot create ", directory, ": ", error.message()));
  return std::unique_ptr<IndexFiles>(new IndexFiles(std::move(directory), deployment));
}

void IndexFiles::ReserveThrough(uint64_t number) {
  uint64_t next = next_number_.load();
  while (next <= number && !next_number_.compare_exchange_weak(next, number + 1)) {
  }
}

std::string IndexFiles::SegmentPath(uint64_t number) const {
  return absl::StrCat(directory_, "/", absl::StrFormat("%016x", number), kSegmentEnding);
}

std::string IndexFiles::CodebookPath(uint64_t number) const {
  return absl::StrCat(directory_, "/", absl::StrFormat("%016x", number), kCodebookEnding);
}

EnvelopeIdentity IndexFiles::Identity(const PartitionKey& key, uint64_t number) const {
  return {.deployment = deployment_, .memory = key.memory, .partition = key.partition, .file_number = number};
}

absl::StatusOr<std::shared_ptr<const Segment>> IndexFiles::OpenSegment(const SegmentRecord& record,
                                                                       const IndexSpec& spec) const {
  ASSIGN_OR_RETURN(auto segment, Segment::Open(SegmentPath(record.file_number), spec,
                                               Identity(record.key, record.file_number)));
  if (segment->first_row() != record.first_row || segment->end_row() != record.end_row ||
      segment->codebook_number() != record.codebook_number) {
    return absl::DataLossError(absl::StrCat("segment ", record.file_number, " holds other rows than its record says"));
  }
  return segment;
}

absl::StatusOr<std::shared_ptr<const Codebook>> IndexFiles::OpenCodebook(const PartitionKey& key, uint64_t number,
                                                                         const IndexSpec& spec) const {
  ASSIGN_OR_RETURN(auto codebook, Codebook::Open(CodebookPath(number), spec, Identity(key, number)));
  return std::shared_ptr<const Codebook>(std::move(codebook));
}

void IndexFiles::RemoveSegment(uint64_t number) const {
  std::error_code ignored;  // a file that stays is removed when the shard opens
  std::filesystem::remove(SegmentPath(number), ignored);
}

void IndexFiles::RemoveCodebook(uint64_t number) const {
  std::error_code ignored;
  std::filesystem::remove(CodebookPath(number), ignored);
}

std::vector<std::string> IndexFiles::AllBut(const std::set<uint64_t>& referenced) const {
  std::vector<std::string> paths;
  std::error_code ignored;
  for (const auto& file : std::filesystem::directory_iterator(directory_, ignored)) {
    const std::string name = file.path().filename().string();
    uint64_t number = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), number, 16);
    const bool whole = name.ends_with(kSegmentEnding) || name.ends_with(kCodebookEnding);
    if (parsed.ec != std::errc() || !whole || !referenced.contains(number)) paths.push_back(file.path().string());
  }
  return paths;
}

void IndexFiles::RemoveAllBut(const std::set<uint64_t>& referenced) const {
  std::error_code ignored;
  for (const std::string& path : AllBut(referenced)) std::filesystem::remove(path, ignored);
}

}  // namespace mneme
