#include "security/tls_files.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <ctime>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "security/small_file.h"

namespace mneme {
namespace {

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;
using Certificates = std::vector<Owned<X509>>;

// A key that is locked has nobody to ask for its word.
int NoPassword(char*, int, int, void*) { return -1; }

absl::StatusOr<SmallFile> Read(const std::string& path) {
  absl::StatusOr<SmallFile> file = ReadOperatorFile(path, limits::kMaxPemBytes);
  if (file.ok()) return file;
  return absl::InvalidArgumentError(absl::StrCat("file ", path, " ", file.status().message()));
}

// Of `text`, which outlives it.
Owned<BIO> Open(const std::string& text) {
  return Owned<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// All of the text of a file: one broken certificate of a bundle spoils it for gRPC, too.
absl::StatusOr<Certificates> ParseCertificates(const std::string& path, const std::string& text) {
  const Owned<BIO> bytes = Open(text);
  Certificates certificates;
  while (Owned<X509> next{PEM_read_bio_X509(bytes.get(), nullptr, NoPassword, nullptr)}) {
    certificates.push_back(std::move(next));
  }
  const bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (certificates.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("file ", path, " has no certificate in PEM form"));
  }
  if (!ended) {
    return absl::InvalidArgumentError(
        absl::StrCat("file ", path, " has a broken certificate after ", certificates.size(), " good ones"));
  }
  return certificates;
}

absl::StatusOr<Owned<EVP_PKEY>> ParseKey(const std::string& path, const std::string& text) {
  Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(Open(text).get(), nullptr, NoPassword, nullptr));
  ERR_clear_error();
  if (key == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("file ", path, " has no private key in PEM without a password"));
  }
  return key;
}

// Whether it proves itself with them: OpenSSL refuses what is too weak, too.
bool OpenSslTakes(const Certificates& certificates, EVP_PKEY* key) {
  const Owned<SSL_CTX> context(SSL_CTX_new(TLS_method()));
  bool taken = context != nullptr && SSL_CTX_use_certificate(context.get(), certificates.front().get()) == 1 &&
               SSL_CTX_use_PrivateKey(context.get(), key) == 1;
  for (size_t i = 1; taken && i < certificates.size(); ++i) {
    taken = SSL_CTX_add1_chain_cert(context.get(), certificates[i].get()) == 1;
  }
  ERR_clear_error();
  return taken;
}

// PEM of `key`, which may be null, and then of `certificates`; nothing when it cannot be written.
std::optional<std::string> Write(const EVP_PKEY* key, const Certificates& certificates) {
  const Owned<BIO> out(BIO_new(BIO_s_mem()));
  bool written = out != nullptr;
  if (written && key != nullptr) {
    written = PEM_write_bio_PrivateKey(out.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1;
  }
  for (size_t i = 0; written && i < certificates.size(); ++i) {
    written = PEM_write_bio_X509(out.get(), certificates[i].get()) == 1;
  }
  ERR_clear_error();
  if (!written) return std::nullopt;
  char* bytes = nullptr;
  const auto size = BIO_get_mem_data(out.get(), &bytes);
  return std::string(bytes, static_cast<size_t>(size));
}

absl::Status CheckTime(const std::string& path, const X509& certificate) {
  if (X509_cmp_current_time(X509_get0_notAfter(&certificate)) < 0) {
    return absl::InvalidArgumentError(absl::StrCat("the certificate in ", path, " has expired"));
  }
  if (X509_cmp_current_time(X509_get0_notBefore(&certificate)) > 0) {
    return absl::InvalidArgumentError(absl::StrCat("the certificate in ", path, " is not valid yet"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadTlsFile(const std::string& path) {
  ASSIGN_OR_RETURN(SmallFile file, Read(path));
  return std::move(file.text);
}

absl::StatusOr<std::string> JudgePair(const TlsFiles& files, const std::string& certificate, const std::string& key) {
  ASSIGN_OR_RETURN(const Certificates certificates, ParseCertificates(files.certificate, certificate));
  const X509& first = *certificates.front();
  ASSIGN_OR_RETURN(const Owned<EVP_PKEY> parsed, ParseKey(files.key, key));
  const bool fits = X509_check_private_key(&first, parsed.get()) == 1;
  ERR_clear_error();
  if (!fits) {
    return absl::InvalidArgumentError(
        absl::StrCat("the key in ", files.key, " is not that of the certificate in ", files.certificate));
  }
  RETURN_IF_ERROR(CheckTime(files.certificate, first));
  std::optional<std::string> text = Write(parsed.get(), certificates);
  if (text.has_value() && OpenSslTakes(certificates, parsed.get())) return *std::move(text);
  return absl::InvalidArgumentError(
      absl::StrCat("OpenSSL does not take the certificate in ", files.certificate, ", or its key"));
}

absl::StatusOr<std::string> JudgeAuthorities(const TlsFiles& files, const std::string& ca) {
  ASSIGN_OR_RETURN(const Certificates certificates, ParseCertificates(files.ca, ca));
  std::optional<std::string> text = Write(nullptr, certificates);
  if (text.has_value()) return *std::move(text);
  return absl::InvalidArgumentError(absl::StrCat("OpenSSL does not take the certificates in ", files.ca));
}

absl::Status CheckTlsFiles(const TlsFiles& files) {
  if (files.certificate.empty() != files.key.empty()) {
    return absl::InvalidArgumentError("a certificate and its key belong together; only one of them is given");
  }
  if (!files.certificate.empty()) {
    ASSIGN_OR_RETURN(const std::string certificate, ReadTlsFile(files.certificate));
    ASSIGN_OR_RETURN(const std::string key, ReadTlsFile(files.key));
    RETURN_IF_ERROR(JudgePair(files, certificate, key).status());
  }
  if (files.ca.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string ca, ReadTlsFile(files.ca));
  return JudgeAuthorities(files, ca).status();
}

std::optional<absl::Time> EndOf(const std::string& certificate) {
  const absl::StatusOr<std::string> text = ReadTlsFile(certificate);
  if (!text.ok()) return std::nullopt;
  const absl::StatusOr<Certificates> certificates = ParseCertificates(certificate, *text);
  if (!certificates.ok()) return std::nullopt;
  std::tm end = {};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificates->front().get()), &end) != 1) return std::nullopt;
  return absl::FromTM(end, absl::UTCTimeZone());
}

std::vector<std::string> WarningsOf(const TlsFiles& files, absl::Time now) {
  std::vector<std::string> warnings;
  const auto end = files.certificate.empty() ? std::nullopt : EndOf(files.certificate);
  if (end.has_value() && *end - now < absl::Hours(24 * limits::kCertificateWarningDays)) {
    warnings.push_back(absl::StrCat("the certificate in ", files.certificate, " ends at ",
                                    absl::FormatTime("%Y-%m-%d %H:%M UTC", *end, absl::UTCTimeZone())));
  }
  if (files.key.empty()) return warnings;
  if (const auto key = Read(files.key); key.ok() && (key->mode & (S_IROTH | S_IWOTH | S_IWGRP)) != 0) {
    warnings.push_back(absl::StrCat("the key in ", files.key, " may be read or written by others; chmod 0600 it"));
  }
  return warnings;
}

}  // namespace mneme
