#include "common/option_text.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

namespace mneme {
namespace {

constexpr char kUnits[] = "kmgtpe";

// Of a name in a message: what may go on is another name.
bool IsOfName(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-'; }

// Characters to add, leave out, replace or swap with the next, to make `a` of `b` (Damerau 1964; none changes twice).
size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  }
  return cost[a.size()][b.size()];
}

bool Names(const std::string& message, const std::string& option) {
  for (size_t at = message.find(option); at != std::string::npos; at = message.find(option, at + 1)) {
    const size_t end = at + option.size();
    const bool begins = at == 0 || !IsOfName(message[at - 1]);
    if (begins && (end == message.size() || !IsOfName(message[end]))) return true;
  }
  return false;
}

}  // namespace

template <typename T>
std::optional<T> ReadNumber(const std::string& text, T least, T most) {
  T number = 0;
  if constexpr (std::is_same_v<T, double>) {
    if (!absl::SimpleAtod(text, &number) || !std::isfinite(number)) return std::nullopt;
  } else {
    if (!absl::SimpleAtoi(text, &number)) return std::nullopt;
  }
  if (number < least || number > most) return std::nullopt;
  return number;
}

template <typename T>
std::string NumberBound(T least, T most) {
  if constexpr (std::is_same_v<T, double>) {
    using Limits = std::numeric_limits<double>;
    if (most == Limits::max() && least == Limits::lowest()) return "a number";
    if (most == Limits::max() && least == Limits::min()) return "a number above 0";
    if (most == Limits::max()) return absl::StrCat("a number from ", least, " on");
    return absl::StrCat("a number in [", least, ", ", most, "]");
  } else {
    return absl::StrCat("a whole number in [", least, ", ", most, "]");
  }
}

template <typename T>
std::string TakeNumber(std::string& text, T least, T most) {
  const std::optional<T> number = ReadNumber(text, least, most);
  if (!number.has_value()) return NumberBound(least, most);
  // Of a double it would lose digits.
  if constexpr (!std::is_same_v<T, double>) text = absl::StrCat(*number);
  return "";
}

template std::optional<uint32_t> ReadNumber(const std::string&, uint32_t, uint32_t);
template std::optional<uint64_t> ReadNumber(const std::string&, uint64_t, uint64_t);
template std::optional<int64_t> ReadNumber(const std::string&, int64_t, int64_t);
template std::optional<double> ReadNumber(const std::string&, double, double);
template std::string NumberBound(uint32_t, uint32_t);
template std::string NumberBound(uint64_t, uint64_t);
template std::string NumberBound(int64_t, int64_t);
template std::string NumberBound(double, double);
template std::string TakeNumber(std::string&, uint32_t, uint32_t);
template std::string TakeNumber(std::string&, uint64_t, uint64_t);
template std::string TakeNumber(std::string&, int64_t, int64_t);
template std::string TakeNumber(std::string&, double, double);

std::optional<uint64_t> ReadSize(const std::string& text) {
  const std::string lower = absl::AsciiStrToLower(absl::StripAsciiWhitespace(text));
  size_t digits = 0;
  while (digits < lower.size() && absl::ascii_isdigit(static_cast<unsigned char>(lower[digits]))) ++digits;
  uint64_t number = 0;
  if (!absl::SimpleAtoi(lower.substr(0, digits), &number)) return std::nullopt;
  absl::string_view unit = absl::StripLeadingAsciiWhitespace(absl::string_view(lower).substr(digits));
  if (unit.empty() || unit == "b") return number;
  const size_t power = absl::string_view(kUnits).find(unit.front());
  unit.remove_prefix(1);
  if (power == absl::string_view::npos || (!unit.empty() && unit != "b" && unit != "i" && unit != "ib")) {
    return std::nullopt;
  }
  const auto shift = static_cast<unsigned>(10 * (power + 1));
  if (number > std::numeric_limits<uint64_t>::max() >> shift) return std::nullopt;
  return number << shift;
}

std::string SizeText(uint64_t bytes) {
  size_t power = 0;
  while (bytes != 0 && bytes % 1024 == 0 && power < sizeof(kUnits) - 1) {
    bytes /= 1024;
    ++power;
  }
  if (power == 0) return absl::StrCat(bytes);
  return absl::StrCat(bytes, std::string(1, absl::ascii_toupper(static_cast<unsigned char>(kUnits[power - 1]))), "iB");
}

std::optional<bool> ReadFlag(const std::string& text) {
  const std::string lower = absl::AsciiStrToLower(text);
  for (const char* yes : {"true", "yes", "on", "1"}) {
    if (lower == yes) return true;
  }
  for (const char* no : {"false", "no", "off", "0"}) {
    if (lower == no) return false;
  }
  return std::nullopt;
}

std::string TakeFlag(std::string& text) {
  const std::optional<bool> given = ReadFlag(text);
  if (!given.has_value()) return "true or false";
  text = *given ? "true" : "false";
  return "";
}

std::string TextBound(const std::string& text) {
  if (text.empty()) return "given, and not empty";
  if (absl::StartsWith(text, "--")) return "a value, and not an option, which begins with --";
  return "";
}

std::string NotTaken(const std::string& key, const std::string& value, const std::string& bound) {
  return absl::StrCat(key, " is \"", value, "\"; must be ", bound);
}

std::string WithVariables(std::string message, const std::vector<OptionVariable>& variables) {
  std::vector<std::string> named;
  for (const OptionVariable& each : variables) {
    if (Names(message, each.option)) named.push_back(each.variable);
  }
  if (!named.empty()) absl::StrAppend(&message, "; from the environment: ", absl::StrJoin(named, ", "));
  return message;
}

std::string Nearest(const std::string& word, const std::vector<std::string>& candidates) {
  std::string nearest;
  // One slip in a short word, two in a longer one.
  size_t least = word.size() <= 5 ? 2 : 3;
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(word, candidate);
    if (distance >= least) continue;
    least = distance;
    nearest = candidate;
  }
  return nearest;
}

}  // namespace mneme
