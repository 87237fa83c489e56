#include "common/random_number.h"

#include <random>

namespace mneme {

uint64_t RandomNumber() {
  std::random_device random;
  uint64_t number = 0;
  while (number == 0) number = (uint64_t{random()} << 32) | random();
  return number;
}

}  // namespace mneme
