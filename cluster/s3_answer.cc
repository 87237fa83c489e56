#include "cluster/s3_answer.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/absl_view.h"
#include "common/limits.h"

namespace mneme {
namespace {

// The text of the first element `name` from `at` on, and goes past it; nullopt when there is none.
std::optional<std::string_view> TakeElement(std::string_view xml, const std::string& name, size_t& at) {
  const std::string begin = absl::StrCat("<", name, ">");
  const std::string end = absl::StrCat("</", name, ">");
  const size_t from = xml.find(begin, at);
  if (from == std::string_view::npos) return std::nullopt;
  const size_t to = xml.find(end, from);
  if (to == std::string_view::npos) return std::nullopt;
  at = to + end.size();
  return xml.substr(from + begin.size(), to - from - begin.size());
}

std::optional<std::string_view> FindElement(std::string_view xml, const std::string& name) {
  size_t at = 0;
  return TakeElement(xml, name, at);
}

constexpr std::pair<std::string_view, char> kQuoted[] = {{"&lt;", '<'},  {"&gt;", '>'},    {"&quot;", '"'},
                                                         {"&#34;", '"'}, {"&apos;", '\''}, {"&#39;", '\''},
                                                         {"&amp;", '&'}};

// XML quotes five characters; keys of ours have none of them, tokens may. In one pass: what comes of it is not looked
// at again, and a page of nothing else takes no longer than it takes to read.
std::string Unquoted(std::string_view text) {
  std::string plain;
  while (!text.empty()) {
    const auto* const quoted = std::find_if(std::begin(kQuoted), std::end(kQuoted), [&](const auto& each) {
      return text.substr(0, each.first.size()) == each.first;
    });
    const bool is_quoted = quoted != std::end(kQuoted);
    plain.push_back(is_quoted ? quoted->second : text.front());
    text.remove_prefix(is_quoted ? quoted->first.size() : 1);
  }
  return plain;
}

}  // namespace

absl::StatusOr<S3Page> ParseS3Page(std::string_view xml) {
  const absl::Status damaged = absl::DataLossError("the store does not answer as S3 lists objects");
  if (!absl::StrContains(ToAbsl(xml), "<ListBucketResult")) return damaged;
  S3Page page;
  size_t at = 0;
  while (const auto contents = TakeElement(xml, "Contents", at)) {
    const auto key = FindElement(*contents, "Key");
    const auto size = FindElement(*contents, "Size");
    StoredObject object;
    if (!key.has_value() || !size.has_value() || !absl::SimpleAtoi(ToAbsl(*size), &object.bytes)) return damaged;
    object.name = Unquoted(*key);
    page.objects.push_back(std::move(object));
  }
  if (FindElement(xml, "IsTruncated").value_or("") != "true") return page;
  page.next = Unquoted(FindElement(xml, "NextContinuationToken").value_or(""));
  if (page.next.empty()) return damaged;
  return page;
}

std::string S3ErrorCode(std::string_view xml) {
  const std::string_view code = FindElement(xml.substr(0, limits::kMaxStoreErrorBytes), "Code").value_or("");
  std::string plain;
  for (const char c : code.substr(0, limits::kMaxStoreErrorCodeBytes)) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c))) plain.push_back(c);
  }
  return plain;
}

}  // namespace mneme
