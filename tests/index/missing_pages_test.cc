#include "index/missing_pages.h"

#include <gtest/gtest.h>

namespace mneme {
namespace {

TEST(MissingPages, BeginWithManyAtOnceAndNotWithAFew) {
  MissingPages pages;
  EXPECT_FALSE(pages.lately());
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(pages.Take(i % 4 == 0 ? 5 : 0));
  EXPECT_TRUE(pages.Take(100));
  EXPECT_TRUE(pages.lately());
}

TEST(MissingPages, StayWhileSomeAreReadAndEndAfterSeveralLooksWithoutAny) {
  MissingPages pages;
  pages.Take(1000);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(pages.Take(2));
  EXPECT_TRUE(pages.Take(0));
  int looks = 0;
  while (pages.Take(0)) ++looks;
  EXPECT_LE(looks, 3);
  pages.Take(uint64_t{1} << 40);
  for (looks = 1; pages.Take(0); ++looks) ASSERT_LT(looks, 20) << "however many were read";
  EXPECT_GE(looks, 8);
}

TEST(MissingPages, EndByLookingWhileNothingIsRead) {
  MissingPages& pages = MissingPages::OfThisThread();
  pages.Take(4096);
  EXPECT_TRUE(pages.lately());
  for (int i = 0; i < 100 && pages.Look(); ++i) {
  }
  EXPECT_FALSE(pages.lately());
}

}  // namespace
}  // namespace mneme
