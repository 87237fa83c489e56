// The program's version, as `--version`, Ping and mneme_build_info tell it.
#ifndef MNEME_SERVER_VERSION_H_
#define MNEME_SERVER_VERSION_H_

namespace mneme {

inline constexpr char kVersion[] = MNEME_VERSION;

}  // namespace mneme

#endif  // MNEME_SERVER_VERSION_H_
