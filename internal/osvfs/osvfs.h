// The part of SQLite's public interface that this package needs. It is declared
// here because no header of SQLite is available in all the ways to link it. The
// layouts are part of SQLite's stable ABI.
#ifndef LITESTREAM_OSVFS_H
#define LITESTREAM_OSVFS_H

typedef long long int ls_int64;
typedef struct ls_vfs ls_vfs;
typedef struct ls_file ls_file;

struct ls_io_methods {
  int iVersion;
  int (*xClose)(ls_file*);
  int (*xRead)(ls_file*, void*, int, ls_int64);
  int (*xWrite)(ls_file*, const void*, int, ls_int64);
  int (*xTruncate)(ls_file*, ls_int64);
  int (*xSync)(ls_file*, int);
  int (*xFileSize)(ls_file*, ls_int64*);
  int (*xLock)(ls_file*, int);
  int (*xUnlock)(ls_file*, int);
  int (*xCheckReservedLock)(ls_file*, int*);
  int (*xFileControl)(ls_file*, int, void*);
  int (*xSectorSize)(ls_file*);
  int (*xDeviceCharacteristics)(ls_file*);
};

struct ls_file {
  const struct ls_io_methods *pMethods;
};

struct ls_vfs {
  int iVersion;
  int szOsFile;
  int mxPathname;
  ls_vfs *pNext;
  const char *zName;
  void *pAppData;
  int (*xOpen)(ls_vfs*, const char*, ls_file*, int, int*);
  int (*xDelete)(ls_vfs*, const char*, int);
  int (*xAccess)(ls_vfs*, const char*, int, int*);
};

// A file with the name it was opened by, which must live as long.
typedef struct ls_handle {
  char *name;
  ls_file *file;
} ls_handle;

int ls_open(const char *path, int nparam, const char **params, int flags, int *out, ls_handle *h);
int ls_close(ls_handle *h);
int ls_read(ls_handle *h, void *p, int n, ls_int64 off);
int ls_write(ls_handle *h, const void *p, int n, ls_int64 off);
int ls_truncate(ls_handle *h, ls_int64 size);
int ls_sync(ls_handle *h, int flags);
int ls_size(ls_handle *h, ls_int64 *size);
int ls_lock(ls_handle *h, int level);
int ls_unlock(ls_handle *h, int level);
int ls_check_reserved(ls_handle *h, int *out);
int ls_sector_size(ls_handle *h);
int ls_characteristics(ls_handle *h);
int ls_delete(const char *path, int dirsync);
int ls_access(const char *path, int flags, int *out);

// A copy of sqlite3_temp_directory, by malloc, NULL if it is not set; and setting it, for tests.
char *ls_temp_directory(void);
void ls_set_temp_directory(const char *path);

#endif
