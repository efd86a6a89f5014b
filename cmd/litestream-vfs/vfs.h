// What the C files of the extension share, and its Go side includes.
#ifndef LITESTREAM_VFS_H
#define LITESTREAM_VFS_H

#include <stdint.h>

// A pointer of our own to SQLite's functions: other extensions in the process
// export one by the usual name.
#define sqlite3_api litestream_sqlite3_api
#include "sqlite3ext.h"
extern const sqlite3_api_routines *sqlite3_api __attribute__((visibility("hidden")));

// The name of the VFS.
#define LS_NAME "litestream"

// The sector size that SQLite is told.
#define LS_SECTOR_SIZE 4096

// What litestreamOpen decides about a file.
enum { LS_OPENED, LS_LOCAL, LS_FAILED };

// ls_file is what SQLite has of a file of ours.
typedef struct ls_file {
  sqlite3_file base;
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
} ls_request;

// LS_FCNTL_REQUEST passes an ls_request, and LS_FCNTL_FILE an ls_file** that gets the
// file, if it is one of ours. SQLite leaves codes from 100 on to others.
#define LS_FCNTL_REQUEST 0x4c530001
#define LS_FCNTL_FILE 0x4c530002

// LS_FORKED is what is wrong in a process that was forked.
#define LS_FORKED \
  "litestream: this process was forked from one that had loaded the extension, which does not work after fork: " \
  "start it anew, as multiprocessing does with its start method spawn, or load the extension after the fork"

extern const sqlite3_io_methods ls_file_methods;    // of files that the Go side serves
extern const sqlite3_io_methods ls_failed_methods;  // of files that could not be opened

extern volatile int ls_forked;  // this process was forked from one that had loaded the extension
const char *ls_bound(void);     // the name that ls_set_bound was given; NULL before

int ls_vfs_register(int makeDefault);  // an SQLite result code; again, after SQLite was initialized anew
int ls_vfs_is_registered(void);        // as the VFS of that name
int ls_is_forked(void);                // tells so on standard error, once
void ls_keep_loaded(const void *in);   // the library that an address is in
void ls_set_bound(const char *path);   // the file name that LITESTREAM_REPLICA_URL is for

// For the Go side, which cannot call through SQLite's table.
const char *ls_uri_key(const char *name, int n);
const char *ls_uri_parameter(const char *name, const char *key);
int ls_exists(const char *path);        // whether there is a file, or that cannot be told
char **ls_environment(int *n);          // a copy of its variables, all by malloc; NULL if there are none

#endif
