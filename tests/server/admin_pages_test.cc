// The admin address beyond this machine: TLS, and who reads its pages. tests/system/security_test.py changes its files
// while it serves.
#include <httplib.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "tests/server/access_fixture.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;

class AdminPagesTest : public testing::Test {
 protected:
  AdminPagesTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mneme_pages_XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    umask(0077);
    for (const char* name : {"server", "prometheus", "stranger"}) MakeCertificate(directory_, name);
    std::ofstream tokens(directory_ + "/tokens");
    tokens << kTokenFileHeader << "\n"
           << "prometheus sha256:" << HexOf(DigestOf("mneme_prometheus-0123")) << " metrics\n"
           << "reader sha256:" << HexOf(DigestOf("mneme_reader-0123456789")) << " read:*\n"
           << "ops sha256:" << HexOf(DigestOf("mneme_ops-012345678901")) << " admin:*\n"
           << "scraper certificate:prometheus metrics\n";
    options_.data_dir = directory_ + "/data";
    options_.listen = {"127.0.0.1:0"};
    options_.admin_listen = "0.0.0.0:0";
    options_.tls.certificate = directory_ + "/server.pem";
    options_.tls.key = directory_ + "/server.key";
  }
  ~AdminPagesTest() override {
    server_.reset();
    std::filesystem::remove_all(directory_);
  }

  static void MakeCertificate(const std::string& directory, const std::string& name) {
    const char* source = std::getenv("MNEME_SOURCE_DIR");
    const std::string command = std::string(source != nullptr ? source : ".") + "/deploy/certificates " + directory +
                                " " + name + " DNS:localhost DNS:" + name + " IP:127.0.0.1 > /dev/null";
    EXPECT_EQ(std::system(command.c_str()), 0);
  }
  void Start() {
    auto server = Server::Start(options_, &log_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  // The status of a page; 0 where there is no connection. `as`: whose certificate is shown.
  int Get(const std::string& page, const std::string& token = "", const std::string& as = "") {
    const std::string certificate = directory_ + "/" + as + ".pem";
    const std::string key = directory_ + "/" + as + ".key";
    httplib::SSLClient client("127.0.0.1", server_->admin_port(), as.empty() ? "" : certificate, as.empty() ? "" : key);
    client.set_ca_cert_path((directory_ + "/ca.pem").c_str());
    client.enable_server_certificate_verification(true);
    httplib::Headers headers;
    if (!token.empty()) headers.emplace("Authorization", token);
    const auto response = client.Get(page.c_str(), headers);
    if (response) body_ = response->body;
    return response ? response->status : 0;
  }

  Log log_{LogFormat::kJson, LogLevel::kError};
  std::string directory_;
  ServerOptions options_;
  std::unique_ptr<Server> server_;
  std::string body_;
};

TEST_F(AdminPagesTest, PagesAreForWhoseTokenSaysSoAndThoseOfProbesForAnybody) {
  options_.tokens = directory_ + "/tokens";
  Start();
  EXPECT_EQ(Get("/healthz"), 200);
  EXPECT_EQ(Get("/readyz"), 200);
  for (const char* page : {"/metrics", "/config", "/version", "/none"}) {
    EXPECT_EQ(Get(page), 401) << page;
    EXPECT_THAT(body_, testing::Not(HasSubstr("mneme_entries")));
  }
  for (const char* wrong : {"Bearer mneme_reader-0123456789", "Bearer mneme_nobody-0123456789", "Bearer ", "Basic eDp5",
                            "mneme_prometheus-0123"}) {
    EXPECT_EQ(Get("/metrics", wrong), 401) << wrong;
  }
  EXPECT_EQ(Get("/metrics", "Bearer mneme_prometheus-0123"), 200);
  EXPECT_THAT(body_, HasSubstr("mneme_quota_refusals_total{quota=\"stored-entries\"} 0"));
  EXPECT_EQ(Get("/config", "bearer mneme_ops-012345678901"), 200);
  EXPECT_THAT(body_, HasSubstr("server.key"));
}

TEST_F(AdminPagesTest, ACertificateMayTakeThePlaceOfAToken) {
  options_.tokens = directory_ + "/tokens";
  options_.tls.ca = directory_ + "/ca.pem";
  Start();
  EXPECT_EQ(Get("/healthz"), 200) << "a probe shows none";
  EXPECT_EQ(Get("/metrics"), 401);
  EXPECT_EQ(Get("/metrics", "", "prometheus"), 200);
  EXPECT_EQ(Get("/metrics", "", "stranger"), 401) << "known by nobody";
  EXPECT_EQ(Get("/metrics", "Bearer mneme_nobody-0123456789", "prometheus"), 401) << "what is shown counts";
}

TEST_F(AdminPagesTest, WithoutTokensACertificateOfTheAuthorityIsEnough) {
  options_.tls.ca = directory_ + "/ca.pem";
  Start();
  EXPECT_EQ(Get("/readyz"), 200);
  EXPECT_EQ(Get("/metrics"), 401);
  EXPECT_EQ(Get("/metrics", "", "stranger"), 200);
}

TEST_F(AdminPagesTest, APairThatIsBrokenDoesNotHoldUpWhoIsTrustedNoLonger) {
  const std::string trusted = directory_ + "/trusted.pem";
  std::filesystem::copy_file(directory_ + "/ca.pem", trusted);
  options_.tls.ca = trusted;
  Start();
  EXPECT_EQ(Get("/metrics", "", "prometheus"), 200);
  MakeCertificate(directory_ + "/other", "other");
  std::ofstream(options_.tls.key) << "no key";
  std::filesystem::rename(directory_ + "/other/ca.pem", trusted);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (Get("/metrics", "", "prometheus") == 200 && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_EQ(Get("/metrics", "", "prometheus"), 0) << "its authority is none of those any more";
  EXPECT_EQ(Get("/readyz"), 200) << "by the pair of before";
}

TEST_F(AdminPagesTest, NothingIsToldInTheClearAndOnThisMachineNothingIsAsked) {
  options_.tokens = directory_ + "/tokens";
  Start();
  httplib::Client plain("127.0.0.1", server_->admin_port());
  EXPECT_FALSE(plain.Get("/healthz"));
  server_.reset();
  options_.admin_listen = "127.0.0.1:0";
  Start();
  httplib::Client near("127.0.0.1", server_->admin_port());
  const auto answer = near.Get("/metrics");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
}

TEST_F(AdminPagesTest, AnAddressBeyondThisMachineNeedsTlsOrSaysSoInSoManyWords) {
  options_.tls = {};
  const absl::Status refused = Server::Start(options_, &log_).status();
  EXPECT_THAT(std::string(refused.message()), HasSubstr("--admin-listen is \"0.0.0.0:0\"; must be of this machine"));
  options_.insecure_admin_listen = true;
  Start();
}

}  // namespace
}  // namespace mneme
