// TlsFiles: the files that one end of an encrypted connection is made of, all PEM.
#ifndef MNEME_SECURITY_TLS_FILES_H_
#define MNEME_SECURITY_TLS_FILES_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace mneme {

struct TlsFiles {
  std::string certificate;  // with the intermediate ones behind it
  std::string key;          // of the certificate
  std::string ca;           // a bundle of those that the other end's certificate may be signed by
  bool empty() const { return certificate.empty() && key.empty() && ca.empty(); }
};

// How often gRPC, and who else listens, look whether there is something new that can be used.
inline constexpr unsigned int kTlsRefreshSeconds = 1;

// Reads what is named: INVALID_ARGUMENT when a file cannot be read, is no PEM of its kind, the key is none of the
// certificate's, the certificate is over or not valid yet, or OpenSSL does not take it. gRPC would only refuse
// connections, or abort. Messages name files, never what is in them.
absl::Status CheckTlsFiles(const TlsFiles& files);

// A file of these, as it is; INVALID_ARGUMENT when it cannot be read.
absl::StatusOr<std::string> ReadTlsFile(const std::string& path);
// Texts that were read from `files`, judged as CheckTlsFiles does, and written anew: nothing goes on that was not
// understood. The key, and behind it the certificates, in one text: readers of PEM pass over blocks of another kind.
absl::StatusOr<std::string> JudgePair(const TlsFiles& files, const std::string& certificate, const std::string& key);
// The certificates of a bundle.
absl::StatusOr<std::string> JudgeAuthorities(const TlsFiles& files, const std::string& ca);

// When the first certificate of a file is over; nothing where there is none.
std::optional<absl::Time> EndOf(const std::string& certificate);
// What is wrong with files that can be used: a certificate that ends within kCertificateWarningDays, a key that others
// may read or write.
std::vector<std::string> WarningsOf(const TlsFiles& files, absl::Time now);

}  // namespace mneme

#endif  // MNEME_SECURITY_TLS_FILES_H_
