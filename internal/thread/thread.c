#include <pthread.h>
#include <stdint.h>
#include "thread.h"

unsigned long long ls_thread(void) { return (unsigned long long)(uintptr_t)pthread_self(); }
