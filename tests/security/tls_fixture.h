// TlsFilesTest: certificates by an authority of the test's own, in a directory of its own.
#ifndef MNEME_TESTS_SECURITY_TLS_FIXTURE_H_
#define MNEME_TESTS_SECURITY_TLS_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "security/tls_files.h"

namespace mneme {

class TlsFilesTest : public testing::Test {
 protected:
  TlsFilesTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mneme_tls_XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
  }
  ~TlsFilesTest() override { std::filesystem::remove_all(directory_); }

  TlsFiles Make(const std::string& name, const std::string& days = "1") {
    const char* source = std::getenv("MNEME_SOURCE_DIR");
    const std::string command = "MNEME_CERTIFICATE_DAYS=" + days + " " + (source != nullptr ? source : ".") +
                                "/deploy/certificates " + directory_ + " " + name + " > /dev/null";
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
    return {directory_ + "/" + name + ".pem", directory_ + "/" + name + ".key", directory_ + "/ca.pem"};
  }
  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(directory_ + "/" + name) << text;
    return directory_ + "/" + name;
  }
  static std::string ErrorOf(const TlsFiles& files) { return std::string(CheckTlsFiles(files).message()); }

  std::string directory_;
};

}  // namespace mneme

#endif  // MNEME_TESTS_SECURITY_TLS_FIXTURE_H_
