// OptionText: what is written behind an option or in its variable, read strictly, and what is said of what is not
// taken: key, value and bound. (CLI11 alone takes -1 and 2^64 for the largest number, 010 for eight, nothing for zero,
// NaN for whatever is asked, and the next option for a value.)
#ifndef MNEME_COMMON_OPTION_TEXT_H_
#define MNEME_COMMON_OPTION_TEXT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mneme {

// A decimal number in [least, most]; nullopt for anything else. Of uint32_t, uint64_t and int64_t a whole one, of
// double a finite one.
template <typename T>
std::optional<T> ReadNumber(const std::string& text, T least, T most);
// "a whole number in [1, 256]", "a number in [0, 1]"; where a double has no bound but its own "a number", "a
// number above 0", "a number from 0 on".
template <typename T>
std::string NumberBound(T least, T most);

// Bytes, with or without a unit: 1024, 512MiB, 4g. Units are of 1024, and may be written k, kb, ki or kib.
std::optional<uint64_t> ReadSize(const std::string& text);
// As ReadSize takes it, in the largest unit that leaves a whole number: 64MiB.
std::string SizeText(uint64_t bytes);

// true, yes, on, 1 and their opposites.
std::optional<bool> ReadFlag(const std::string& text);

// As ReadNumber() and ReadFlag(), for what reads on by its own rules: `text` gets a form that has one meaning, and the
// answer is empty; or it stays as it is, and the answer is what it must be.
template <typename T>
std::string TakeNumber(std::string& text, T least, T most);
std::string TakeFlag(std::string& text);

// What a path, a name or an address must be; empty when `text` is one: not empty, and not an option that was taken for
// a value since its own is missing.
std::string TextBound(const std::string& text);

// KEY is "VALUE"; must be BOUND
std::string NotTaken(const std::string& key, const std::string& value, const std::string& bound);

// An option that a variable of the environment gave a value.
struct OptionVariable {
  std::string option;  // --data-dir
  std::string variable;
};
// `message` about options, which names the variables of those that it names.
std::string WithVariables(std::string message, const std::vector<OptionVariable>& variables);

// Which of `candidates` was probably meant by `word`: one slip of the finger away, or two when it is longer than five
// characters; empty when none is.
std::string Nearest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace mneme

#endif  // MNEME_COMMON_OPTION_TEXT_H_
