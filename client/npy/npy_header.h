// NpyHeader: the head of a NumPy .npy file, formats 1.0 to 3.0, as numpy.lib.format describes it.
//
//   "\x93NUMPY" | major u8 | minor u8 | length u16 (1.0) or u32 (2.0, 3.0), little endian | a Python literal:
//   {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } padded with spaces and ended by a newline
//
// The literal is parsed, never evaluated, and strictly: three keys, each once, a scalar little-endian dtype, C order.
#ifndef MNEME_CLIENT_NPY_NPY_HEADER_H_
#define MNEME_CLIENT_NPY_NPY_HEADER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace mneme {

// The element types that this library reads and writes. bf16 has no NumPy dtype: it occurs in raw files only.
enum class NpyDtype : uint8_t { kF16, kBF16, kF32, kF64, kI8, kI16, kI32, kI64, kU8, kU16, kU32, kU64 };

size_t NpyItemBytes(NpyDtype dtype);
bool NpyIsInteger(NpyDtype dtype);
// "f16", "bf16", "i32", ..: the names that the CLI takes and prints.
std::string_view NpyDtypeName(NpyDtype dtype);
// Returns INVALID_ARGUMENT, which lists the names, for any other name.
absl::StatusOr<NpyDtype> ParseNpyDtypeName(std::string_view name);

struct NpyHeader {
  NpyDtype dtype = NpyDtype::kF32;
  std::vector<uint64_t> shape;  // empty: a scalar, which has one item
  size_t header_bytes = 0;      // where the data begins

  // The product of the shape; a parsed header's bytes fit in 63 bits.
  uint64_t Items() const;
  uint64_t DataBytes() const { return Items() * NpyItemBytes(dtype); }
};

// Reads the header at the start of `file`, a whole file or at least its head. Messages name the field, the value found
// and what is accepted, but not the file.
// Returns INVALID_ARGUMENT if this is not a NumPy file, or one of a kind that is not accepted; DATA_LOSS if it ends
// before its header does.
absl::StatusOr<NpyHeader> ParseNpyHeader(std::string_view file);

// A header of format 1.0, padded to `min_bytes` and a multiple of 64, as NumPy writes it. `dtype` is not kBF16.
std::string FormatNpyHeader(NpyDtype dtype, const std::vector<uint64_t>& shape, size_t min_bytes = 0);

}  // namespace mneme

#endif  // MNEME_CLIENT_NPY_NPY_HEADER_H_
