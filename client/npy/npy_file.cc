#include "client/npy/npy_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace mneme {
namespace {

static_assert(std::endian::native == std::endian::little, "items are read and written as they lie");

// Room for the header while the number of rows is unknown: NumPy's own for any shape of two dimensions.
constexpr size_t kReservedHeaderBytes = 128;

absl::Status SystemError(const std::string& path, const char* doing) {
  const int error = errno;
  const std::string message = absl::StrCat(path, ": cannot ", doing, ": ", std::strerror(error));
  return error == ENOENT ? absl::NotFoundError(message) : absl::UnavailableError(message);
}

absl::Status InFile(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

template <typename T>
T Load(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

double HalfToDouble(uint16_t half) {
  const int exponent = (half >> 10) & 0x1F;
  const double mantissa = half & 0x3FF;
  double magnitude = std::ldexp(1024.0 + mantissa, exponent - 25);
  if (exponent == 0) magnitude = std::ldexp(mantissa, -24);
  if (exponent == 31) magnitude = mantissa == 0 ? INFINITY : NAN;
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

std::vector<uint64_t> ShapeOf(uint64_t rows, uint64_t columns) {
  return columns == 0 ? std::vector<uint64_t>{rows} : std::vector<uint64_t>{rows, columns};
}

// Writes all of `bytes` at `offset`, however the system divides them.
bool WriteAt(int file, std::string_view bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return true;
}

std::string PartialPath(const std::string& path) { return absl::StrCat(path, ".partial"); }

}  // namespace

void NpyFile::Unmap::operator()(const char* map) const { ::munmap(const_cast<char*>(map), bytes); }

absl::StatusOr<NpyFile> NpyFile::Map(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return SystemError(path, "open");
  NpyFile opened;
  opened.path_ = path;
  struct stat stat = {};
  absl::Status status;
  if (::fstat(file, &stat) != 0) {
    status = SystemError(path, "stat");
  } else if (!S_ISREG(stat.st_mode)) {
    status = absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  } else if (stat.st_size > 0) {
    opened.file_bytes_ = static_cast<size_t>(stat.st_size);
    void* map = ::mmap(nullptr, opened.file_bytes_, PROT_READ, MAP_SHARED, file, 0);
    if (map == MAP_FAILED) {
      status = SystemError(path, "map");
    } else {
      opened.map_ = {static_cast<const char*>(map), Unmap{opened.file_bytes_}};
    }
  }
  ::close(file);
  if (!status.ok()) return status;
  return opened;
}

absl::StatusOr<NpyFile> NpyFile::Open(const std::string& path) {
  absl::StatusOr<NpyFile> file = Map(path);
  if (!file.ok()) return file;
  absl::StatusOr<NpyHeader> header = ParseNpyHeader({file->map_.get(), file->file_bytes_});
  if (!header.ok()) return InFile(path, header.status());
  const uint64_t expected = header->header_bytes + header->DataBytes();
  if (file->file_bytes_ != expected) {
    return absl::DataLossError(absl::StrCat(path, ": size is ", file->file_bytes_, " bytes; its header (", std::string(
        NpyDtypeName(header->dtype)), ", shape ", absl::StrJoin(header->shape, " x "), ") says ", expected));
  }
  file->header_ = *std::move(header);
  return file;
}

absl::StatusOr<NpyFile> NpyFile::OpenRaw(const std::string& path, NpyDtype dtype, uint64_t columns) {
  absl::StatusOr<NpyFile> file = Map(path);
  if (!file.ok()) return file;
  constexpr std::string_view kMagic = "\x93NUMPY";
  if (std::string_view(file->map_.get(), file->file_bytes_).substr(0, kMagic.size()) == kMagic) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": begins with a NumPy header; open it without --raw"));
  }
  const uint64_t row_items = std::max<uint64_t>(columns, 1);
  const uint64_t item_bytes = NpyItemBytes(dtype);
  if (row_items > file->file_bytes_ / item_bytes || file->file_bytes_ % (row_items * item_bytes) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": size is ", file->file_bytes_, " bytes; must be one or more "
        "whole rows of ", row_items, " x ", std::string(NpyDtypeName(dtype)), " = ", row_items * item_bytes, " bytes"));
  }
  file->header_ = {dtype, ShapeOf(file->file_bytes_ / (row_items * item_bytes), columns), 0};
  return file;
}

uint64_t NpyFile::row_items() const {
  uint64_t items = 1;
  for (size_t i = 1; i < header_.shape.size(); ++i) items *= header_.shape[i];
  return items;
}

std::string_view NpyFile::Rows(uint64_t first, uint64_t count) const {
  return {map_.get() + header_.header_bytes + first * row_bytes(), static_cast<size_t>(count * row_bytes())};
}

absl::Status NpyFile::CheckDimensions(size_t dimensions, uint64_t columns) const {
  const auto& shape = header_.shape;
  if (shape.size() == dimensions && (columns == 0 || row_items() == columns)) return absl::OkStatus();
  const std::string wanted = columns == 0 ? "" : absl::StrCat(" with ", columns, " columns");
  return absl::InvalidArgumentError(absl::StrCat(path_, ": shape is (", absl::StrJoin(shape, ", "), "); must have ",
                                                 dimensions, dimensions == 1 ? " dimension" : " dimensions", wanted));
}

absl::Status NpyFile::CheckRows(uint64_t wanted) const {
  if (rows() == wanted) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path_, ": has ", rows(), " rows; must have ", wanted));
}

absl::Status NpyFile::CheckInteger() const {
  if (NpyIsInteger(dtype())) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(path_, ": dtype is ", std::string(NpyDtypeName(dtype())), "; must be an integer type"));
}

int64_t NpyFile::IntegerAt(uint64_t i) const {
  const char* item = map_.get() + header_.header_bytes + i * NpyItemBytes(dtype());
  switch (dtype()) {
    case NpyDtype::kI8: return Load<int8_t>(item);
    case NpyDtype::kI16: return Load<int16_t>(item);
    case NpyDtype::kI32: return Load<int32_t>(item);
    case NpyDtype::kU8: return Load<uint8_t>(item);
    case NpyDtype::kU16: return Load<uint16_t>(item);
    case NpyDtype::kU32: return Load<uint32_t>(item);
    case NpyDtype::kI64:
    case NpyDtype::kU64: return Load<int64_t>(item);
    case NpyDtype::kF16:
    case NpyDtype::kBF16:
    case NpyDtype::kF32:
    case NpyDtype::kF64: break;
  }
  return static_cast<int64_t>(NumberAt(i));
}

double NpyFile::NumberAt(uint64_t i) const {
  const char* item = map_.get() + header_.header_bytes + i * NpyItemBytes(dtype());
  switch (dtype()) {
    case NpyDtype::kF16: return HalfToDouble(Load<uint16_t>(item));
    case NpyDtype::kBF16: return std::bit_cast<float>(uint32_t{Load<uint16_t>(item)} << 16);
    case NpyDtype::kF32: return Load<float>(item);
    case NpyDtype::kF64: return Load<double>(item);
    case NpyDtype::kU64: return static_cast<double>(Load<uint64_t>(item));
    default: return static_cast<double>(IntegerAt(i));
  }
}

absl::StatusOr<NpyWriter> NpyWriter::Create(const std::string& path, NpyDtype dtype, uint64_t columns) {
  if (dtype == NpyDtype::kBF16) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": dtype is bf16, which NumPy has not; must be another"));
  }
  const int file = ::open(PartialPath(path).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return SystemError(PartialPath(path), "create");
  NpyWriter writer;
  writer.path_ = path;
  writer.dtype_ = dtype;
  writer.columns_ = columns;
  writer.file_ = file;
  return writer;
}

NpyWriter::NpyWriter(NpyWriter&& other) noexcept { *this = std::move(other); }

NpyWriter& NpyWriter::operator=(NpyWriter&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(dtype_, other.dtype_);
  std::swap(columns_, other.columns_);
  std::swap(bytes_, other.bytes_);
  std::swap(file_, other.file_);
  return *this;
}

NpyWriter::~NpyWriter() {
  if (file_ < 0) return;
  ::close(file_);
  ::unlink(PartialPath(path_).c_str());
}

absl::Status NpyWriter::Append(std::string_view bytes) {
  const uint64_t row_bytes = std::max<uint64_t>(columns_, 1) * NpyItemBytes(dtype_);
  if (bytes.size() % row_bytes != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": ", bytes.size(), " bytes appended; must be whole rows of ", row_bytes, " bytes"));
  }
  if (!WriteAt(file_, bytes, kReservedHeaderBytes + bytes_)) return SystemError(PartialPath(path_), "write");
  bytes_ += bytes.size();
  return absl::OkStatus();
}

absl::Status NpyWriter::Finish() {
  const uint64_t rows = bytes_ / (std::max<uint64_t>(columns_, 1) * NpyItemBytes(dtype_));
  const std::string header = FormatNpyHeader(dtype_, ShapeOf(rows, columns_), kReservedHeaderBytes);
  if (!WriteAt(file_, header, 0)) return SystemError(PartialPath(path_), "write the header of");
  if (::fsync(file_) != 0) return SystemError(PartialPath(path_), "sync");
  if (std::rename(PartialPath(path_).c_str(), path_.c_str()) != 0) {
    return SystemError(path_, "rename the whole file to");
  }
  ::close(std::exchange(file_, -1));
  return absl::OkStatus();
}

}  // namespace mneme
