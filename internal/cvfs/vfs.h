// What the C files of the package share, and its Go side includes. The loadable
// extension includes it as well.
#ifndef LITESTREAM_CVFS_H
#define LITESTREAM_CVFS_H

#include <errno.h>
#include <stdint.h>

// A pointer of our own to SQLite's functions: other extensions in the process
// export one by the usual name.
#define sqlite3_api litestream_sqlite3_api
#include "sqlite3ext.h"
extern const sqlite3_api_routines *sqlite3_api __attribute__((visibility("hidden")));

// The sector size that SQLite is told.
#define LS_SECTOR_SIZE 4096

// What litestreamOpen decides about a file.
enum { LS_OPENED, LS_LOCAL, LS_FAILED };

// ls_vfs is a VFS of ours. It is never freed, since SQLite gives no sign that it has
// stopped using one.
typedef struct ls_vfs ls_vfs;
struct ls_vfs {
  sqlite3_vfs base; // its pAppData is the ls_vfs
  sqlite3_vfs *os;  // of the operating system: it serves what is no replica
  uintptr_t handle; // of the Go side
  int madeDefault;

  // forked says why a forked process cannot open a file. NULL means that the file is a
  // plain one. Without this function a forked process cannot open any file.
  const char *(*forked)(const ls_vfs *v, const char *name, int flags);
};

// ls_file is what SQLite has of a file of ours.
typedef struct ls_file {
  sqlite3_file base;
  const ls_vfs *vfs;
  uintptr_t handle; // of the Go side
  char *error;      // why it could not be opened, by malloc
} ls_file;

// ls_request is a PRAGMA or function on its way to the Go side. What comes back is
// by malloc; result is NULL for none.
typedef struct ls_request {
  const char *name;
  const char *value; // NULL: none
  char *result;
  char *error;
  int served; // it has reached a file of ours: there are VFSs that answer SQLITE_OK to all file controls
} ls_request;

// LS_ARGUMENTS is how many arguments litestream_changes has. They are its last columns, from
// LS_FIRST_ARGUMENT on.
#define LS_ARGUMENTS 3
#define LS_FIRST_ARGUMENT 8

// ls_changes is a call of litestream_changes on its way to the Go side. The error that comes back
// is by malloc.
typedef struct ls_changes {
  const char *args[LS_ARGUMENTS]; // NULL: none
  uintptr_t rows;                 // handle of the result, 0 if no file of ours has made one
  char *error;
} ls_changes;

// ls_value is a value of a column.
typedef struct ls_value {
  int type;             // SQLITE_NULL, SQLITE_INTEGER or SQLITE_TEXT
  sqlite3_int64 number;
  char *text;           // by malloc
  uint64_t bytes;       // of text
} ls_value;

// LS_FCNTL_REQUEST passes an ls_request, LS_FCNTL_CHANGES an ls_changes, and LS_FCNTL_FILE an
// ls_file** that gets the file, if it is one of ours. SQLite leaves codes from 100 on to others.
#define LS_FCNTL_REQUEST 0x4c530001
#define LS_FCNTL_FILE 0x4c530002
#define LS_FCNTL_CHANGES 0x4c530003

// ls_failed returns a result code of ours. SQLite asks for errno after an error, and gives
// it to programs, but only SQLite's own VFS sets it.
static inline int ls_failed(int rc) {
  if (rc) errno = 0;
  return rc;
}

// LS_FORKED is what is wrong in a process that was forked.
#define LS_FORKED \
  "litestream: this process was forked from one that had loaded the extension, which does not work after fork: " \
  "start it anew, as multiprocessing does with its start method spawn, or load the extension after the fork"

extern const sqlite3_io_methods ls_file_methods;   // of files that the Go side serves
extern const sqlite3_io_methods ls_failed_methods; // of files that could not be opened

extern volatile int ls_forked; // this process was forked from one that had loaded this library
int ls_is_forked(void);        // tells so on standard error, once

void ls_set_api(const sqlite3_api_routines *api);    // before anything else
ls_vfs *ls_vfs_new(const char *name, uintptr_t handle);
int ls_vfs_register(ls_vfs *v, int makeDefault);     // an SQLite result code; again, after SQLite was initialized anew
int ls_vfs_exists(const char *name);                 // whether a VFS of that name is registered
int ls_vfs_is_default(const ls_vfs *v);

// ls_open_error returns a text by sqlite3_mprintf if the main database of a connection could
// not be opened, NULL otherwise.
char *ls_open_error(sqlite3 *db);

int ls_add_functions(sqlite3 *db); // the SQL functions, to a connection
int ls_add_changes(sqlite3 *db);   // the table-valued one of them

int ls_vfs_is_ours(const sqlite3_vfs *v);
int ls_watch_connections(void); // gives each new connection with a VFS of ours its functions, or the error of its open

// A connection of SQLite is interrupted until its next statement begins. Older libraries than
// 3.41 do not tell, and have no interrupts here.
int ls_has_interrupts(void);
int ls_is_interrupted(void *db);

// ls_next_running returns the statement after stmt, or the first one if stmt is NULL,
// that a connection runs; NULL if there are no more. ls_expanded returns the text of
// one with the values that are bound to it, which ls_free_expanded frees; NULL if it is
// longer than most, or the values take much memory. The caller must be within a call of
// that connection, which then holds its mutex.
void *ls_next_running(void *db, void *stmt);
const char *ls_sql(void *stmt);
char *ls_expanded(void *db, void *stmt, int most);
void ls_free_expanded(char *text);

// For the Go side, which cannot call through SQLite's table.
const char *ls_uri_key(const char *name, int n);
const char *ls_uri_parameter(const char *name, const char *key);

#endif
