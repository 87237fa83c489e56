// NumPy files, and headerless ones, as the command line loads them.
#include "client/npy/npy_file.h"
#include "client/npy/npy_header.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

using absl::StatusCode;

enum Kind : uint8_t { kNumPy, kRaw, kName, kKinds };

void LookAt(const NpyFile& file, size_t bytes) {
  const uint64_t rows = file.rows();
  const uint64_t row_bytes = file.row_bytes();
  Expect(rows == 0 || row_bytes == 0 || row_bytes <= bytes / rows, "rows lie in their file");
  if (rows == 0 || row_bytes == 0) return;
  uint64_t sum = 0;
  for (const char byte : file.Rows(0, rows)) sum += static_cast<uint8_t>(byte);
  const uint64_t last = rows * file.row_items() - 1;
  static_cast<void>(file.NumberAt(last));
  if (file.CheckInteger().ok()) static_cast<void>(file.IntegerAt(last));
  Expect(file.CheckRows(rows).ok() && !file.CheckRows(rows + 1).ok(), "rows are counted");
  Expect(sum <= 255 * bytes, "every byte was read");
}

bool NumPy(std::string_view bytes) {
  const AllocationBound bound(16 * 1024 + 2 * bytes.size());
  const auto header = ParseNpyHeader(bytes);
  if (!header.ok()) {
    ExpectRefusal(header.status(), {StatusCode::kDataLoss, StatusCode::kInvalidArgument},
                  {"NumPy header", "the file ends", "the file begins"});
  } else {
    const std::string again = FormatNpyHeader(header->dtype, header->shape);
    const auto reread = ParseNpyHeader(again);
    Expect(reread.ok() && reread->dtype == header->dtype && reread->shape == header->shape &&
               reread->header_bytes == again.size(),
           "a header is written so that it reads the same");
  }
  const std::string path = FileOf(bytes);
  const auto file = NpyFile::Open(path);
  if (!file.ok()) {
    ExpectRefusal(file.status(), {StatusCode::kDataLoss, StatusCode::kInvalidArgument}, {path});
    return false;
  }
  Expect(header.ok(), "a file that can be opened has a header");
  LookAt(*file, bytes.size());
  return true;
}

bool Raw(Input in) {
  const auto dtype = static_cast<NpyDtype>(in.Byte() % 12);
  const auto columns = in.Number<uint64_t>();
  const std::string path = FileOf(in.Rest());
  const auto file = NpyFile::OpenRaw(path, dtype, columns);
  if (!file.ok()) {
    ExpectRefusal(file.status(), {StatusCode::kInvalidArgument}, {path});
    return false;
  }
  LookAt(*file, in.Rest().size());
  return true;
}

bool Run(std::string_view input) {
  Input in(input);
  const uint8_t kind = in.Byte() % kKinds;
  if (kind == kNumPy) return NumPy(in.Rest());
  if (kind == kRaw) return Raw(in);
  const auto dtype = ParseNpyDtypeName(in.Rest());
  Expect(!dtype.ok() || NpyDtypeName(*dtype) == in.Rest(), "a dtype has one name");
  return dtype.ok();
}

std::vector<std::string> Seeds() {
  const auto file = [](NpyDtype dtype, const std::vector<uint64_t>& shape, size_t bytes) {
    return std::string(1, static_cast<char>(kNumPy)) + FormatNpyHeader(dtype, shape) + std::string(bytes, 'x');
  };
  // Format 2.0, as NumPy writes it when a header is long.
  std::string second = file(NpyDtype::kF32, {2, 3}, 24);
  second[7] = 2;
  second.insert(11, 2, '\0');
  std::string raw = {static_cast<char>(kRaw), static_cast<char>(NpyDtype::kF16)};
  raw += std::string("\4\0\0\0\0\0\0\0", 8) + std::string(16, 'x');
  return {file(NpyDtype::kF32, {2, 3}, 24), file(NpyDtype::kF16, {5}, 10), file(NpyDtype::kU8, {}, 1),
          file(NpyDtype::kI64, {0, 4}, 0),  second,                        raw,
          std::string(1, static_cast<char>(kName)) + "bf16"};
}

const Registration kTarget({"npy", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
