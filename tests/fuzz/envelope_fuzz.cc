// The container of index files. An input is u8 flags | u8 section entries | 80 bytes of header | 24 bytes an entry |
// the rest of the file, without its table; flags say which sizes and checksums are set right.
#include "index/envelope.h"

#include <fstream>
#include <iterator>

#include "common/checksum.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/index_file.h"

namespace mneme::fuzz {
namespace {

enum Flag : uint8_t { kTable = 1, kSize = 2, kHeaderSum = 4, kFlags = 7 };

// docs/formats.md, "Index files".
constexpr size_t kPageBytes = 4096;
constexpr size_t kBlockBytes = 64 * 1024;
constexpr size_t kFixedBytes = 80;
constexpr size_t kEntryBytes = 24;
constexpr size_t kMostEntries = 64;
constexpr size_t kCountAt = 52;
constexpr size_t kTableAt = 56;
constexpr size_t kTableSumAt = 64;
constexpr size_t kSizeAt = 72;

void Put(uint64_t number, size_t at, std::string& page) { std::memcpy(page.data() + at, &number, sizeof(number)); }

std::string FileOfInput(Input in) {
  const uint8_t flags = in.Byte();
  const size_t entries = in.Byte() % (kMostEntries + 1);
  std::string file(in.Bytes(kFixedBytes + entries * kEntryBytes));
  file.resize(kPageBytes);
  const std::string_view body = in.Rest();
  std::string table;
  for (size_t offset = 0; offset < body.size(); offset += kBlockBytes) {
    const uint64_t sum = Checksum64(body.substr(offset, kBlockBytes));
    table.append(reinterpret_cast<const char*>(&sum), sizeof(sum));
  }
  if ((flags & kTable) != 0) {
    Put(kPageBytes + body.size(), kTableAt, file);
    Put(Checksum64(table), kTableSumAt, file);
  }
  if ((flags & kSize) != 0) Put(kPageBytes + body.size() + table.size(), kSizeAt, file);
  if ((flags & kHeaderSum) != 0) {
    Put(Checksum64(std::string_view(file).substr(sizeof(uint64_t), kPageBytes - sizeof(uint64_t))), 0, file);
  }
  file += body;
  return file + table;
}

bool Run(std::string_view input) {
  const std::string bytes = FileOfInput(Input(input));
  const std::string path = FileOf(bytes);
  const AllocationBound bound(64 * 1024 + bytes.size());
  const auto file = Envelope::Open(path, EnvelopeKind::kSegment, kIdentity);
  if (!file.ok()) {
    ExpectRefusal(file.status(), {absl::StatusCode::kDataLoss}, {path});
    return false;
  }
  Expect((*file)->file_bytes() == bytes.size(), "a file has its bytes");
  uint64_t sum = 0;
  for (uint32_t id = 0; id < 64; ++id) {
    const std::string_view section = (*file)->Section(id);
    if (section.empty()) continue;
    Expect(reinterpret_cast<uintptr_t>(section.data()) % 64 == 0, "sections are aligned");
    Expect(section.size() <= bytes.size() - kPageBytes, "a section lies in its file");
    for (const char byte : section) sum += static_cast<uint8_t>(byte);
    const char* sparse = section.data() + (*file)->sparse_map();
    Expect(section == std::string_view(sparse, section.size()), "both maps have the same bytes");
  }
  (*file)->LetGo();
  Expect(sum <= 64 * 255 * bytes.size(), "every byte was read");
  return true;
}

std::string Seed(std::initializer_list<std::pair<uint32_t, size_t>> sections) {
  const std::string path = ScratchDirectory() + "/envelope";
  auto writer = EnvelopeWriter::New(path, EnvelopeKind::kSegment, kIdentity);
  Expect(writer.ok(), "a seed can be made");
  for (const auto& [id, bytes] : sections) {
    Expect((*writer)->AddSection(id, std::string(bytes, static_cast<char>('a' + id))).ok(), "a seed can be written");
  }
  Expect((*writer)->Finish().ok(), "a seed can be written");
  std::ifstream stream(path, std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  uint64_t table = 0;
  std::memcpy(&table, file.data() + kTableAt, sizeof(table));
  const auto entries = static_cast<uint8_t>(file[kCountAt]);
  const std::string seed = std::string{static_cast<char>(kFlags), static_cast<char>(entries)} +
                           file.substr(0, kFixedBytes + entries * kEntryBytes) +
                           file.substr(kPageBytes, table - kPageBytes);
  Expect(FileOfInput(Input(seed)) == file, "an input stands for the file that it was made of");
  return seed;
}

std::vector<std::string> Seeds() { return {Seed({}), Seed({{1, 5}, {2, 0}, {9, 200}}), Seed({{1, 70'000}})}; }

const Registration kTarget({"envelope", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
