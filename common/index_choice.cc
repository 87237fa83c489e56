#include "common/index_choice.h"

#include <algorithm>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/absl_view.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/utf8.h"

namespace mneme {
namespace {

constexpr std::string_view kSpellings =
    "must be auto, flat, f16, int8, pq:M, pq:Mx4, rabitq:B, pca:D, opq:M, opq:Mx4 or a FAISS factory string of one "
    "of these with IVF";

// A text is as long as who wrote it likes; a message is not.
absl::Status Wrong(std::string_view text, std::string_view why) {
  constexpr size_t kShown = 64;
  return absl::InvalidArgumentError(absl::StrCat("index is \"", ToAbsl(Utf8Prefix(text, kShown)),
                                                 text.size() > kShown ? "..\"; " : "\"; ", ToAbsl(why)));
}

std::optional<uint32_t> Number(std::string_view digits) {
  uint32_t number = 0;
  const bool plain =
      !digits.empty() && std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!plain || !absl::SimpleAtoi(ToAbsl(digits), &number)) return std::nullopt;
  return number;
}

// Takes `prefix` off; false when it is not there.
bool Take(std::string_view& text, std::string_view prefix) {
  if (text.substr(0, prefix.size()) != prefix) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// "M", "Mx8", "Mx4", and with `fs` FAISS's "Mx4fs".
std::optional<CodecChoice> Pq(std::string_view text) {
  CodecChoice codec{CodecKind::kPq, 0, 8};
  const size_t x = text.find('x');
  if (x != std::string_view::npos) {
    std::string_view bits = text.substr(x + 1);
    if (absl::EndsWith(ToAbsl(bits), "fs")) bits.remove_suffix(2);
    codec.bits = Number(bits).value_or(0);
    text = text.substr(0, x);
  }
  codec.columns = Number(text).value_or(0);
  if (codec.columns == 0 || (codec.bits != 4 && codec.bits != 8)) return std::nullopt;
  return codec;
}

std::optional<CodecChoice> Codec(std::string_view text) {
  if (text.empty() || text == "auto") return CodecChoice{};
  if (text == "flat" || text == "Flat") return CodecChoice{CodecKind::kFlat, 0, 0};
  if (text == "f16" || text == "SQfp16") return CodecChoice{CodecKind::kF16, 0, 0};
  if (text == "int8" || text == "SQ8") return CodecChoice{CodecKind::kInt8, 0, 0};
  if (text == "rabitq" || text == "RaBitQ") return CodecChoice{CodecKind::kRabitq, 0, 1};
  if (Take(text, "rabitq:") || Take(text, "RaBitQ")) {
    const std::optional<uint32_t> bits = Number(text);
    if (!bits) return std::nullopt;
    return CodecChoice{CodecKind::kRabitq, 0, *bits};
  }
  if (Take(text, "pq:") || Take(text, "PQ")) return Pq(text);
  if (Take(text, "pca:")) return CodecChoice{CodecKind::kPca, Number(text).value_or(0), 0};
  if (Take(text, "opq:")) {
    const size_t comma = text.find(',');
    std::optional<CodecChoice> codec = Pq(text.substr(0, comma));
    if (codec && comma != std::string_view::npos) {
      std::string_view joined = text.substr(comma + 1);
      if (!Take(joined, "pq:") && !Take(joined, "PQ")) return std::nullopt;
      const uint32_t columns = codec->columns;
      codec = Pq(joined);
      if (codec && codec->columns != columns) return std::nullopt;
    }
    if (codec) codec->kind = CodecKind::kOpq;
    return codec;
  }
  return std::nullopt;
}

// What FAISS writes before everything else of a factory string: the transform of its vectors.
struct Transform {
  CodecKind kind = CodecKind::kAuto;  // none
  uint32_t number = 0;
};

absl::StatusOr<Transform> TakeTransform(std::string_view whole, std::string_view& text) {
  Transform transform;
  const size_t comma = text.find(',');
  if (Take(text, "OPQ")) {
    transform.kind = CodecKind::kOpq;
  } else if (Take(text, "PCA")) {
    transform.kind = CodecKind::kPca;
  } else {
    return transform;
  }
  const std::optional<uint32_t> number = Number(text.substr(0, comma - 3));
  if (!number || *number == 0 || comma == std::string_view::npos) {
    return Wrong(whole, "PCA and OPQ want a plain number, a comma and a codec (no PCAR, PCAW or OPQM_D)");
  }
  transform.number = *number;
  text.remove_prefix(comma - 2);
  return transform;
}

absl::Status Join(std::string_view whole, const Transform& transform, CodecChoice& codec) {
  if (transform.kind == CodecKind::kPca) {
    if (codec.kind != CodecKind::kInt8) return Wrong(whole, "PCA goes with SQ8 only");
    codec = {CodecKind::kPca, transform.number, 0};
  } else if (transform.kind == CodecKind::kOpq) {
    if (codec.kind != CodecKind::kPq || codec.columns != transform.number) {
      return Wrong(whole, "OPQM goes with PQM of the same M only");
    }
    codec.kind = CodecKind::kOpq;
  }
  return absl::OkStatus();
}

// Checks the numbers of a codec against what they must fit.
absl::Status CheckCodec(std::string_view whole, const CodecChoice& codec, uint32_t dimension) {
  const bool learnt = codec.kind == CodecKind::kPca || codec.kind == CodecKind::kOpq;
  if (learnt && dimension > limits::kMaxProjectedDimension) {
    return Wrong(whole, absl::StrCat("pca and opq take keys of at most ", limits::kMaxProjectedDimension,
                                     " components; the dimension is ", dimension));
  }
  if (codec.kind == CodecKind::kPca && (codec.columns == 0 || codec.columns > dimension)) {
    return Wrong(whole, absl::StrCat("its D must be in [1, ", dimension, "], the dimension"));
  }
  const bool columns = codec.kind == CodecKind::kPq || codec.kind == CodecKind::kOpq;
  if (columns && (codec.columns > dimension || dimension % codec.columns != 0)) {
    return Wrong(whole, absl::StrCat("its M must divide the dimension, ", dimension));
  }
  if (codec.kind == CodecKind::kRabitq && (codec.bits == 0 || codec.bits > limits::kMaxRabitqBits)) {
    return Wrong(whole, absl::StrCat("its B must be in [1, ", limits::kMaxRabitqBits, "]"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<IndexChoice> ParseIndexChoice(std::string_view text, uint32_t dimension) {
  IndexChoice choice;
  std::string_view rest = text;
  ASSIGN_OR_RETURN(const Transform transform, TakeTransform(text, rest));
  if (Take(rest, "IVF")) {
    const size_t comma = rest.find(',');
    const std::optional<uint32_t> lists = Number(rest.substr(0, comma));
    if (!lists || comma == std::string_view::npos) {
      return Wrong(text, "IVF wants a number of lists, a comma and a codec");
    }
    if (*lists == 0 || *lists > limits::kMaxProbes) {
      return Wrong(text, absl::StrCat("the number of lists must be in [1, ", limits::kMaxProbes, "]"));
    }
    choice.lists = *lists;
    rest = rest.substr(comma + 1);
  }
  const std::optional<CodecChoice> codec = Codec(rest);
  if (!codec) return Wrong(text, kSpellings);
  choice.codec = *codec;
  RETURN_IF_ERROR(Join(text, transform, choice.codec));
  RETURN_IF_ERROR(CheckCodec(text, choice.codec, dimension));
  return choice;
}

std::string FormatIndexChoice(const IndexChoice& choice) {
  std::string codec = "auto";
  switch (choice.codec.kind) {
    case CodecKind::kAuto: break;
    case CodecKind::kFlat: codec = "flat"; break;
    case CodecKind::kF16: codec = "f16"; break;
    case CodecKind::kInt8: codec = "int8"; break;
    case CodecKind::kPq:
      codec = absl::StrCat("pq:", choice.codec.columns, choice.codec.bits == 4 ? "x4" : "");
      break;
    case CodecKind::kRabitq: codec = absl::StrCat("rabitq:", choice.codec.bits); break;
    case CodecKind::kPca: codec = absl::StrCat("pca:", choice.codec.columns); break;
    case CodecKind::kOpq: codec = absl::StrCat("opq:", choice.codec.columns, choice.codec.bits == 4 ? "x4" : ""); break;
  }
  return choice.lists == 0 ? codec : absl::StrCat("IVF", choice.lists, ",", codec);
}

}  // namespace mneme
