// What a store that speaks S3 answers to `push` and `pull`: pages of lists, and errors.
#include "cluster/s3_answer.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

enum Kind : uint8_t { kPage, kError, kKinds };

std::string Quoted(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&apos;"}});
}

// As S3 writes it.
std::string XmlOf(const S3Page& page) {
  std::string xml = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
  absl::StrAppend(&xml, "<Name>b</Name><IsTruncated>", page.next.empty() ? "false" : "true", "</IsTruncated>");
  for (const StoredObject& object : page.objects) {
    absl::StrAppend(&xml, "<Contents><Key>", Quoted(object.name), "</Key><ETag>&quot;e&quot;</ETag><Size>",
                    object.bytes, "</Size></Contents>");
  }
  if (!page.next.empty()) {
    absl::StrAppend(&xml, "<NextContinuationToken>", Quoted(page.next), "</NextContinuationToken>");
  }
  return xml + "</ListBucketResult>";
}

bool Same(const S3Page& a, const S3Page& b) {
  return a.next == b.next && std::equal(a.objects.begin(), a.objects.end(), b.objects.begin(), b.objects.end(),
                                        [](const StoredObject& one, const StoredObject& other) {
                                          return one.name == other.name && one.bytes == other.bytes;
                                        });
}

bool Page(std::string_view xml) {
  const auto page = ParseS3Page(xml);
  if (!page.ok()) {
    ExpectRefusal(page.status(), {absl::StatusCode::kDataLoss}, {"does not answer as S3"});
    return false;
  }
  size_t names = page->next.size();
  for (const StoredObject& object : page->objects) names += object.name.size();
  Expect(names <= xml.size(), "names are no longer than what they are read of");
  const auto again = ParseS3Page(XmlOf(*page));
  Expect(again.ok() && Same(*again, *page), "a page is written so that it reads the same");
  return true;
}

bool Error(std::string_view xml) {
  const std::string code = S3ErrorCode(xml);
  Expect(code.size() <= 200, "what an error calls itself is bounded");
  for (const char c : code) {
    Expect(absl::ascii_isalnum(static_cast<unsigned char>(c)), "an error calls itself a word");
  }
  return !code.empty();
}

bool Run(std::string_view input) {
  Input in(input);
  const uint8_t kind = in.Byte() % kKinds;
  // An object of a few bytes of XML; a character is quoted as six.
  const AllocationBound bound(16 * 1024 + 16 * in.Rest().size());
  return kind == kPage ? Page(in.Rest()) : Error(in.Rest());
}

std::vector<std::string> Seeds() {
  const auto seed = [](Kind kind, const std::string& text) { return std::string(1, static_cast<char>(kind)) + text; };
  return {seed(kPage, XmlOf({{}, ""})),
          seed(kPage, XmlOf({{{"p/BACKUP-000001", 300}, {"p/shard-000/meta/1", 0}}, ""})),
          seed(kPage, XmlOf({{{"p/a&b'<\"", 12}}, "1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=<&>"})),
          seed(kPage, "<ListBucketResult><Contents><Key>&#39;&#34;&lt</Key><Size>1</Size></Contents>"),
          seed(kError, "<Error><Code>NoSuchBucket</Code><Message>m</Message></Error>")};
}

const Registration kTarget({"s3_answer", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
