#include "cluster/s3_store.h"

#include <curl/curl.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cluster/s3_answer.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "security/token.h"

namespace mneme {
namespace {

constexpr int kTries = 5;  // three seconds of pauses
constexpr std::chrono::milliseconds kFirstPause{200};
// A connection, and one that moves less than a KiB a second for long.
constexpr long kConnectSeconds = 15;
constexpr long kSlowSeconds = 60;
constexpr long kSlowBytes = 1024;

// As a query and its signature have it.
std::string Quoted(std::string_view text) {
  std::string quoted;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = absl::ascii_isalnum(byte) || c == '-' || c == '_' || c == '.' || c == '~';
    if (plain) {
      quoted.push_back(c);
    } else {
      absl::StrAppendFormat(&quoted, "%%%02X", byte);
    }
  }
  return quoted;
}

}  // namespace

struct S3Store::Request {
  const char* method = "GET";
  std::string url;
  std::string_view body = {};
  std::string what;  // for errors
  size_t most_bytes = limits::kMaxStoredObjectBytes;  // of the answer
};

struct S3Store::Response {
  long code = 0;
  std::string body;
};

struct S3Store::Curl {
  explicit Curl(CURL* opened) : handle(opened) {}
  ~Curl() { curl_easy_cleanup(handle); }

  // What is sent, as it is read.
  struct Sent {
    std::string_view left;
  };
  static size_t Read(char* out, size_t size, size_t count, void* sent) {
    std::string_view& left = static_cast<Sent*>(sent)->left;
    const size_t bytes = std::min(left.size(), size * count);
    std::memcpy(out, left.data(), bytes);
    left.remove_prefix(bytes);
    return bytes;
  }
  // What comes; as much as it may be.
  struct Got {
    std::string& body;
    const size_t most_bytes;
    bool too_long = false;
  };
  static size_t Write(char* in, size_t size, size_t count, void* into) {
    Got& got = *static_cast<Got*>(into);
    got.too_long = size * count > got.most_bytes - got.body.size();
    if (got.too_long) return 0;
    got.body.append(in, size * count);
    return size * count;
  }
  static int Progress(void* give_up, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return (*static_cast<const std::function<bool()>*>(give_up))() ? 1 : 0;
  }

  CURL* const handle;
};

absl::StatusOr<std::unique_ptr<S3Store>> S3Store::New(S3Address address, S3Settings settings,
                                                      std::function<bool()> give_up) {
  // Once for a process, whoever else did.
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) return absl::UnavailableError("libcurl does not begin");
  CURL* const handle = curl_easy_init();
  if (handle == nullptr) return absl::UnavailableError("libcurl does not begin");
  return std::unique_ptr<S3Store>(
      new S3Store(std::move(address), std::move(settings), std::move(give_up), std::make_unique<Curl>(handle)));
}

S3Store::S3Store(S3Address address, S3Settings settings, std::function<bool()> give_up, std::unique_ptr<Curl> curl)
    : address_(std::move(address)), settings_(std::move(settings)), give_up_(std::move(give_up)),
      curl_(std::move(curl)) {}

S3Store::~S3Store() = default;

std::string S3Store::UrlOf(const std::string& name) const {
  const char* const slash = address_.prefix.empty() ? "" : "/";
  return absl::StrCat(settings_.endpoint, "/", address_.bucket, "/", address_.prefix, slash, name);
}

absl::Status S3Store::AskOnce(const Request& request, Response& response) {
  CURL* const handle = curl_->handle;
  curl_easy_reset(handle);  // connections stay
  response = {};
  Curl::Sent sent{request.body};
  Curl::Got got{response.body, request.most_bytes};
  // The store compares it with what it gets; libcurl signs what stands here.
  const std::string digest = absl::StrCat("x-amz-content-sha256: ", HexOf(DigestOf(request.body)));
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(
      curl_slist_append(nullptr, digest.c_str()), &curl_slist_free_all);
  const std::string signing = absl::StrCat("aws:amz:", settings_.region, ":s3");
  curl_easy_setopt(handle, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(handle, CURLOPT_AWS_SIGV4, signing.c_str());
  curl_easy_setopt(handle, CURLOPT_USERNAME, settings_.access_key.c_str());
  curl_easy_setopt(handle, CURLOPT_PASSWORD, settings_.secret_key.c_str());
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(handle, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, kSlowSeconds);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, kSlowBytes);
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &Curl::Write);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &got);
  curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, &Curl::Progress);
  curl_easy_setopt(handle, CURLOPT_XFERINFODATA, const_cast<std::function<bool()>*>(&give_up_));
  if (!settings_.ca_file.empty()) curl_easy_setopt(handle, CURLOPT_CAINFO, settings_.ca_file.c_str());
  if (std::strcmp(request.method, "PUT") == 0) {
    curl_easy_setopt(handle, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(handle, CURLOPT_READFUNCTION, &Curl::Read);
    curl_easy_setopt(handle, CURLOPT_READDATA, &sent);
    curl_easy_setopt(handle, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
  } else if (std::strcmp(request.method, "GET") != 0) {
    curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request.method);
  }
  const CURLcode code = curl_easy_perform(handle);
  if (code == CURLE_ABORTED_BY_CALLBACK) return absl::CancelledError("the copy was given up");
  if (got.too_long) {
    return absl::OutOfRangeError(absl::StrCat(settings_.endpoint, ": ", request.what, ": the answer has more than ",
                                              request.most_bytes, " bytes"));
  }
  if (code != CURLE_OK) {
    return absl::UnavailableError(absl::StrCat(settings_.endpoint, ": ", request.what, ": ", curl_easy_strerror(code)));
  }
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &response.code);
  return absl::OkStatus();
}

absl::Status S3Store::StatusOf(const Request& request, const Response& response) const {
  if (response.code >= 200 && response.code < 300) return absl::OkStatus();
  const std::string reason = S3ErrorCode(response.body);
  const std::string text = absl::StrCat(settings_.endpoint, ": ", request.what, ": HTTP ", response.code,
                                        reason.empty() ? "" : " ", reason);
  if (response.code == 404) return absl::NotFoundError(text);
  if (response.code == 401 || response.code == 403) return absl::PermissionDeniedError(text);
  if (response.code == 429 || response.code >= 500) return absl::UnavailableError(text);
  return absl::FailedPreconditionError(text);
}

absl::StatusOr<std::string> S3Store::Ask(const Request& request) {
  auto pause = kFirstPause;
  for (int left = kTries;; pause *= 2) {
    Response response;
    absl::Status status = AskOnce(request, response);
    if (status.ok()) status = StatusOf(request, response);
    if (status.ok()) return std::move(response.body);
    if (!absl::IsUnavailable(status) || --left == 0 || give_up_()) return status;
    std::this_thread::sleep_for(pause);
  }
}

absl::StatusOr<std::vector<StoredObject>> S3Store::List() {
  const std::string prefix = address_.prefix.empty() ? "" : address_.prefix + "/";
  std::vector<StoredObject> objects;
  std::string next;
  size_t pages = 0;
  do {
    Request request;
    // In the order in which they are signed.
    request.url = absl::StrCat(settings_.endpoint, "/", address_.bucket, "?",
                               next.empty() ? "" : absl::StrCat("continuation-token=", Quoted(next), "&"),
                               "list-type=2&prefix=", Quoted(prefix));
    request.what = absl::StrCat("list ", address_.bucket);
    request.most_bytes = limits::kMaxStorePageBytes;
    ASSIGN_OR_RETURN(const std::string xml, Ask(request));
    ASSIGN_OR_RETURN(S3Page page, ParseS3Page(xml));
    for (StoredObject& object : page.objects) {
      if (!absl::StartsWith(object.name, prefix)) continue;
      object.name.erase(0, prefix.size());
      objects.push_back(std::move(object));
    }
    if (objects.size() > limits::kMaxStoredObjects || ++pages > limits::kMaxStoredObjects) {
      return absl::OutOfRangeError(absl::StrCat(settings_.endpoint, ": ", request.what, ": it has more than ",
                                                limits::kMaxStoredObjects, " objects, or pages of them"));
    }
    next = std::move(page.next);
  } while (!next.empty());
  std::sort(objects.begin(), objects.end(),
            [](const StoredObject& a, const StoredObject& b) { return a.name < b.name; });
  return objects;
}

absl::Status S3Store::Put(const std::string& name, std::string_view bytes) {
  return Ask({"PUT", UrlOf(name), bytes, absl::StrCat("put ", name)}).status();
}

absl::StatusOr<std::string> S3Store::Get(const std::string& name) {
  return Ask({"GET", UrlOf(name), {}, absl::StrCat("get ", name)});
}

absl::Status S3Store::Remove(const std::string& name) {
  const absl::Status removed = Ask({"DELETE", UrlOf(name), {}, absl::StrCat("remove ", name)}).status();
  return absl::IsNotFound(removed) ? absl::OkStatus() : removed;
}

}  // namespace mneme
