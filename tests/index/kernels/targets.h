// Runs a body once on every instruction set that this machine and this build have.
#ifndef MNEME_TESTS_INDEX_KERNELS_TARGETS_H_
#define MNEME_TESTS_INDEX_KERNELS_TARGETS_H_

#include <gtest/gtest.h>

#include "hwy/highway.h"
#include "hwy/targets.h"

namespace mneme::testing {

template <typename Body>
void OnEveryTarget(const Body& body) {
  int64_t left = hwy::SupportedTargets() & HWY_TARGETS;
  ASSERT_NE(left, 0);
  while (left != 0) {
    const int64_t target = left & -left;
    left &= left - 1;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    SCOPED_TRACE(hwy::TargetName(target));
    body(hwy::TargetName(target));
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace mneme::testing

#endif  // MNEME_TESTS_INDEX_KERNELS_TARGETS_H_
