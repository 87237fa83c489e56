// Columns in few bytes: read as they were written, whatever they hold, and in no other writing.
#include "engine/flat_narrow.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace mneme {
namespace {

using namespace std::string_literals;

template <typename T>
bool SameBits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// The column through its bytes, each item of which takes so many; every cut is refused.
template <typename T>
void ComesBack(const std::vector<T>& column, size_t item_bytes) {
  std::string bytes;
  narrow::AppendNear(column, bytes);
  EXPECT_EQ(bytes.size(), sizeof(T) + 1 + column.size() * item_bytes);
  format::ByteReader in(bytes);
  std::vector<T> read;
  EXPECT_TRUE(narrow::TakeNear(in, column.size(), read));
  EXPECT_TRUE(in.AtEnd());
  EXPECT_TRUE(SameBits(read, column));
  for (size_t size = 0; size < bytes.size(); ++size) {
    format::ByteReader cut(std::string_view(bytes).substr(0, size));
    EXPECT_FALSE(narrow::TakeNear(cut, column.size(), read)) << size;
  }
}

void RealsComeBack(const std::vector<double>& column, size_t item_bytes) {
  std::string bytes;
  narrow::AppendReals(column, bytes);
  EXPECT_EQ(bytes.size(), 1 + column.size() * item_bytes);
  format::ByteReader in(bytes);
  std::vector<double> read;
  EXPECT_TRUE(narrow::TakeReals(in, column.size(), read));
  EXPECT_TRUE(in.AtEnd());
  EXPECT_TRUE(SameBits(read, column));
  for (size_t size = 0; size < bytes.size(); ++size) {
    format::ByteReader cut(std::string_view(bytes).substr(0, size));
    EXPECT_FALSE(narrow::TakeReals(cut, column.size(), read)) << size;
  }
}

TEST(FlatNarrowTest, AnItemTakesWhatTheGreatestDifferenceTakes) {
  constexpr uint64_t kGreatest = std::numeric_limits<uint64_t>::max();
  ComesBack<uint64_t>({7}, 0);
  ComesBack<uint64_t>({kGreatest, kGreatest}, 0);
  ComesBack<uint64_t>({1255, 1000, 1100}, 1);
  ComesBack<uint64_t>({1000, 1256}, 2);
  ComesBack<uint64_t>({kGreatest, kGreatest - 65'535}, 2);
  ComesBack<uint64_t>({0, 65'536}, 4);
  ComesBack<uint64_t>({5, (uint64_t{1} << 32) + 4}, 4);
  ComesBack<uint64_t>({5, (uint64_t{1} << 32) + 5}, 8);
  ComesBack<uint64_t>({kGreatest, 0}, 8);
  ComesBack<int64_t>({-3, -1}, 1);
  ComesBack<int64_t>({-1, 0}, 8);
  ComesBack<float>({1.0F, 1.0F, 1.0F}, 0);
  ComesBack<float>({1.0F, 2.0F}, 4);
  ComesBack<float>({0.0F, -0.0F}, 4);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  ComesBack<float>({nan, nan}, 0);
}

TEST(FlatNarrowTest, DoublesThatAreFloatsAreWrittenAsFloats) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  RealsComeBack({0.5, -0.0, -kInfinity, std::numeric_limits<double>::quiet_NaN(), 16'777'216.0}, 4);
  RealsComeBack({0.1}, 8);
  RealsComeBack({0.5, 16'777'217.0}, 8);
  RealsComeBack({0.5, 1e300}, 8);
  RealsComeBack({1e-310, 0.5}, 8);
}

TEST(FlatNarrowTest, OtherWritingsAreRefused) {
  const auto refuses = [](uint64_t least, uint8_t width, const std::string& differences) {
    std::string bytes;
    format::ByteWriter writer(bytes);
    writer.Fixed(least);
    writer.Fixed(width);
    writer.Bytes(differences);
    format::ByteReader in(bytes);
    std::vector<uint64_t> read;
    return !narrow::TakeNear(in, 2, read);
  };
  EXPECT_FALSE(refuses(9, 0, ""));
  EXPECT_FALSE(refuses(9, 1, "\0\1"s));
  EXPECT_TRUE(refuses(9, 1, "\1\2"s)) << "9 is not the least";
  EXPECT_TRUE(refuses(9, 1, "\0\0"s)) << "they are the same";
  EXPECT_TRUE(refuses(9, 2, "\0\0\1\0"s)) << "one byte holds that";
  EXPECT_TRUE(refuses(std::numeric_limits<uint64_t>::max(), 1, "\0\1"s)) << "beyond 64 bits";
  EXPECT_TRUE(refuses(9, 3, "\0\0\0\0\0\1"s)) << "no width";
  EXPECT_TRUE(refuses(9, 16, std::string(31, '\0') + '\1')) << "no width";
}

TEST(FlatNarrowTest, OtherWritingsOfRealsAreRefused) {
  const auto refuses = [](uint8_t floats, auto real) {
    std::string bytes;
    format::ByteWriter writer(bytes);
    writer.Fixed(floats);
    writer.Fixed(real);
    format::ByteReader in(bytes);
    std::vector<double> read;
    return !narrow::TakeReals(in, 1, read);
  };
  EXPECT_FALSE(refuses(1, 0.5F));
  EXPECT_FALSE(refuses(0, 0.1));
  EXPECT_TRUE(refuses(0, 0.5)) << "a float holds that";
  EXPECT_TRUE(refuses(2, 0.1)) << "neither";
  EXPECT_TRUE(refuses(1, uint32_t{0x7F800001})) << "a NaN that signals is no float of a double";
}

}  // namespace
}  // namespace mneme
