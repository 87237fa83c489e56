#include "client/npy/npy_header.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/limits.h"

namespace mneme {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kAlignment = 64;

struct DtypeWords {
  NpyDtype dtype;
  std::string_view name;
  std::string_view descr;  // NumPy's, without the byte order
};
constexpr DtypeWords kDtypes[] = {
    {NpyDtype::kF16, "f16", "f2"}, {NpyDtype::kBF16, "bf16", ""}, {NpyDtype::kF32, "f32", "f4"},
    {NpyDtype::kF64, "f64", "f8"}, {NpyDtype::kI8, "i8", "i1"},   {NpyDtype::kI16, "i16", "i2"},
    {NpyDtype::kI32, "i32", "i4"}, {NpyDtype::kI64, "i64", "i8"}, {NpyDtype::kU8, "u8", "u1"},
    {NpyDtype::kU16, "u16", "u2"}, {NpyDtype::kU32, "u32", "u4"}, {NpyDtype::kU64, "u64", "u8"},
};

const DtypeWords& WordsOf(NpyDtype dtype) { return kDtypes[static_cast<size_t>(dtype)]; }

// What a client's file holds goes into messages escaped and short.
std::string Quoted(std::string_view text) {
  return absl::StrCat("'", absl::CHexEscape(std::string(text.substr(0, 40))), text.size() > 40 ? "..'" : "'");
}

absl::Status HeaderError(std::string_view field, std::string_view found, std::string_view accepted) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(field), " of the NumPy header is ", Quoted(found),
                                                 "; must be ", std::string(accepted)));
}

absl::StatusOr<NpyDtype> ParseDescr(std::string_view descr) {
  constexpr std::string_view kAccepted =
      "a little-endian number: <f2 <f4 <f8, <i1 to <i8 or <u1 to <u8 (no objects, no structures, no big-endian)";
  if (descr.size() != 3) return HeaderError("descr", descr, kAccepted);
  for (const DtypeWords& words : kDtypes) {
    if (words.descr != descr.substr(1)) continue;
    const bool one_byte = NpyItemBytes(words.dtype) == 1;
    if (descr[0] == '<' || (descr[0] == '|' && one_byte)) return words.dtype;
  }
  return HeaderError("descr", descr, kAccepted);
}

// Reads the one kind of Python literal that a header holds. Not thread-safe.
class LiteralParser {
 public:
  explicit LiteralParser(std::string_view text) : text_(text) {}

  absl::StatusOr<NpyHeader> Parse();

 private:
  void SkipSpaces() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  // Skips spaces, then `word` if it is next.
  bool Take(std::string_view word) {
    SkipSpaces();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  std::string_view Rest() const { return text_.substr(at_); }
  std::optional<std::string_view> TakeString();
  absl::Status ParseField(std::string_view key);
  absl::Status ParseShape();

  std::string_view text_;
  size_t at_ = 0;
  std::optional<NpyDtype> dtype_;
  std::optional<bool> fortran_order_;
  std::optional<std::vector<uint64_t>> shape_;
};

std::optional<std::string_view> LiteralParser::TakeString() {
  const char* quote = Take("'") ? "'" : Take("\"") ? "\"" : nullptr;
  if (quote == nullptr) return std::nullopt;
  const size_t end = text_.find(quote[0], at_);
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view content = text_.substr(at_, end - at_);
  at_ = end + 1;
  return content;
}

absl::Status LiteralParser::ParseShape() {
  constexpr std::string_view kAccepted = "a tuple of at most 32 whole numbers >= 0";
  std::vector<uint64_t> shape;
  if (!Take("(")) return HeaderError("shape", Rest(), kAccepted);
  bool comma = true;
  while (!Take(")")) {
    SkipSpaces();
    const size_t begin = at_;
    while (at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
    uint64_t extent = 0;
    if (!comma || shape.size() == limits::kMaxArrayDimensions ||
        !absl::SimpleAtoi(absl::string_view(text_.data() + begin, at_ - begin), &extent)) {
      return HeaderError("shape", text_.substr(begin), kAccepted);
    }
    shape.push_back(extent);
    comma = Take(",");
  }
  if (shape.size() == 1 && !comma) return HeaderError("shape", Rest(), kAccepted);  // (3) is a number, not a tuple
  shape_ = std::move(shape);
  return absl::OkStatus();
}

absl::Status LiteralParser::ParseField(std::string_view key) {
  if (key == "descr" && !dtype_) {
    const std::optional<std::string_view> descr = TakeString();
    if (!descr) return HeaderError("descr", Rest(), "a string (structures are not accepted)");
    const absl::StatusOr<NpyDtype> dtype = ParseDescr(*descr);
    if (!dtype.ok()) return dtype.status();
    dtype_ = *dtype;
  } else if (key == "fortran_order" && !fortran_order_) {
    if (Take("False")) {
      fortran_order_ = false;
    } else if (Take("True")) {
      fortran_order_ = true;
    } else {
      return HeaderError("fortran_order", Rest(), "True or False");
    }
  } else if (key == "shape" && !shape_) {
    return ParseShape();
  } else {
    return HeaderError("a key", key, "descr, fortran_order or shape, each once");
  }
  return absl::OkStatus();
}

absl::StatusOr<NpyHeader> LiteralParser::Parse() {
  if (!Take("{")) return HeaderError("the text", Rest(), "a dictionary {..}");
  bool comma = true;
  while (!Take("}")) {
    const std::optional<std::string_view> key = TakeString();
    if (!comma || !key || !Take(":")) return HeaderError("the text", Rest(), "'key': value, ..");
    if (const absl::Status status = ParseField(*key); !status.ok()) return status;
    comma = Take(",");
  }
  SkipSpaces();
  if (!Rest().empty()) return HeaderError("what follows the dictionary", Rest(), "spaces and a newline");
  if (!dtype_ || !fortran_order_ || !shape_) {
    return HeaderError("the text", text_, "a dictionary with descr, fortran_order and shape");
  }
  if (*fortran_order_ && shape_->size() > 1) {
    return HeaderError("fortran_order", "True", "False: save the array with numpy.ascontiguousarray");
  }
  uint64_t bytes = NpyItemBytes(*dtype_);
  for (const uint64_t extent : *shape_) {
    if (extent == 0) continue;
    if (extent > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) / bytes) {
      return HeaderError("shape", text_, "of less than 2^63 bytes in all");
    }
    bytes *= extent;
  }
  return NpyHeader{*dtype_, *std::move(shape_), 0};
}

}  // namespace

size_t NpyItemBytes(NpyDtype dtype) {
  switch (dtype) {
    case NpyDtype::kI8:
    case NpyDtype::kU8: return 1;
    case NpyDtype::kF16:
    case NpyDtype::kBF16:
    case NpyDtype::kI16:
    case NpyDtype::kU16: return 2;
    case NpyDtype::kF32:
    case NpyDtype::kI32:
    case NpyDtype::kU32: return 4;
    case NpyDtype::kF64:
    case NpyDtype::kI64:
    case NpyDtype::kU64: return 8;
  }
  return 0;
}

bool NpyIsInteger(NpyDtype dtype) { return dtype >= NpyDtype::kI8; }

std::string_view NpyDtypeName(NpyDtype dtype) { return WordsOf(dtype).name; }

absl::StatusOr<NpyDtype> ParseNpyDtypeName(std::string_view name) {
  std::string names;
  for (const DtypeWords& words : kDtypes) {
    if (words.name == name) return words.dtype;
    absl::StrAppend(&names, names.empty() ? "" : ", ", std::string(words.name));
  }
  return absl::InvalidArgumentError(absl::StrCat("dtype is ", Quoted(name), "; must be one of ", names));
}

uint64_t NpyHeader::Items() const {
  uint64_t items = 1;
  for (const uint64_t extent : shape) items *= extent;
  return items;
}

absl::StatusOr<NpyHeader> ParseNpyHeader(std::string_view file) {
  if (file.substr(0, kMagic.size()) != kMagic) {
    if (file.size() < kMagic.size() && kMagic.substr(0, file.size()) == file) {
      return absl::DataLossError(absl::StrCat("the file ends after ", file.size(), " bytes, within the NumPy magic"));
    }
    return absl::InvalidArgumentError(absl::StrCat(
        "the file begins with ", Quoted(file.substr(0, kMagic.size())),
        "; a NumPy file begins with '\\x93NUMPY'. For a headerless memory map (kNN-LM code writes these and calls "
        "them .npy) use the raw form: --raw --dtype f16 --dim D --keys K --values V --values-dtype i32"));
  }
  if (file.size() < 8) {
    return absl::DataLossError(absl::StrCat("the file ends after ", file.size(), " bytes, within the NumPy version"));
  }
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(file[i])); };
  if (byte(6) < 1 || byte(6) > 3 || byte(7) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("version of the NumPy header is ", byte(6), ".", byte(7), "; must be 1.0, 2.0 or 3.0"));
  }
  const size_t length_end = byte(6) == 1 ? 10 : 12;
  if (file.size() < length_end) {
    return absl::DataLossError(absl::StrCat("the file ends after ", file.size(), " bytes, within the header's length"));
  }
  size_t length = byte(8) | byte(9) << 8;
  if (byte(6) > 1) length |= byte(10) << 16 | byte(11) << 24;
  if (length > limits::kMaxArrayHeaderBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("length of the NumPy header is ", length, "; must be at most ", limits::kMaxArrayHeaderBytes));
  }
  if (file.size() < length_end + length) {
    return absl::DataLossError(absl::StrCat("the file ends after ", file.size(), " bytes; its header alone needs ",
                                            length_end + length));
  }
  absl::StatusOr<NpyHeader> header = LiteralParser(file.substr(length_end, length)).Parse();
  if (header.ok()) header->header_bytes = length_end + length;
  return header;
}

std::string FormatNpyHeader(NpyDtype dtype, const std::vector<uint64_t>& shape, size_t min_bytes) {
  std::string tuple;
  for (const uint64_t extent : shape) absl::StrAppend(&tuple, tuple.empty() ? "" : ", ", extent);
  if (shape.size() == 1) tuple += ',';
  std::string text = absl::StrCat("{'descr': '", NpyItemBytes(dtype) == 1 ? "|" : "<",
                                  std::string(WordsOf(dtype).descr), "', 'fortran_order': False, 'shape': (", tuple,
                                  "), }");
  constexpr size_t kPrefixBytes = 10;
  size_t total = kPrefixBytes + text.size() + 1;
  total = std::max(total, min_bytes);
  total = (total + kAlignment - 1) / kAlignment * kAlignment;
  text.append(total - kPrefixBytes - text.size() - 1, ' ');
  text += '\n';
  std::string header(kMagic);
  header += '\x01';
  header += '\0';
  header += static_cast<char>(text.size() & 0xFF);
  header += static_cast<char>(text.size() >> 8);
  return header + text;
}

}  // namespace mneme
