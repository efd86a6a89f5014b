#include "_cgo_export.h"

// Of the SQLite library that the program is linked with.
extern int sqlite3_create_function_v2(void *db, const char *name, int nargs, int flags, void *app,
  void (*call)(void*, int, void**), void (*step)(void*, int, void**), void (*final)(void*), void (*destroy)(void*));
extern void *sqlite3_user_data(void *context);
extern const unsigned char *sqlite3_value_text(void *value);
extern int sqlite3_value_bytes(void *value);
extern void sqlite3_result_text(void *context, const char *text, int n, void (*destroy)(void*));
extern void sqlite3_result_error(void *context, const char *text, int n);

#define LS_UTF8 1
#define LS_DIRECTONLY 0x80000
#define LS_TRANSIENT ((void (*)(void*))-1)

static void call(void *context, int nargs, void **args) {
  litestreamCall((uintptr_t)sqlite3_user_data(context), context, nargs, args);
}

static void destroy(void *app) { litestreamDrop((uintptr_t)app); }

int ls_create(void *db, const char *name, int nargs, uintptr_t handle) {
  return sqlite3_create_function_v2(db, name, nargs, LS_UTF8 | LS_DIRECTONLY, (void*)handle, call, 0, 0, destroy);
}

const char *ls_text(void **args, int i, int *n) {
  const char *text = (const char*)sqlite3_value_text(args[i]);
  *n = sqlite3_value_bytes(args[i]);
  return text;
}

void ls_result(void *context, const char *text, int n) { sqlite3_result_text(context, text, n, LS_TRANSIENT); }
void ls_error(void *context, const char *text, int n) { sqlite3_result_error(context, text, n); }
