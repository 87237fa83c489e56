#include "security/tls_identity.h"

#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <string_view>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

struct Free {
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(GENERAL_NAMES* names) const { GENERAL_NAMES_free(names); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

std::string TextOf(const ASN1_STRING* text) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)), static_cast<size_t>(ASN1_STRING_length(text))};
}

// DNS names, URIs and addresses of mail; of an alternative name of another kind nothing.
void AddAlternativeNames(const X509& certificate, std::vector<std::string>& out) {
  const Owned<GENERAL_NAMES> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(&certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_DNS || name->type == GEN_URI || name->type == GEN_EMAIL) out.push_back(TextOf(name->d.ia5));
  }
}

void AddCommonName(const X509& certificate, std::vector<std::string>& out) {
  X509_NAME* const subject = X509_get_subject_name(&certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at >= 0) out.push_back(TextOf(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at))));
}

}  // namespace

TlsIdentity::Held TlsIdentity::Read(const JudgedTlsFiles& files) {
  const std::string& pair = files.pair_path();
  const std::string& ca = files.ca_path();
  Held held(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  const bool taken = held != nullptr && SSL_CTX_use_certificate_chain_file(held.get(), pair.c_str()) == 1 &&
                     SSL_CTX_use_PrivateKey_file(held.get(), pair.c_str(), SSL_FILETYPE_PEM) == 1 &&
                     SSL_CTX_check_private_key(held.get()) == 1 &&
                     (ca.empty() || SSL_CTX_load_verify_locations(held.get(), ca.c_str(), nullptr) == 1);
  ERR_clear_error();
  return taken ? held : nullptr;
}

absl::StatusOr<std::unique_ptr<TlsIdentity>> TlsIdentity::New(const TlsFiles& files) {
  ASSIGN_OR_RETURN(std::shared_ptr<const JudgedTlsFiles> judged, JudgedTlsFiles::Watch(files));
  Held held = Read(*judged);
  if (held == nullptr) held = Read(*judged);  // the pair may have been put anew meanwhile
  if (held == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("OpenSSL does not take the certificate in ", files.certificate, ", its key, or the ca beside it"));
  }
  return std::unique_ptr<TlsIdentity>(new TlsIdentity(std::move(judged), std::move(held)));
}

TlsIdentity::Held TlsIdentity::Current() {
  MutexLock lock(&mutex_);
  const auto now = std::chrono::steady_clock::now();
  if (now - looked_ < std::chrono::seconds(kTlsRefreshSeconds)) return held_;
  looked_ = now;
  if (Held read = Read(*files_); read != nullptr) held_ = std::move(read);
  return held_;
}

// As SSL_CTX_set_cert_cb() has it: 1 goes on, 0 ends the handshake.
int TlsIdentity::OnHandshake(ssl_st* connection, void* self) {
  auto& identity = *static_cast<TlsIdentity*>(self);
  const Held held = identity.Current();
  STACK_OF(X509)* chain = nullptr;
  SSL_CTX_get0_chain_certs(held.get(), &chain);
  SSL_certs_clear(connection);
  if (SSL_use_cert_and_key(connection, SSL_CTX_get0_certificate(held.get()), SSL_CTX_get0_privatekey(held.get()), chain,
                           1) != 1) {
    return 0;
  }
  if (identity.files_->ca_path().empty()) return 1;
  return SSL_set1_verify_cert_store(connection, SSL_CTX_get_cert_store(held.get())) == 1 ? 1 : 0;
}

bool TlsIdentity::Serve(ssl_ctx_st& context) {
  if (SSL_CTX_set_min_proto_version(&context, TLS1_2_VERSION) != 1) return false;
  // Who is trusted no longer does not come back by a session of before.
  SSL_CTX_set_session_cache_mode(&context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(&context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  if (SSL_CTX_set_num_tickets(&context, 0) != 1) return false;
  SSL_CTX_set_verify(&context, files_->ca_path().empty() ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_cert_cb(&context, OnHandshake, this);
  return true;
}

std::vector<std::string> TlsIdentity::PeerNames(const ssl_st& connection) {
  std::vector<std::string> names;
  const Owned<X509> certificate(SSL_get1_peer_certificate(&connection));
  if (certificate == nullptr || SSL_get_verify_result(&connection) != X509_V_OK) return names;
  AddAlternativeNames(*certificate, names);
  AddCommonName(*certificate, names);
  return names;
}

}  // namespace mneme
