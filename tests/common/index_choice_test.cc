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
}

TEST(IndexChoiceTest, CanonicalFormsReadBackAsThemselves) {
  for (const char* form : {"auto", "flat", "f16", "int8", "pq:16", "pq:64x4", "rabitq:1", "rabitq:4", "IVF7,rabitq:2"}) {
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
  EXPECT_THAT(Canonical("OPQ16,IVF16,PQ16"), HasSubstr("must be auto"));
}

}  // namespace
}  // namespace mneme
