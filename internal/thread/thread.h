#ifndef LITESTREAM_THREAD_H
#define LITESTREAM_THREAD_H

unsigned long long ls_thread(void);

#endif
