// The file: a header page of 4096 bytes, the sections, the table of block checksums.
//
// 1. Everything from byte 4096 to the table, padding included, lies in exactly one 64 KiB block of the table.
// 2. The table is covered by a checksum in the header, and the whole header page, padding included, by the header's own
//    checksum. So every byte of the file is covered.
// 3. Nothing is read from a file, not even a size, before what covers it was verified.
#include "index/envelope.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <thread>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/crash_point.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

static_assert(std::endian::native == std::endian::little, "index files are little endian");

constexpr uint64_t kMagic = 0x31584449454D4E4DULL;  // "MNMEIDX1"
constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderBytes = 4096;
constexpr size_t kBlockBytes = 64 * 1024;
constexpr size_t kSectionAlignment = 64;
constexpr size_t kMaxSections = 64;
// A thread more is worth starting for so many bytes to verify.
constexpr uint64_t kBytesPerThread = 8 * 1024 * 1024;
constexpr uint64_t kRunBlocks = 16;  // that a thread verifies at a time

struct SectionEntry {
  uint32_t id = 0;
  uint32_t reserved = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

// The header page as it is stored (docs/formats.md).
struct Header {
  uint64_t header_checksum = 0;  // XXH3-64 of the rest of the page
  uint64_t magic = kMagic;
  uint32_t version = kVersion;
  uint32_t kind = 0;
  uint64_t deployment = 0;
  uint64_t partition = 0;
  uint64_t file_number = 0;
  uint32_t memory = 0;
  uint32_t section_count = 0;
  uint64_t table_offset = 0;
  uint64_t table_checksum = 0;
  uint64_t file_bytes = 0;
  SectionEntry sections[kMaxSections];
};
static_assert(std::is_trivially_copyable_v<Header> && sizeof(Header) <= kHeaderBytes);

using HeaderPage = std::array<char, kHeaderBytes>;

uint64_t HeaderChecksum(const char* page) {
  return Checksum64({page + sizeof(uint64_t), kHeaderBytes - sizeof(uint64_t)});
}

HeaderPage EncodeHeader(const Header& header) {
  HeaderPage page{};
  std::memcpy(page.data(), &header, sizeof(header));
  const uint64_t checksum = HeaderChecksum(page.data());
  std::memcpy(page.data(), &checksum, sizeof(checksum));
  return page;
}

absl::Status SystemError(const char* what, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot ", what, " ", path));
}

// A file system that copies on write (btrfs) needs room a second time for bytes that were reserved, and a mapping that
// finds none is a SIGBUS. Asked of an empty file it writes in place; others do not know the flag, and write in place
// anyway.
void WriteInPlace(int file) {
  int flags = 0;
  if (::ioctl(file, FS_IOC_GETFLAGS, &flags) != 0) return;
  flags |= FS_NOCOW_FL;
  ::ioctl(file, FS_IOC_SETFLAGS, &flags);
}

absl::Status WriteAt(int file, const char* bytes, size_t size, uint64_t offset, const std::string& path) {
  while (size > 0) {
    const ssize_t written = ::pwrite(file, bytes, size, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return SystemError("write", path);
    bytes += written;
    size -= static_cast<size_t>(written);
    offset += static_cast<uint64_t>(written);
  }
  return absl::OkStatus();
}

absl::Status SyncDirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
  const int file = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return SystemError("open directory", directory);
  const int synced = ::fsync(file);
  const absl::Status status = synced == 0 ? absl::OkStatus() : SystemError("sync directory", directory);
  ::close(file);
  return status;
}

}  // namespace

struct EnvelopeWriter::State {
  std::string path;
  std::string temporary;
  int file = -1;
  Header header;
  std::vector<char> block;         // what waits to be written
  uint64_t end = kHeaderBytes;     // where the next byte goes
  bool finished = false;
  struct Map {
    char* bytes;
    uint64_t size;
  };
  std::vector<Map> maps;

  absl::Status FlushBlock() {
    if (block.empty()) return absl::OkStatus();
    RETURN_IF_ERROR(WriteAt(file, block.data(), block.size(), end - block.size(), temporary));
    block.clear();
    return absl::OkStatus();
  }

  void Unmap() {
    for (const Map& map : maps) ::munmap(map.bytes, map.size);
    maps.clear();
  }

  // The checksum of every block from the header to `end`, as the file holds it.
  absl::StatusOr<std::vector<uint64_t>> SumBlocks() const {
    std::vector<uint64_t> sums;
    std::vector<char> bytes(kBlockBytes);
    for (uint64_t offset = kHeaderBytes; offset < end; offset += kBlockBytes) {
      const size_t size = std::min<uint64_t>(kBlockBytes, end - offset);
      for (size_t read = 0; read < size;) {
        const ssize_t got = ::pread(file, bytes.data() + read, size - read, static_cast<off_t>(offset + read));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return SystemError("read back", temporary);
        if (got == 0) {
          return absl::DataLossError(
              absl::StrCat(temporary, " ends at byte ", offset + read, "; must have ", end));
        }
        read += static_cast<size_t>(got);
      }
      sums.push_back(Checksum64({bytes.data(), size}));
    }
    return sums;
  }

  absl::Status Put(std::string_view bytes) {
    while (!bytes.empty()) {
      const size_t take = std::min(bytes.size(), kBlockBytes - block.size());
      block.insert(block.end(), bytes.data(), bytes.data() + take);
      bytes.remove_prefix(take);
      end += take;
      if (block.size() == kBlockBytes) RETURN_IF_ERROR(FlushBlock());
    }
    return absl::OkStatus();
  }

  absl::Status Pad() {
    static constexpr char kZeros[kSectionAlignment] = {};
    return Put({kZeros, (kSectionAlignment - end % kSectionAlignment) % kSectionAlignment});
  }
};

EnvelopeWriter::EnvelopeWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}

EnvelopeWriter::~EnvelopeWriter() {
  state_->Unmap();
  if (state_->file >= 0) ::close(state_->file);
  if (!state_->finished) ::unlink(state_->temporary.c_str());
}

absl::StatusOr<std::unique_ptr<EnvelopeWriter>> EnvelopeWriter::New(std::string path, EnvelopeKind kind,
                                                                    const EnvelopeIdentity& identity) {
  auto state = std::make_unique<State>();
  state->temporary = path + ".tmp";
  state->path = std::move(path);
  state->block.reserve(kBlockBytes);
  state->header.kind = static_cast<uint32_t>(kind);
  state->header.deployment = identity.deployment;
  state->header.memory = identity.memory;
  state->header.partition = identity.partition;
  state->header.file_number = identity.file_number;
  state->file = ::open(state->temporary.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (state->file < 0) return SystemError("create", state->temporary);
  WriteInPlace(state->file);
  CrashPoint("file_created");
  return std::unique_ptr<EnvelopeWriter>(new EnvelopeWriter(std::move(state)));
}

absl::Status EnvelopeWriter::BeginSection(uint32_t id) {
  Header& header = state_->header;
  if (header.section_count == kMaxSections) {
    return absl::InternalError(absl::StrCat("an index file has at most ", kMaxSections, " sections"));
  }
  for (uint32_t i = 0; i < header.section_count; ++i) {
    if (header.sections[i].id == id) return absl::InternalError(absl::StrCat("section ", id, " was written before"));
  }
  RETURN_IF_ERROR(state_->Pad());
  header.sections[header.section_count++] = {id, 0, state_->end, 0};
  return absl::OkStatus();
}

absl::Status EnvelopeWriter::Append(std::string_view bytes) {
  if (state_->header.section_count == 0) return absl::InternalError("no section was begun");
  state_->header.sections[state_->header.section_count - 1].bytes += bytes.size();
  return state_->Put(bytes);
}

absl::Status EnvelopeWriter::AddSection(uint32_t id, std::string_view bytes) {
  RETURN_IF_ERROR(BeginSection(id));
  return Append(bytes);
}

absl::StatusOr<char*> EnvelopeWriter::MapSection(uint32_t id, uint64_t bytes) {
  RETURN_IF_ERROR(BeginSection(id));
  State& s = *state_;
  RETURN_IF_ERROR(s.FlushBlock());
  s.header.sections[s.header.section_count - 1].bytes = bytes;
  if (bytes == 0) return static_cast<char*>(nullptr);
  int reserved = EINTR;  // which it returns, rather than setting errno
  while (reserved == EINTR) {
    reserved = ::posix_fallocate(s.file, static_cast<off_t>(s.end), static_cast<off_t>(bytes));
  }
  if (reserved != 0) {
    errno = reserved;
    return SystemError("reserve room in", s.temporary);
  }
  const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t start = s.end / page * page;
  const uint64_t size = s.end - start + bytes;
  void* map = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, s.file, static_cast<off_t>(start));
  if (map == MAP_FAILED) return SystemError("map", s.temporary);
  s.maps.push_back({static_cast<char*>(map), size});
  char* section = static_cast<char*>(map) + (s.end - start);
  s.end += bytes;
  return section;
}

absl::StatusOr<uint64_t> EnvelopeWriter::Finish() {
  State& s = *state_;
  RETURN_IF_ERROR(s.Pad());
  RETURN_IF_ERROR(s.FlushBlock());
  CrashPoint("file_half_written");
  s.Unmap();
  ASSIGN_OR_RETURN(const std::vector<uint64_t> sums, s.SumBlocks());
  const std::string_view table(reinterpret_cast<const char*>(sums.data()), sums.size() * sizeof(uint64_t));
  s.header.table_offset = s.end;
  s.header.table_checksum = Checksum64(table);
  s.header.file_bytes = s.end + table.size();
  RETURN_IF_ERROR(WriteAt(s.file, table.data(), table.size(), s.end, s.temporary));
  const HeaderPage page = EncodeHeader(s.header);
  RETURN_IF_ERROR(WriteAt(s.file, page.data(), page.size(), 0, s.temporary));
  // The name must not outlive a power loss that the bytes do not.
  CrashPoint("file_written");
  if (::fsync(s.file) != 0) return SystemError("sync", s.temporary);
  CrashPoint("file_synced");
  if (::rename(s.temporary.c_str(), s.path.c_str()) != 0) return SystemError("rename", s.temporary);
  s.finished = true;
  CrashPoint("file_renamed");
  RETURN_IF_ERROR(SyncDirectoryOf(s.path));
  return s.header.file_bytes;
}

struct Envelope::State {
  const char* bytes = nullptr;
  const char* sparse = nullptr;
  uint64_t size = 0;
  Header header;

  ~State() {
    if (bytes != nullptr) ::munmap(const_cast<char*>(bytes), size);
    if (sparse != nullptr) ::munmap(const_cast<char*>(sparse), size);
  }
};

namespace {

absl::Status Damaged(const std::string& path, const std::string& what) {
  return absl::DataLossError(absl::StrCat(path, ": ", what));
}

// Maps `path` twice: as the kernel reads ahead by itself, and a page at a time.
absl::Status MapFile(const std::string& path, const char** bytes, const char** sparse, uint64_t* size) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return Damaged(path, absl::StrCat("cannot be opened: ", std::strerror(errno)));
  struct stat status;
  if (::fstat(file, &status) != 0 || static_cast<uint64_t>(status.st_size) < kHeaderBytes) {
    ::close(file);
    return Damaged(path, absl::StrCat("shorter than its header of ", kHeaderBytes, " bytes"));
  }
  *size = static_cast<uint64_t>(status.st_size);
  int error = 0;
  for (const char** map : {bytes, sparse}) {
    void* mapped = ::mmap(nullptr, *size, PROT_READ, MAP_PRIVATE, file, 0);
    if (mapped == MAP_FAILED) {
      error = errno;
      break;
    }
    *map = static_cast<const char*>(mapped);
  }
  ::close(file);
  if (error != 0) return Damaged(path, absl::StrCat("cannot be mapped: ", std::strerror(error)));
  ::madvise(const_cast<char*>(*sparse), *size, MADV_RANDOM);  // a hint: it may fail
  return absl::OkStatus();
}

absl::Status CheckHeader(const std::string& path, const Header& header, const char* bytes, uint64_t size) {
  if (HeaderChecksum(bytes) != header.header_checksum) return Damaged(path, "its header is damaged");
  if (header.magic != kMagic) return Damaged(path, "not an index file");
  if (header.version != kVersion) {
    return Damaged(path, absl::StrCat("format version is ", header.version, "; must be ", kVersion));
  }
  if (header.file_bytes != size) {
    return Damaged(path, absl::StrCat("has ", size, " bytes; its header says ", header.file_bytes));
  }
  if (header.table_offset < kHeaderBytes || header.table_offset > size || header.section_count > kMaxSections) {
    return Damaged(path, "its header is not consistent");
  }
  for (uint32_t i = 0; i < header.section_count; ++i) {
    const SectionEntry& section = header.sections[i];
    if (section.offset < kHeaderBytes || section.offset % kSectionAlignment != 0 ||
        section.offset > header.table_offset || section.bytes > header.table_offset - section.offset) {
      return Damaged(path, absl::StrCat("section ", section.id, " lies outside of the file"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckIdentity(const std::string& path, const Header& header, EnvelopeKind kind,
                           const EnvelopeIdentity& identity) {
  const EnvelopeIdentity stored{header.deployment, header.memory, header.partition, header.file_number};
  if (header.kind != static_cast<uint32_t>(kind)) {
    return Damaged(path, absl::StrCat("its kind is ", header.kind, "; must be ", static_cast<uint32_t>(kind)));
  }
  if (stored == identity) return absl::OkStatus();
  return Damaged(path, absl::StrCat("belongs to deployment ", stored.deployment, ", memory ", stored.memory,
                                    ", partition ", stored.partition, ", file ", stored.file_number,
                                    "; must be deployment ", identity.deployment, ", memory ", identity.memory,
                                    ", partition ", identity.partition, ", file ", identity.file_number));
}

// The first of blocks [first, end) of `body` bytes whose sum is not that of `table`; `end` when all are whole.
uint64_t FirstDamaged(const char* bytes, uint64_t body, std::string_view table, uint64_t first, uint64_t end) {
  for (uint64_t i = first; i < end; ++i) {
    const uint64_t offset = i * kBlockBytes;
    uint64_t expected;
    std::memcpy(&expected, table.data() + i * sizeof(expected), sizeof(expected));
    const size_t length = static_cast<size_t>(std::min<uint64_t>(kBlockBytes, body - offset));
    if (Checksum64({bytes + offset, length}) != expected) return i;
  }
  return end;
}

absl::Status CheckBlocks(const std::string& path, const Header& header, const char* bytes) {
  const uint64_t body = header.table_offset - kHeaderBytes;
  const uint64_t blocks = (body + kBlockBytes - 1) / kBlockBytes;
  const std::string_view table(bytes + header.table_offset, header.file_bytes - header.table_offset);
  if (table.size() != blocks * sizeof(uint64_t)) return Damaged(path, "its table of checksums has another size");
  if (Checksum64(table) != header.table_checksum) return Damaged(path, "its table of checksums is damaged");
  // Threads take runs in turn: to the kernel that is one reader from front to back, for which it reads ahead.
  const uint64_t threads =
      std::clamp<uint64_t>(body / kBytesPerThread, 1, std::max(1U, std::thread::hardware_concurrency()));
  std::atomic<uint64_t> next{0};
  std::vector<uint64_t> damaged(threads, blocks);
  const auto check = [&](uint64_t thread) {
    for (uint64_t first; damaged[thread] == blocks && (first = next.fetch_add(kRunBlocks)) < blocks;) {
      const uint64_t end = std::min(blocks, first + kRunBlocks);
      const uint64_t found = FirstDamaged(bytes + kHeaderBytes, body, table, first, end);
      if (found < end) damaged[thread] = found;
    }
  };
  std::vector<std::thread> others;
  for (uint64_t thread = 1; thread < threads; ++thread) others.emplace_back(check, thread);
  check(0);
  for (std::thread& other : others) other.join();
  const uint64_t first = *std::min_element(damaged.begin(), damaged.end());
  if (first == blocks) return absl::OkStatus();
  return Damaged(path, absl::StrCat("block ", first, " of ", blocks, " is damaged"));
}

}  // namespace

Envelope::Envelope(std::unique_ptr<State> state) : state_(std::move(state)) {}
Envelope::~Envelope() = default;

absl::StatusOr<std::unique_ptr<Envelope>> Envelope::Open(const std::string& path, EnvelopeKind kind,
                                                         const EnvelopeIdentity& identity) {
  auto state = std::make_unique<State>();
  RETURN_IF_ERROR(MapFile(path, &state->bytes, &state->sparse, &state->size));
  std::memcpy(&state->header, state->bytes, sizeof(Header));
  RETURN_IF_ERROR(CheckHeader(path, state->header, state->bytes, state->size));
  RETURN_IF_ERROR(CheckIdentity(path, state->header, kind, identity));
  RETURN_IF_ERROR(CheckBlocks(path, state->header, state->bytes));
  return std::unique_ptr<Envelope>(new Envelope(std::move(state)));
}

std::string_view Envelope::Section(uint32_t id) const {
  for (uint32_t i = 0; i < state_->header.section_count; ++i) {
    const SectionEntry& section = state_->header.sections[i];
    if (section.id == id) return {state_->bytes + section.offset, static_cast<size_t>(section.bytes)};
  }
  return {};
}

uint64_t Envelope::file_bytes() const { return state_->size; }
ptrdiff_t Envelope::sparse_map() const { return state_->sparse - state_->bytes; }

void Envelope::LetGo() const {
  ::madvise(const_cast<char*>(state_->bytes), state_->size, MADV_DONTNEED);  // a hint: it may fail
}

}  // namespace mneme
