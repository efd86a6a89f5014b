// The part of SQLite's public interface that this package needs. It is declared
// here because no header of SQLite is available in all the ways to link it.
#ifndef LITESTREAM_SQLFUNC_H
#define LITESTREAM_SQLFUNC_H

#include <stdint.h>

// ls_create makes a function of a connection. The handle is released when the function
// is dropped, also if it cannot be made.
int ls_create(void *db, const char *name, int nargs, uintptr_t handle);

// The text of an argument and its length, NULL for NULL; valid until the function returns.
const char *ls_text(void **args, int i, int *n);

void ls_result(void *context, const char *text, int n);
void ls_error(void *context, const char *text, int n);

#endif
