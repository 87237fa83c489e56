#include "client/npy/npy_file.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kThreeByTwo[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }";

class NpyFileTest : public ::testing::Test {
 protected:
  NpyFileTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mneme_npy_XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
  }
  ~NpyFileTest() override { std::filesystem::remove_all(directory_); }

  std::string Path(const std::string& name) const { return directory_ + "/" + name; }
  std::string Write(const std::string& bytes) const {
    std::ofstream(Path("a.npy"), std::ios::binary) << bytes;
    return Path("a.npy");
  }
  // A file of format `major`.0 with this header text, padded as NumPy pads it, and data.
  static std::string File(std::string text, const std::string& data, int major = 1) {
    const size_t prefix = major == 1 ? 10 : 12;
    while ((prefix + text.size() + 1) % 64 != 0) text += ' ';
    text += '\n';
    std::string file = "\x93NUMPY";
    file += static_cast<char>(major);
    file += '\0';
    for (size_t i = 0; i < prefix - 8; ++i) file += static_cast<char>(text.size() >> (8 * i));
    return file + text + data;
  }
  template <typename T>
  static std::string Bytes(const std::vector<T>& items) {
    return {reinterpret_cast<const char*>(items.data()), items.size() * sizeof(T)};
  }
  // The error of opening a file with this header text; the data are always the 24 bytes of a 3 x 2 f32 array.
  std::string ErrorOf(const std::string& text) const { return ErrorOfFile(File(text, std::string(24, 'x'))); }
  std::string ErrorOfFile(const std::string& bytes) const {
    const absl::StatusOr<NpyFile> file = NpyFile::Open(Write(bytes));
    return std::string(file.status().message());
  }

  std::string directory_;
};

TEST_F(NpyFileTest, ReadsAMatrixOfEveryFormatVersion) {
  for (const int major : {1, 2, 3}) {
    const auto file = NpyFile::Open(Write(File(kThreeByTwo, Bytes<float>({1, 2, 3, 4, 5, -6.5F}), major)));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->dtype(), NpyDtype::kF32);
    EXPECT_THAT(file->shape(), ElementsAre(3, 2));
    EXPECT_EQ(file->rows(), 3);
    EXPECT_EQ(file->row_items(), 2);
    EXPECT_EQ(file->NumberAt(5), -6.5);
    EXPECT_EQ(file->Rows(1, 2), Bytes<float>({3, 4, 5, -6.5F}));
  }
}

TEST_F(NpyFileTest, ReadsEveryNumberTypeAtItsExtremes) {
  const auto one = [&](const std::string& descr, const std::string& bytes) {
    const std::string header = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (1,), }";
    auto file = NpyFile::Open(Write(File(header, bytes)));
    EXPECT_TRUE(file.ok()) << file.status();
    return *std::move(file);
  };
  EXPECT_EQ(one("|i1", Bytes<int8_t>({-128})).IntegerAt(0), -128);
  EXPECT_EQ(one("<i2", Bytes<int16_t>({-32768})).IntegerAt(0), -32768);
  EXPECT_EQ(one("<i4", Bytes<int32_t>({INT32_MIN})).IntegerAt(0), INT32_MIN);
  EXPECT_EQ(one("<i8", Bytes<int64_t>({INT64_MIN})).IntegerAt(0), INT64_MIN);
  EXPECT_EQ(one("|u1", Bytes<uint8_t>({255})).IntegerAt(0), 255);
  EXPECT_EQ(one("<u2", Bytes<uint16_t>({65535})).IntegerAt(0), 65535);
  EXPECT_EQ(one("<u4", Bytes<uint32_t>({UINT32_MAX})).IntegerAt(0), UINT32_MAX);
  EXPECT_EQ(one("<u8", Bytes<uint64_t>({UINT64_MAX})).NumberAt(0), 0x1p64);
  EXPECT_EQ(one("<f8", Bytes<double>({0.1})).NumberAt(0), 0.1);
  EXPECT_EQ(one("<f2", Bytes<uint16_t>({0x3C00})).NumberAt(0), 1.0);
  EXPECT_EQ(one("<f2", Bytes<uint16_t>({0xFBFF})).NumberAt(0), -65504.0);
  EXPECT_EQ(one("<f2", Bytes<uint16_t>({0x0001})).NumberAt(0), 0x1p-24);
  EXPECT_EQ(one("<f2", Bytes<uint16_t>({0x7C00})).NumberAt(0), INFINITY);
}

TEST_F(NpyFileTest, AcceptsKeysInAnyOrderScalarsEmptyArraysAndOneDimensionInFortranOrder) {
  const std::string scalar = "{\"shape\":(),\"fortran_order\":False,\"descr\":\"<f8\"}";
  EXPECT_EQ(NpyFile::Open(Write(File(scalar, Bytes<double>({7}))))->NumberAt(0), 7.0);
  const auto empty = NpyFile::Open(Write(File("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9), }", "")));
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_EQ(empty->rows(), 0);
  EXPECT_EQ(empty->row_items(), 9);
  const auto line = NpyFile::Open(Write(File("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", "abcd")));
  EXPECT_TRUE(line.ok()) << line.status();
}

TEST_F(NpyFileTest, RefusesDtypesThatItDoesNotReadAndNamesThem) {
  for (const std::string descr : {">f4", "|O", "<U4", "|f4", "<c8", "<f3", "<M8[ns]", "", "<"}) {
    EXPECT_THAT(ErrorOf("{'descr': '" + descr + "', 'fortran_order': False, 'shape': (3, 2), }"),
                HasSubstr("descr of the NumPy header is '" + descr + "'; must be a little-endian number"));
  }
  EXPECT_THAT(ErrorOf("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3, 2), }"),
              HasSubstr("structures are not accepted"));
}

TEST_F(NpyFileTest, RefusesShapesThatAreNotTuplesOfExtentsThatFit) {
  for (const std::string shape : {"(6)", "(-6,)", "(3 2)", "(,)", "(3, 2", "[3, 2]", "6", "(99999999999999999999,)"}) {
    EXPECT_THAT(ErrorOf("{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + "}"),
                HasSubstr("must be a tuple of at most 32 whole numbers"));
  }
  for (const std::string shape : {"(4294967296, 4294967296)", "(0, 4294967296, 4294967296)"}) {
    EXPECT_THAT(ErrorOf("{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + "}"), HasSubstr("2^63"));
  }
}

TEST_F(NpyFileTest, RefusesOtherDictionariesAndNamesTheKey) {
  const std::string whole = "'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), ";
  EXPECT_THAT(ErrorOf("{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2), }"), HasSubstr("ascontiguousarray"));
  EXPECT_THAT(ErrorOf("{'descr': '<f4', 'fortran_order': 0, 'shape': (3, 2), }"), HasSubstr("must be True or False"));
  EXPECT_THAT(ErrorOf("{'descr': '<f4', 'shape': (3, 2), }"), HasSubstr("descr, fortran_order and shape"));
  EXPECT_THAT(ErrorOf("{" + whole + "'descr': '<f4'}"), HasSubstr("each once"));
  EXPECT_THAT(ErrorOf("{" + whole + "'x': 1}"), HasSubstr("'x'"));
  EXPECT_THAT(ErrorOf("{" + whole + "} 1"), HasSubstr("follows the dictionary"));
  EXPECT_THAT(ErrorOf("__import__('os')"), HasSubstr("must be a dictionary"));
}

TEST_F(NpyFileTest, RefusesUnknownVersionsHugeHeadersAndWhatIsNoFile) {
  EXPECT_THAT(ErrorOfFile(std::string("\x93NUMPY\x04\0", 8)), HasSubstr("version of the NumPy header is 4.0"));
  EXPECT_THAT(ErrorOfFile(std::string("\x93NUMPY\x02\0\xFF\xFF\xFF\x7F", 12)), HasSubstr("must be at most 10000"));
  EXPECT_THAT(NpyFile::Open(directory_).status().message(), HasSubstr("not a regular file"));
  EXPECT_EQ(NpyFile::Open(Path("none.npy")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(NpyFileTest, AMissingMagicNamesThePathAndTheRawForm) {
  const std::string error = ErrorOfFile(std::string(4096, '\x3C'));
  EXPECT_THAT(error, HasSubstr("a.npy: the file begins with '<<<<<<'"));
  EXPECT_THAT(error, HasSubstr("--raw --dtype f16 --dim D --keys K --values V --values-dtype i32"));
}

TEST_F(NpyFileTest, AFileCutAtAnyLengthOrGrownByAByteIsRefused) {
  const std::string whole = File(kThreeByTwo, std::string(24, 'x'));
  ASSERT_TRUE(NpyFile::Open(Write(whole)).ok());
  for (size_t length = 0; length < whole.size(); ++length) {
    const auto cut = NpyFile::Open(Write(whole.substr(0, length)));
    EXPECT_EQ(cut.status().code(), absl::StatusCode::kDataLoss) << length << ": " << cut.status();
  }
  EXPECT_EQ(NpyFile::Open(Write(whole + 'x')).status().code(), absl::StatusCode::kDataLoss);
}

// Whatever the bytes, the answer is an error or an array that fits the file exactly; sanitizers watch the reads.
TEST_F(NpyFileTest, MutatedFilesAreRefusedOrReadWithinTheirBounds) {
  const uint32_t seed = 20240607;
  RecordProperty("seed", static_cast<int>(seed));
  std::mt19937 random(seed);
  const std::string whole = File(kThreeByTwo, std::string(24, 'x'));
  const std::string alphabet = "{}(),:' <>|=fiuOV0123456789TrueFalse\n";
  int opened = 0;
  for (int round = 0; round < 60'000; ++round) {
    std::string bytes = whole;
    for (uint32_t change = random() % 3 + 1; change > 0; --change) {
      const size_t at = random() % (random() % 2 == 0 ? 75 : bytes.size());
      bytes[at] = random() % 2 == 0 ? alphabet[random() % alphabet.size()] : static_cast<char>(random());
    }
    const auto header = ParseNpyHeader(bytes);
    if (!header.ok() || header->header_bytes + header->DataBytes() != bytes.size()) continue;
    if (++opened % 16 != 1) continue;
    const auto file = NpyFile::Open(Write(bytes));
    ASSERT_TRUE(file.ok()) << file.status();
    double sum = 0.0;
    for (uint64_t i = 0; i < file->rows() * file->row_items(); ++i) sum += file->NumberAt(i);
    EXPECT_EQ(file->Rows(0, file->rows()).size() % NpyItemBytes(file->dtype()), 0U) << sum;
  }
  EXPECT_GT(opened, 1000) << "seed " << seed << ": the mutations must leave some files whole";
}

TEST_F(NpyFileTest, ARawFileIsRowsOfTheGivenWidth) {
  const std::string path = Write(Bytes<uint16_t>({0x3C00, 0x4000, 0x4200, 0x4400}));
  const auto file = NpyFile::OpenRaw(path, NpyDtype::kF16, 2);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(file->shape(), ElementsAre(2, 2));
  EXPECT_EQ(file->NumberAt(3), 4.0);
  EXPECT_EQ(NpyFile::OpenRaw(path, NpyDtype::kBF16, 0)->rows(), 4U);
  EXPECT_THAT(NpyFile::OpenRaw(path, NpyDtype::kF16, 3).status().message(), HasSubstr("size is 8 bytes"));
  EXPECT_FALSE(NpyFile::OpenRaw(path, NpyDtype::kF32, uint64_t{1} << 62).ok());
  EXPECT_FALSE(NpyFile::OpenRaw(Write(""), NpyDtype::kF32, 1).ok());
  const std::string numpy = Write(File(kThreeByTwo, std::string(24, 'x')));
  EXPECT_THAT(NpyFile::OpenRaw(numpy, NpyDtype::kF16, 1).status().message(), HasSubstr("without --raw"));
}

TEST_F(NpyFileTest, ChecksOfShapeAndTypeNameTheFileAndTheBound) {
  const auto file = NpyFile::Open(Write(File(kThreeByTwo, std::string(24, 'x'))));
  EXPECT_TRUE(file->CheckDimensions(2, 2).ok());
  EXPECT_TRUE(file->CheckRows(3).ok());
  EXPECT_THAT(file->CheckDimensions(1).message(), HasSubstr("a.npy: shape is (3, 2); must have 1 dimension"));
  EXPECT_THAT(file->CheckDimensions(2, 128).message(), HasSubstr("with 128 columns"));
  EXPECT_THAT(file->CheckRows(4).message(), HasSubstr("has 3 rows; must have 4"));
  EXPECT_THAT(file->CheckInteger().message(), HasSubstr("dtype is f32; must be an integer type"));
}

TEST_F(NpyFileTest, WhatIsWrittenIsReadBackAndAppearsOnlyWhenWhole) {
  {
    auto writer = NpyWriter::Create(Path("w.npy"), NpyDtype::kF64, 2);
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_TRUE(writer->AppendItems(std::vector<double>{1, 2}).ok());
    ASSERT_TRUE(writer->AppendItems(std::vector<double>{3, 4, 5, 6}).ok());
    EXPECT_FALSE(writer->Append("abc").ok());
    EXPECT_FALSE(std::filesystem::exists(Path("w.npy")));
    ASSERT_TRUE(writer->Finish().ok());
  }
  const auto file = NpyFile::Open(Path("w.npy"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(file->shape(), ElementsAre(3, 2));
  EXPECT_EQ(file->Rows(0, 3), Bytes<double>({1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(std::filesystem::file_size(Path("w.npy")), 128U + 48U);
}

TEST_F(NpyFileTest, AnUnfinishedWriterLeavesNothingBehind) {
  {
    auto writer = NpyWriter::Create(Path("w.npy"), NpyDtype::kI32);
    NpyWriter moved = *std::move(writer);
    ASSERT_TRUE(moved.AppendItems(std::vector<int32_t>{1}).ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
  EXPECT_EQ(NpyWriter::Create(Path("no/w.npy"), NpyDtype::kI32).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(NpyWriter::Create(Path("w.npy"), NpyDtype::kBF16).ok());
}

TEST_F(NpyFileTest, DtypeNamesAreParsedAndAnUnknownOneListsThem) {
  for (const char* name : {"f16", "bf16", "f32", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"}) {
    const auto dtype = ParseNpyDtypeName(name);
    ASSERT_TRUE(dtype.ok()) << dtype.status();
    EXPECT_EQ(NpyDtypeName(*dtype), name);
  }
  EXPECT_THAT(ParseNpyDtypeName("float").status().message(), HasSubstr("must be one of f16, bf16, f32"));
}

}  // namespace
}  // namespace mneme
