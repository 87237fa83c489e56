#include "server/access_control.h"

#include <grpcpp/security/auth_context.h>

#include <utility>

#include "absl/strings/match.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

constexpr char kHeader[] = "authorization";
constexpr std::string_view kScheme = "bearer ";
// How gRPC calls the names in a certificate.
constexpr const char* kCertificateNames[] = {"x509_subject_alternative_name", "x509_common_name"};

std::string_view View(grpc::string_ref text) { return {text.data(), text.size()}; }

absl::Status Unknown() {
  return absl::UnauthenticatedError("this server answers only who it knows: send `authorization: Bearer TOKEN` with a "
                                    "token that it was given");
}

// The token in the value of a header; nothing where it holds none.
std::optional<std::string_view> BearerOf(std::string_view value) {
  if (value.size() <= kScheme.size() || value.size() > kScheme.size() + limits::kMaxTokenBytes) return std::nullopt;
  const bool bearer = absl::StartsWithIgnoreCase(absl::string_view(value.data(), value.size()),
                                                 absl::string_view(kScheme.data(), kScheme.size()));
  return bearer ? std::optional<std::string_view>(value.substr(kScheme.size())) : std::nullopt;
}

// The token that was shown; nothing where none was, or more than one.
std::optional<std::string_view> TokenOf(const grpc::ServerContextBase& context) {
  const auto [first, last] = context.client_metadata().equal_range(kHeader);
  if (first == last || std::next(first) != last) return std::nullopt;
  return BearerOf(View(first->second));
}

bool HasToken(const grpc::ServerContextBase& context) { return context.client_metadata().count(kHeader) != 0; }

}  // namespace

Decision Caller::Ask(const RpcRule* rule, absl::Span<const AccessTarget> targets) const {
  if (principal_ != nullptr) return Decide(*principal_, rule, targets);
  Decision decision;
  decision.allowed = anybody_ && rule != nullptr;
  return decision;
}

bool Caller::MayList(std::string_view memory) const {
  return principal_ != nullptr ? mneme::MayList(*principal_, memory) : anybody_;
}

bool Caller::MayReadAll() const {
  static constexpr RpcRule kReads = {.service = "", .method = "", .need = Need::kRead};
  return Ask(&kReads, {AccessTarget{}}).allowed;
}

absl::StatusOr<std::unique_ptr<AccessControl>> AccessControl::New(std::string token_file) {
  std::unique_ptr<AccessControl> access(new AccessControl(std::move(token_file)));
  if (!access->token_file_.empty()) RETURN_IF_ERROR(access->Reload().status());
  return access;
}

absl::StatusOr<size_t> AccessControl::Reload() {
  if (token_file_.empty()) return 0;
  ASSIGN_OR_RETURN(TokenTable read, TokenTable::Read(token_file_));
  const size_t lines = read.principals().size();
  auto table = std::make_shared<const TokenTable>(std::move(read));
  MutexLock lock(&mutex_);
  table_.swap(table);
  return lines;
}

std::shared_ptr<const TokenTable> AccessControl::table() const {
  MutexLock lock(&mutex_);
  return table_;
}

absl::StatusOr<Caller> AccessControl::Identify(const grpc::ServerContextBase& context) const {
  Caller caller;
  caller.table_ = table();
  caller.anybody_ = caller.table_ == nullptr;
  if (caller.anybody_) return caller;
  if (const auto token = TokenOf(context); token.has_value()) {
    caller.digest_ = DigestOf(*token);
    caller.principal_ = caller.table_->Find(*caller.digest_);
  } else if (const auto auth = context.auth_context();
             !HasToken(context) && auth != nullptr && auth->IsPeerAuthenticated()) {
    for (const char* property : kCertificateNames) {
      for (const grpc::string_ref& name : auth->FindPropertyValues(property)) {
        if (caller.principal_ != nullptr) break;
        caller.principal_ = caller.table_->FindCertificate(View(name));
        caller.certificate_ = std::string(View(name));
      }
    }
  }
  if (caller.principal_ == nullptr) return Unknown();
  return caller;
}

bool AccessControl::MayReadPages(std::string_view authorization, const std::vector<std::string>& certificate) const {
  const std::shared_ptr<const TokenTable> known = table();
  if (known == nullptr) return true;
  const Principal* principal = nullptr;
  if (!authorization.empty()) {
    const auto token = BearerOf(authorization);
    if (token.has_value()) principal = known->Find(DigestOf(*token));
  } else {
    for (const std::string& name : certificate) {
      if (principal == nullptr) principal = known->FindCertificate(name);
    }
  }
  return principal != nullptr && MayReadMetrics(*principal);
}

absl::Status AccessControl::Refresh(Caller& caller) const {
  std::shared_ptr<const TokenTable> now = table();
  if (now == caller.table_) return absl::OkStatus();
  caller.table_ = std::move(now);
  caller.principal_ = caller.digest_.has_value() ? caller.table_->Find(*caller.digest_)
                                                 : caller.table_->FindCertificate(caller.certificate_);
  return caller.principal_ != nullptr ? absl::OkStatus() : Unknown();
}

}  // namespace mneme
