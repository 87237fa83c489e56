#include "security/judged_tls_files.h"

#include <gmock/gmock.h>
#include <grpc/support/log.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <set>
#include <sstream>
#include <thread>
#include <vector>

#include "security/channel_security.h"
#include "security/server_credentials.h"
#include "tests/security/tls_fixture.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string TextOf(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// gRPC takes a bare function.
Mutex said_mutex;
std::vector<std::string> said ABSL_GUARDED_BY(said_mutex);

void Listen(gpr_log_func_args* line) {
  MutexLock lock(&said_mutex);
  said.emplace_back(line->message);
}

// How often a line with `part` was said since the last time that somebody asked.
size_t Said(const std::string& part) {
  MutexLock lock(&said_mutex);
  const auto has = [&](const std::string& line) { return line.find(part) != std::string::npos; };
  const auto times = std::count_if(said.begin(), said.end(), has);
  said.clear();
  return static_cast<size_t>(times);
}

class JudgedTlsFilesTest : public TlsFilesTest {
 protected:
  JudgedTlsFilesTest() {
    gpr_log_verbosity_init();  // as grpc_init() does, before which nothing is said
    gpr_set_log_function(Listen);
    Said("");
  }
  ~JudgedTlsFilesTest() override { gpr_set_log_function(nullptr); }

  // As `mv` does it.
  void Replace(const std::string& path, const std::string& text) {
    Write("new", text);
    std::filesystem::rename(directory_ + "/new", path);
  }
  // Looks, too.
  static std::shared_ptr<const JudgedTlsFiles> Watch(const TlsFiles& files) {
    auto judged = JudgedTlsFiles::Watch(files);
    EXPECT_TRUE(judged.ok()) << judged.status();
    return judged.ok() ? *judged : nullptr;
  }
};

TEST_F(JudgedTlsFilesTest, APairIsOneTextAndTheAuthoritiesAnother) {
  const TlsFiles files = Make("server");
  const auto judged = Watch(files);
  ASSERT_NE(judged, nullptr);
  EXPECT_THAT(judged->pair_path(), StartsWith("/proc/self/fd/"));
  EXPECT_NE(judged->pair_path(), judged->ca_path());
  const std::string pair = TextOf(judged->pair_path());
  EXPECT_THAT(pair, StartsWith("-----BEGIN PRIVATE KEY-----"));
  EXPECT_THAT(pair, HasSubstr(TextOf(files.certificate)));
  EXPECT_EQ(TextOf(judged->ca_path()), TextOf(files.ca));
  EXPECT_EQ(ErrorOf({judged->pair_path(), judged->pair_path(), judged->ca_path()}), "");
}

TEST_F(JudgedTlsFilesTest, WhatIsNotNamedHasNoPath) {
  const TlsFiles files = Make("server");
  EXPECT_EQ(Watch({"", "", files.ca})->pair_path(), "");
  EXPECT_EQ(Watch({files.certificate, files.key, ""})->ca_path(), "");
  EXPECT_THAT(std::string(JudgedTlsFiles::Watch({files.certificate, "", ""}).status().message()),
              HasSubstr("belong together"));
}

// A key in the file of certificates, and certificates in that of the key, would else be taken for those of the pair.
TEST_F(JudgedTlsFilesTest, NothingGoesOnThatWasNotJudged) {
  const TlsFiles files = Make("server");
  const TlsFiles other = Make("other");
  const std::string certificate = TextOf(files.certificate);
  Replace(files.key, TextOf(other.certificate) + TextOf(files.key) + TextOf(other.key));
  Replace(files.certificate, "# of the server\n" + TextOf(other.key) + certificate + TextOf(files.ca));
  const auto judged = Watch(files);
  ASSERT_NE(judged, nullptr);
  const std::string pair = TextOf(judged->pair_path());
  EXPECT_EQ(ErrorOf({judged->pair_path(), judged->pair_path(), ""}), "");
  const size_t end_of_key = pair.find("-----BEGIN CERTIFICATE-----");
  EXPECT_EQ(pair.substr(end_of_key), certificate + TextOf(files.ca));
  EXPECT_EQ(pair.rfind("PRIVATE KEY-----", end_of_key), pair.find("-----END PRIVATE KEY-----") + 9);
}

TEST_F(JudgedTlsFilesTest, WhatCannotBeUsedLeavesWhatWasThereAndIsSaidOnce) {
  const TlsFiles files = Make("server");
  const auto judged = Watch(files);
  ASSERT_NE(judged, nullptr);
  const std::string pair = TextOf(judged->pair_path());
  const std::string authorities = TextOf(judged->ca_path());
  const std::string other_key = TextOf(Make("other").key);
  for (const std::string& path : {files.certificate, files.key, files.ca}) {
    const std::string good = TextOf(path);
    std::vector<std::string> broken = {"", "nothing\n", good.substr(0, good.size() / 2)};
    if (path == files.key) broken.push_back(other_key);
    for (const std::string& text : broken) {
      Replace(path, text);
      EXPECT_FALSE(JudgedTlsFiles::Watch(files).ok()) << path << ": " << text.size();
      EXPECT_FALSE(JudgedTlsFiles::Watch(files).ok());
      EXPECT_EQ(Said(path), 1u) << path << ": " << text.size();
      EXPECT_EQ(TextOf(judged->pair_path()), pair);
      EXPECT_EQ(TextOf(judged->ca_path()), authorities);
    }
    std::filesystem::remove(path);
    EXPECT_FALSE(JudgedTlsFiles::Watch(files).ok());
    EXPECT_FALSE(JudgedTlsFiles::Watch(files).ok());
    EXPECT_EQ(Said(path + " cannot be read"), 1u);
    EXPECT_EQ(TextOf(judged->pair_path()), pair);
    Replace(path, good);
    EXPECT_NE(Watch(files), nullptr);
    EXPECT_EQ(Said(path), 0u);
  }
}

TEST_F(JudgedTlsFilesTest, APairThatIsBrokenDoesNotHoldUpWhoIsTrustedNoLonger) {
  const TlsFiles files = Make("server");
  const auto judged = Watch(files);
  ASSERT_NE(judged, nullptr);
  const std::string pair = TextOf(judged->pair_path());
  const std::string both = TextOf(files.ca) + TextOf(files.certificate);
  Replace(files.certificate, "");
  Replace(files.ca, both);
  EXPECT_FALSE(JudgedTlsFiles::Watch(files).ok());
  EXPECT_EQ(TextOf(judged->ca_path()), both);
  EXPECT_EQ(TextOf(judged->pair_path()), pair);
}

TEST_F(JudgedTlsFilesTest, ItLooksByItself) {
  const TlsFiles files = Make("server");
  const auto judged = Watch(files);
  ASSERT_NE(judged, nullptr);
  Make("server");
  const std::string certificate = TextOf(files.certificate);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (TextOf(judged->pair_path()).find(certificate) == std::string::npos) {
    ASSERT_LT(std::chrono::steady_clock::now(), end) << "the new certificate is not published";
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

// As gRPC 1.51 reads a pair: times, key, certificates, times again; what it takes is of one moment.
TEST_F(JudgedTlsFilesTest, WhoReadsMeanwhileHasAPairOfOneMoment) {
  const TlsFiles files = Make("server");
  const TlsFiles other = Make("other");
  const auto judged = Watch(files);
  ASSERT_NE(judged, nullptr);
  const auto time_of = [&] {
    struct stat status = {};
    EXPECT_EQ(stat(judged->pair_path().c_str(), &status), 0);
    EXPECT_NE(status.st_mtime, 0);
    return status.st_mtime;
  };
  std::atomic<bool> ends{false};
  std::set<std::string> seen;
  size_t torn = 0;
  std::thread reader([&] {
    while (!ends.load() || seen.empty()) {
      const time_t before = time_of();
      const std::string key = TextOf(judged->pair_path());
      const std::string certificates = TextOf(judged->pair_path());
      if (time_of() != before) continue;
      torn += key == certificates ? 0 : 1;
      seen.insert(key);
    }
  });
  const std::string texts[2][2] = {{TextOf(files.certificate), TextOf(files.key)},
                                   {TextOf(other.certificate), TextOf(other.key)}};
  std::set<std::string> published = {TextOf(judged->pair_path())};
  for (int i = 1; i <= 200; ++i) {
    const time_t before = time_of();
    Replace(files.certificate, texts[i % 2][0]);
    Replace(files.key, texts[i % 2][1]);
    EXPECT_NE(Watch(files), nullptr);
    published.insert(TextOf(judged->pair_path()));
    EXPECT_GT(time_of(), before) << "within one second of the clock, too";
  }
  ends = true;
  reader.join();
  EXPECT_EQ(torn, 0u);
  EXPECT_EQ(published.size(), 2u);
  EXPECT_TRUE(std::includes(published.begin(), published.end(), seen.begin(), seen.end()));
}

TEST_F(JudgedTlsFilesTest, WhoWatchesAgainTakesNoMoreDescriptors) {
  const TlsFiles files = Make("server");
  const std::string path = Watch(files)->pair_path();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Watch(files)->pair_path(), path);
  const std::string kept = TextOf(path);
  EXPECT_THAT(kept, HasSubstr(TextOf(files.certificate))) << "gRPC may still look";
}

// Whoever writes without `mv` empties the file first; gRPC 1.51 aborts on that.
TEST_F(JudgedTlsFilesTest, FilesThatAreEmptyForAWhileEndNeitherAServerNorAChannel) {
  const TlsFiles files = Make("localhost");
  const auto credentials = TlsServerCredentials(files);
  ASSERT_TRUE(credentials.ok()) << credentials.status();
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", *credentials, &port);
  grpc::AsyncGenericService service;
  builder.RegisterAsyncGenericService(&service);
  const auto queue = builder.AddCompletionQueue();
  const auto server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  ChannelSecurityOptions options;
  options.files = files;
  options.server_name = "localhost";
  const auto security = ChannelSecurity::New(options);
  ASSERT_TRUE(security.ok()) << security.status();
  const auto connects = [&] {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a handshake of its own
    const auto channel = OpenChannel("127.0.0.1:" + std::to_string(port), security->get(), arguments);
    return channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(20));
  };
  EXPECT_TRUE(connects());
  for (const std::string& path : {files.certificate, files.key, files.ca}) {
    const std::string good = TextOf(path);
    std::ofstream(path).close();
    // gRPC has looked by then.
    std::this_thread::sleep_for(std::chrono::milliseconds(1500 * kTlsRefreshSeconds));
    EXPECT_TRUE(connects()) << path;
    std::ofstream(path) << good;
  }
  server->Shutdown();
  queue->Shutdown();
  void* tag = nullptr;
  for (bool ok = false; queue->Next(&tag, &ok);) {
  }
}

}  // namespace
}  // namespace mneme
