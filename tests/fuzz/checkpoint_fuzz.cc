// A checkpoint as another replica tells it: names and sizes of its files, and their pieces. An input is for each file
// u8 length | name | u8 flags | u16 length | bytes, of which what comes is made; then u8 for each piece.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "storage/checkpoint_target.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

using absl::StatusCode;

// Of a file: its checksum is told right; there is more of it than is told.
enum FileFlag : uint8_t { kSum = 1, kLonger = 2 };
// Of a piece: it came whole; it is of another place; it has nothing.
enum PieceFlag : uint8_t { kDamaged = 0x80, kElsewhere = 0x40, kEmpty = 0x20 };

constexpr size_t kMostFiles = 8;
constexpr size_t kMostPieces = 64;

struct Source {
  CheckpointManifest manifest;
  std::vector<std::string> bytes;  // by file
};

Source SourceOf(Input& in) {
  Source source;
  source.manifest.id = 7;
  const size_t files = in.Byte() % (kMostFiles + 1);
  for (size_t i = 0; i < files; ++i) {
    CheckpointFile& file = source.manifest.files.emplace_back();
    file.name = std::string(in.Bytes(in.Byte()));
    const uint8_t flags = in.Byte();
    const std::string& bytes = source.bytes.emplace_back(in.Bytes(in.Number<uint16_t>()));
    file.bytes = bytes.size() - ((flags & kLonger) != 0 && !bytes.empty() ? 1 : 0);
    // Whether a table is whole RocksDB says, which is not what is looked at here.
    const bool sum = (flags & kSum) != 0 && !absl::EndsWith(file.name, ".sst");
    file.checksum = sum ? Checksum128(std::string_view(bytes).substr(0, file.bytes)) : Hash128{1, 2};
  }
  return source;
}

bool Refused(const absl::Status& status) {
  // UNAVAILABLE: a name that a file system does not take.
  ExpectRefusal(status, {StatusCode::kDataLoss, StatusCode::kUnavailable}, {"checkpoint", "could not"});
  return false;
}

CheckpointChunk ChunkOf(const std::string& bytes, uint64_t offset, uint8_t flags) {
  CheckpointChunk chunk;
  chunk.offset = offset + ((flags & kElsewhere) != 0 ? 1 : 0);
  const size_t most = (flags & kEmpty) != 0 ? 0 : 1 + (flags & 0x1f) * size_t{64};
  chunk.bytes = bytes.substr(std::min<size_t>(offset, bytes.size()), most);
  chunk.checksum = ChunkChecksum(chunk.offset, chunk.bytes) + ((flags & kDamaged) != 0 ? 1 : 0);
  return chunk;
}

// What is there is `incoming`, and in it files of the manifest, none longer than it says.
void LookAround(const std::string& root, const CheckpointManifest& manifest) {
  std::map<std::string, uint64_t> sizes;
  for (const CheckpointFile& file : manifest.files) sizes[file.name] = file.bytes;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    Expect(entry.path().filename() == "incoming", "nothing is written elsewhere");
  }
  for (const auto& entry : std::filesystem::directory_iterator(root + "/incoming")) {
    const auto known = sizes.find(entry.path().filename().string());
    Expect(known != sizes.end() && entry.file_size() <= known->second, "a file is one of the manifest");
  }
}

bool Run(std::string_view input) {
  Input in(input);
  const std::string root = ScratchDirectory() + "/shard-000";
  std::error_code error;
  std::filesystem::remove_all(root, error);
  std::filesystem::create_directories(root, error);
  const Source source = SourceOf(in);
  // What an earlier copy left.
  std::filesystem::create_directories(root + "/incoming", error);
  std::ofstream(root + "/incoming/a stranger") << "bytes";
  const auto target = CheckpointTarget::Begin(root + "/db", source.manifest);
  if (!target.ok()) {
    return Refused(target.status());
  }
  for (size_t i = 0; i < kMostPieces; ++i) {
    const auto piece = (*target)->Next();
    LookAround(root, source.manifest);
    if (!piece.ok()) return Refused(piece.status());
    if (!piece->has_value()) {
      Expect(CheckpointTarget::Discard(root + "/db").ok() && std::filesystem::is_empty(root), "what came can go");
      return true;
    }
    const CheckpointFile& file = source.manifest.files.at((*piece)->file);
    // One of no bytes comes again, without any, when its checksum is told wrong.
    Expect((*piece)->offset < file.bytes || file.bytes == 0, "what is to come is of a file");
    const absl::Status finished = (*target)->Finish();
    Expect(absl::IsFailedPrecondition(finished) || absl::IsDataLoss(finished), "what has not come is not a copy");
    const CheckpointChunk chunk = ChunkOf(source.bytes[(*piece)->file], (*piece)->offset, in.Byte());
    const absl::Status written = (*target)->Write(**piece, chunk);
    if (!written.ok()) return Refused(written);
  }
  return false;
}

std::string FileSeed(const std::string& name, uint8_t flags, const std::string& bytes) {
  const auto size = static_cast<uint16_t>(bytes.size());
  return std::string(1, static_cast<char>(name.size())) + name + static_cast<char>(flags) +
         std::string{static_cast<char>(size & 0xff), static_cast<char>(size >> 8)} + bytes;
}

std::vector<std::string> Seeds() {
  const std::string long_one(3000, 'x');
  return {std::string(1, 0),
          "\1" + FileSeed("CURRENT", kSum, "MANIFEST-000004\n") + "\x1f",
          "\3" + FileSeed("000007.log", kSum, long_one) + FileSeed("empty", kSum, "") +
              FileSeed("MANIFEST-000004", kSum, "abcd") + "\x1f\x1f\x1f\x1f"};
}

const Registration kTarget({"checkpoint", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
