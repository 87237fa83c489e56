// TlsFiles: the files that one end of an encrypted connection is made of, all PEM.
#ifndef MNEME_SECURITY_TLS_FILES_H_
#define MNEME_SECURITY_TLS_FILES_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace mneme {

struct TlsFiles {
  std::string certificate;  // with the intermediate ones behind it
  std::string key;          // of the certificate
  std::string ca;           // a bundle of those that the other end's certificate may be signed by
  bool empty() const { return certificate.empty() && key.empty() && ca.empty(); }
};

// How often the files are looked at: what was put in their place holds for connections from then on.
inline constexpr unsigned int kTlsRefreshSeconds = 1;

// Reads what is named: INVALID_ARGUMENT when a file cannot be read, is no PEM of its kind, the key is none of the
// certificate's, or the certificate is over or not valid yet. gRPC would only refuse connections. Messages name files,
// never what is in them.
absl::Status CheckTlsFiles(const TlsFiles& files);
// When the first certificate of a file is over; nothing where there is none.
std::optional<absl::Time> EndOf(const std::string& certificate);
// What is wrong with files that can be used: a certificate that ends within kCertificateWarningDays, a key that others
// may read or write.
std::vector<std::string> WarningsOf(const TlsFiles& files, absl::Time now);

}  // namespace mneme

#endif  // MNEME_SECURITY_TLS_FILES_H_
