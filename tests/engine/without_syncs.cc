// Syncs of this program do nothing: what a killed process has written stays, and waiting for the disk would be most of
// the time of a thousand short lives. Lost power is the subject of tests/storage/power_loss_test.cc.
#include <unistd.h>

extern "C" {
int fsync(int) { return 0; }
int fdatasync(int) { return 0; }
}
