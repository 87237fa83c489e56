// Bytes as text, for golden values: "01 ac 02".
#ifndef MNEME_TESTS_COMMON_HEX_H_
#define MNEME_TESTS_COMMON_HEX_H_

#include <cstdio>
#include <string>
#include <string_view>

namespace mneme::testing {

inline std::string Hex(std::string_view bytes) {
  std::string text;
  char digits[4];
  for (const char byte : bytes) {
    std::snprintf(digits, sizeof(digits), "%02x ", static_cast<unsigned char>(byte));
    text += digits;
  }
  if (!text.empty()) text.pop_back();
  return text;
}

}  // namespace mneme::testing

#endif  // MNEME_TESTS_COMMON_HEX_H_
