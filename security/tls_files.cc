#include "security/tls_files.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cstdio>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

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

absl::StatusOr<Owned<BIO>> Open(const std::string& path) {
  Owned<BIO> file(BIO_new_file(path.c_str(), "r"));
  ERR_clear_error();
  if (file == nullptr) return absl::InvalidArgumentError(absl::StrCat("file ", path, " cannot be read"));
  return file;
}

absl::StatusOr<Owned<X509>> ReadCertificate(const std::string& path) {
  ASSIGN_OR_RETURN(const Owned<BIO> file, Open(path));
  Owned<X509> certificate(PEM_read_bio_X509(file.get(), nullptr, NoPassword, nullptr));
  ERR_clear_error();
  if (certificate == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("file ", path, " has no certificate in PEM form"));
  }
  return certificate;
}

absl::StatusOr<Owned<EVP_PKEY>> ReadKey(const std::string& path) {
  ASSIGN_OR_RETURN(const Owned<BIO> file, Open(path));
  Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(file.get(), nullptr, NoPassword, nullptr));
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
    ASSIGN_OR_RETURN(const Owned<X509> certificate, ReadCertificate(files.certificate));
    ASSIGN_OR_RETURN(const Owned<EVP_PKEY> key, ReadKey(files.key));
    const bool fits = X509_check_private_key(certificate.get(), key.get()) == 1;
    ERR_clear_error();
    if (!fits) {
      return absl::InvalidArgumentError(
          absl::StrCat("the key in ", files.key, " is not that of the certificate in ", files.certificate));
    }
    RETURN_IF_ERROR(CheckTime(files.certificate, *certificate));
  }
  if (!files.ca.empty()) RETURN_IF_ERROR(ReadCertificate(files.ca).status());
  return absl::OkStatus();
}

}  // namespace mneme
