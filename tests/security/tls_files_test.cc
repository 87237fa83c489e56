#include "security/tls_files.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <future>
#include <sstream>
#include <string>

#include "security/channel_security.h"
#include "security/token_source.h"
#include "tests/security/tls_fixture.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;

TEST_F(TlsFilesTest, GoodFilesAreTaken) {
  const TlsFiles files = Make("server");
  EXPECT_TRUE(CheckTlsFiles(files).ok()) << ErrorOf(files);
  EXPECT_TRUE(CheckTlsFiles({}).ok());
  EXPECT_TRUE(CheckTlsFiles({"", "", files.ca}).ok());
}

TEST_F(TlsFilesTest, EveryErrorNamesItsFile) {
  const TlsFiles files = Make("server");
  const TlsFiles other = Make("other");
  const TlsFiles old = Make("old", "-1");
  const std::string text = Write("text", "nothing of the kind\n");
  const std::string missing = directory_ + "/missing";
  EXPECT_THAT(ErrorOf({files.certificate, "", ""}), HasSubstr("belong together"));
  EXPECT_THAT(ErrorOf({"", files.key, ""}), HasSubstr("belong together"));
  EXPECT_THAT(ErrorOf({missing, files.key, ""}), HasSubstr(missing + " cannot be read"));
  EXPECT_THAT(ErrorOf({files.certificate, missing, ""}), HasSubstr(missing + " cannot be read"));
  EXPECT_THAT(ErrorOf({text, files.key, ""}), HasSubstr(text + " has no certificate"));
  EXPECT_THAT(ErrorOf({files.certificate, text, ""}), HasSubstr(text + " has no private key"));
  EXPECT_THAT(ErrorOf({files.certificate, files.certificate, ""}), HasSubstr("has no private key"));
  EXPECT_THAT(ErrorOf({files.certificate, other.key, ""}), HasSubstr("is not that of the certificate in"));
  EXPECT_THAT(ErrorOf({old.certificate, old.key, ""}), HasSubstr(old.certificate + " has expired"));
  EXPECT_THAT(ErrorOf({files.certificate, files.key, text}), HasSubstr(text + " has no certificate"));
  EXPECT_THAT(ErrorOf({files.certificate, files.key, directory_}), HasSubstr("no regular file"));
}

TEST_F(TlsFilesTest, ABundleIsReadToItsEnd) {
  const TlsFiles files = Make("server");
  std::ostringstream text;
  text << std::ifstream(files.ca).rdbuf();
  const std::string good = text.str();
  const std::string both = Write("both", good + "\n# the next\n" + good);
  EXPECT_EQ(ErrorOf({"", "", both}), "");
  for (const size_t cut : {size_t{10}, size_t{60}, good.size() / 2}) {
    const std::string broken = Write("broken", good + good.substr(0, 40) + "#" + good.substr(40, good.size() - cut));
    EXPECT_THAT(ErrorOf({"", "", broken}), HasSubstr("a broken certificate after 1 good ones")) << cut;
  }
}

TEST_F(TlsFilesTest, WhatIsAboutToEndOrMayBeReadByOthersIsSaid) {
  const TlsFiles files = Make("server", "20");
  const absl::Time now = absl::Now();
  ASSERT_TRUE(EndOf(files.certificate).has_value());
  EXPECT_NEAR(absl::ToDoubleHours(*EndOf(files.certificate) - now), 20 * 24, 1);
  EXPECT_FALSE(EndOf(files.key).has_value());
  EXPECT_THAT(WarningsOf(files, now), testing::IsEmpty());
  EXPECT_THAT(WarningsOf(files, now + absl::Hours(5 * 24)), testing::IsEmpty());
  EXPECT_THAT(WarningsOf(files, now + absl::Hours(7 * 24)),
              testing::ElementsAre(HasSubstr(files.certificate + " ends at 20")));
  chmod(files.key.c_str(), 0640);
  EXPECT_THAT(WarningsOf(files, now), testing::IsEmpty()) << "a group of its readers";
  chmod(files.key.c_str(), 0644);
  EXPECT_THAT(WarningsOf(files, now), testing::ElementsAre(HasSubstr(files.key + " may be read or written by others")));
  EXPECT_THAT(WarningsOf({}, now), testing::IsEmpty());
}

TEST_F(TlsFilesTest, NoWebProxyOfTheEnvironmentIsShownAnything) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  grpc::AsyncGenericService service;
  builder.RegisterAsyncGenericService(&service);
  const auto queue = builder.AddCompletionQueue();
  const auto server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  setenv("http_proxy", "http://127.0.0.1:1", 1);
  const auto channel = OpenChannel("127.0.0.1:" + std::to_string(port), nullptr, grpc::ChannelArguments());
  EXPECT_TRUE(channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(20)));
  unsetenv("http_proxy");
  server->Shutdown();
  queue->Shutdown();
  void* tag = nullptr;
  for (bool ok = false; queue->Next(&tag, &ok);) {
  }
}

TEST_F(TlsFilesTest, ATokenIsNotShownToWhoeverIsOnTheWay) {
  ChannelSecurityOptions options;
  options.token = *TokenSource::OfText("mneme_0123456789");
  const auto plain = ChannelSecurity::New(options);
  ASSERT_TRUE(plain.ok());
  EXPECT_TRUE((*plain)->CheckAddress("127.0.0.1:7700").ok());
  EXPECT_TRUE((*plain)->CheckAddress("unix:/run/mneme").ok());
  EXPECT_THAT(std::string((*plain)->CheckAddress("memory.example.org:7700").message()), HasSubstr("unencrypted"));
  options.insecure_token = true;
  EXPECT_TRUE((*ChannelSecurity::New(options))->CheckAddress("memory.example.org:7700").ok());
  options.insecure_token = false;
  options.files.ca = Make("server").ca;
  EXPECT_TRUE((*ChannelSecurity::New(options))->CheckAddress("memory.example.org:7700").ok());
}

// Answers nothing, and counts who shows a token.
class Listener final : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    ++calls;
    if (context->client_metadata().count("authorization") != 0) ++tokens;
    return CallbackGenericService::CreateReactor(context);
  }
  std::atomic<int> calls{0};
  std::atomic<int> tokens{0};
};

TEST_F(TlsFilesTest, ACallToWhereATokenMustNotGoShowsNone) {
  Listener listener;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&listener);
  const auto server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  ChannelSecurityOptions options;
  options.token = *TokenSource::OfText("mneme_0123456789");
  const auto security = ChannelSecurity::New(options);
  ASSERT_TRUE(security.ok());
  const auto call = [&](const std::string& address) {
    grpc::GenericStub stub(OpenChannel(address, security->get(), grpc::ChannelArguments()));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    const grpc::Slice nothing("nothing");
    const grpc::ByteBuffer request(&nothing, 1);
    grpc::ByteBuffer answer;
    std::promise<void> ended;
    stub.UnaryCall(&context, "/a/b", grpc::StubOptions(), &request, &answer,
                   [&](const grpc::Status&) { ended.set_value(); });
    ended.get_future().wait();
  };
  call("127.0.0.1:" + std::to_string(port));
  EXPECT_EQ(listener.calls.load(), 1);
  EXPECT_EQ(listener.tokens.load(), 1);
  // As gRPC takes it as well, and nothing here knows it to be of this machine.
  const std::string elsewhere = "ipv4:127.0.0.1:" + std::to_string(port);
  ASSERT_FALSE((*security)->CheckAddress(elsewhere).ok());
  call(elsewhere);
  EXPECT_EQ(listener.calls.load(), 2);
  EXPECT_EQ(listener.tokens.load(), 1);
  server->Shutdown();
}

TEST_F(TlsFilesTest, ACertificateWithoutACaEncryptsNothing) {
  ChannelSecurityOptions options;
  options.files = Make("client");
  options.files.ca.clear();
  EXPECT_THAT(std::string(ChannelSecurity::New(options).status().message()), HasSubstr("no ca"));
  options.tls = true;
  EXPECT_TRUE(ChannelSecurity::New(options).ok());
}

}  // namespace
}  // namespace mneme
