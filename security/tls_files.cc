#include "security/tls_files.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
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
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

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

// All of a file: one broken certificate of a bundle spoils it for gRPC, too.
absl::StatusOr<std::vector<Owned<X509>>> ReadCertificates(const std::string& path) {
  ASSIGN_OR_RETURN(const SmallFile file, Read(path));
  const Owned<BIO> bytes = Open(file.text);
  std::vector<Owned<X509>> certificates;
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

absl::StatusOr<Owned<EVP_PKEY>> ReadKey(const std::string& path) {
  ASSIGN_OR_RETURN(const SmallFile file, Read(path));
  Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(Open(file.text).get(), nullptr, NoPassword, nullptr));
  ERR_clear_error();
  if (key == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("file ", path, " has no private key in PEM without a password"));
  }
  return key;
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

absl::Status CheckTlsFiles(const TlsFiles& files) {
  if (files.certificate.empty() != files.key.empty()) {
    return absl::InvalidArgumentError("a certificate and its key belong together; only one of them is given");
  }
  if (!files.certificate.empty()) {
    ASSIGN_OR_RETURN(const auto certificates, ReadCertificates(files.certificate));
    const X509& certificate = *certificates.front();
    ASSIGN_OR_RETURN(const Owned<EVP_PKEY> key, ReadKey(files.key));
    const bool fits = X509_check_private_key(&certificate, key.get()) == 1;
    ERR_clear_error();
    if (!fits) {
      return absl::InvalidArgumentError(
          absl::StrCat("the key in ", files.key, " is not that of the certificate in ", files.certificate));
    }
    RETURN_IF_ERROR(CheckTime(files.certificate, certificate));
  }
  if (!files.ca.empty()) RETURN_IF_ERROR(ReadCertificates(files.ca).status());
  return absl::OkStatus();
}

std::optional<absl::Time> EndOf(const std::string& certificate) {
  const auto certificates = ReadCertificates(certificate);
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
