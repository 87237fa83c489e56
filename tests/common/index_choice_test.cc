#include "common/index_choice.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;

std::string Canonical(std::string_view text) {
  const auto choice = ParseIndexChoice(text, 128);
  return choice.ok() ? FormatIndexChoice(*choice) : std::string(choice.status().message());
}

TEST(IndexChoiceTest, SpellingsOfOneMeaningHaveOneForm) {
  EXPECT_EQ(Canonical(""), "auto");
  EXPECT_EQ(Canonical("Flat"), "flat");
  EXPECT_EQ(Canonical("SQfp16"), "f16");
  EXPECT_EQ(Canonical("IVF4096,SQ8"), "IVF4096,int8");
  EXPECT_EQ(Canonical("IVF1024,Flat"), "IVF1024,flat");
  EXPECT_EQ(Canonical("PQ16"), "pq:16");
  EXPECT_EQ(Canonical("IVF256,PQ64x4fs"), "IVF256,pq:64x4");
  EXPECT_EQ(Canonical("RaBitQ"), "rabitq:1");
  EXPECT_EQ(Canonical("PCA64,SQ8"), "pca:64");
  EXPECT_EQ(Canonical("PCA64,IVF1024,SQ8"), "IVF1024,pca:64");
  EXPECT_EQ(Canonical("OPQ16,PQ16"), "opq:16");
  EXPECT_EQ(Canonical("OPQ16,IVF1024,PQ16"), "IVF1024,opq:16");
  EXPECT_EQ(Canonical("OPQ32,IVF64,PQ32x4fs"), "IVF64,opq:32x4");
  EXPECT_EQ(Canonical("opq:16,pq:16"), "opq:16");
  EXPECT_EQ(Canonical("opq:16,pq:16x4"), "opq:16x4");
}

TEST(IndexChoiceTest, CanonicalFormsReadBackAsThemselves) {
  for (const char* form : {"auto", "flat", "f16", "int8", "pq:16", "pq:64x4", "rabitq:1", "rabitq:4", "IVF7,rabitq:2",
                           "pca:1", "pca:128", "opq:16", "IVF7,opq:64x4", "IVF7,pca:32"}) {
    EXPECT_EQ(Canonical(form), form);
  }
}

TEST(IndexChoiceTest, RefusalsSayWhatIsWrong) {
  EXPECT_THAT(Canonical("HNSW32"), HasSubstr("index is \"HNSW32\"; must be auto"));
  EXPECT_THAT(Canonical("pq:7"), HasSubstr("must divide the dimension, 128"));
  EXPECT_THAT(Canonical("pq:0"), HasSubstr("must be auto"));
  EXPECT_THAT(Canonical("pq:64x5"), HasSubstr("must be auto"));
  EXPECT_THAT(Canonical("pq:99999999999"), HasSubstr("must be auto"));
  EXPECT_THAT(Canonical("rabitq:9"), HasSubstr("its B must be in [1, 4]"));
  EXPECT_THAT(Canonical("IVF0,Flat"), HasSubstr("must be in [1, 65536]"));
  EXPECT_THAT(Canonical("IVF16"), HasSubstr("a comma and a codec"));
  EXPECT_THAT(Canonical("IVF16,OPQ16,PQ16"), HasSubstr("must be auto"));
  EXPECT_THAT(Canonical("OPQ16,IVF16,PQ8"), HasSubstr("OPQM goes with PQM of the same M only"));
  EXPECT_THAT(Canonical("OPQ16,IVF16,Flat"), HasSubstr("OPQM goes with PQM of the same M only"));
  EXPECT_THAT(Canonical("OPQ16_64,IVF16,PQ16"), HasSubstr("want a plain number"));
  EXPECT_THAT(Canonical("OPQ16"), HasSubstr("want a plain number"));
  EXPECT_THAT(Canonical("OPQ7,PQ7"), HasSubstr("must divide the dimension, 128"));
  EXPECT_THAT(Canonical("PCAR64,SQ8"), HasSubstr("want a plain number"));
  EXPECT_THAT(Canonical("PCA64,IVF16,Flat"), HasSubstr("PCA goes with SQ8 only"));
  EXPECT_THAT(Canonical("PCA64,PCA32,SQ8"), HasSubstr("must be auto"));
  EXPECT_THAT(Canonical("pca:0"), HasSubstr("its D must be in [1, 128]"));
  EXPECT_THAT(Canonical("pca:129"), HasSubstr("its D must be in [1, 128]"));
  EXPECT_THAT(Canonical("pca:x"), HasSubstr("its D must be in [1, 128]"));
  EXPECT_THAT(Canonical("opq:16,pq:8"), HasSubstr("must be auto"));
  EXPECT_THAT(std::string(ParseIndexChoice("pca:64", 4096).status().message()), HasSubstr("at most 2048 components"));
}

TEST(IndexChoiceTest, ATextOfAnyLengthIsRefusedInAFewWords) {
  std::string nested;
  for (int i = 0; i < 2'000'000; ++i) nested += "opq:16,";
  const std::string message = Canonical(nested + "pq:16");
  EXPECT_THAT(message, HasSubstr("must be auto"));
  EXPECT_LT(message.size(), 300U);
}

}  // namespace
}  // namespace mneme
