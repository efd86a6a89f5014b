#include "osvfs.h"
#include <stdlib.h>
#include <string.h>

// Of the SQLite library that the program is linked with.
extern ls_vfs *sqlite3_vfs_find(const char *name);
extern char *sqlite3_create_filename(const char *db, const char *journal, const char *wal, int nparam, const char **params);
extern void sqlite3_free_filename(char *name);

extern char *sqlite3_temp_directory;
extern char *sqlite3_mprintf(const char *format, ...);
extern void sqlite3_free(void *p);
extern void *sqlite3_mutex_alloc(int which);
extern void sqlite3_mutex_enter(void *mutex);
extern void sqlite3_mutex_leave(void *mutex);

#define LS_MUTEX_TEMPDIR 11  // SQLite changes the folder under this one
#define LS_CANTOPEN 14
#define LS_NOMEM 7

// The VFS of the operating system, by name: the default may be another one.
static ls_vfs *os_vfs(void) {
  ls_vfs *vfs = sqlite3_vfs_find("unix");
  if (!vfs) vfs = sqlite3_vfs_find("win32");
  return vfs;
}

int ls_open(const char *path, int nparam, const char **params, int flags, int *out, ls_handle *h) {
  ls_vfs *vfs = os_vfs();
  int rc;
  h->name = 0;
  h->file = 0;
  if (!vfs) return LS_CANTOPEN;
  h->name = sqlite3_create_filename(path, "", "", nparam, params);
  h->file = calloc(1, vfs->szOsFile);
  if (!h->name || !h->file) {
    rc = LS_NOMEM;
  } else {
    rc = vfs->xOpen(vfs, h->name, h->file, flags, out);
  }
  if (rc) ls_close(h);
  return rc;
}

int ls_close(ls_handle *h) {
  int rc = 0;
  if (h->file && h->file->pMethods) rc = h->file->pMethods->xClose(h->file);
  free(h->file);
  if (h->name) sqlite3_free_filename(h->name);
  h->file = 0;
  h->name = 0;
  return rc;
}

int ls_read(ls_handle *h, void *p, int n, ls_int64 off) { return h->file->pMethods->xRead(h->file, p, n, off); }
int ls_write(ls_handle *h, const void *p, int n, ls_int64 off) { return h->file->pMethods->xWrite(h->file, p, n, off); }
int ls_truncate(ls_handle *h, ls_int64 size) { return h->file->pMethods->xTruncate(h->file, size); }
int ls_sync(ls_handle *h, int flags) { return h->file->pMethods->xSync(h->file, flags); }
int ls_size(ls_handle *h, ls_int64 *size) { return h->file->pMethods->xFileSize(h->file, size); }
int ls_lock(ls_handle *h, int level) { return h->file->pMethods->xLock(h->file, level); }
int ls_unlock(ls_handle *h, int level) { return h->file->pMethods->xUnlock(h->file, level); }
int ls_check_reserved(ls_handle *h, int *out) { return h->file->pMethods->xCheckReservedLock(h->file, out); }
int ls_sector_size(ls_handle *h) { return h->file->pMethods->xSectorSize(h->file); }
int ls_characteristics(ls_handle *h) { return h->file->pMethods->xDeviceCharacteristics(h->file); }

int ls_delete(const char *path, int dirsync) {
  ls_vfs *vfs = os_vfs();
  return vfs ? vfs->xDelete(vfs, path, dirsync) : LS_CANTOPEN;
}

int ls_access(const char *path, int flags, int *out) {
  ls_vfs *vfs = os_vfs();
  return vfs ? vfs->xAccess(vfs, path, flags, out) : LS_CANTOPEN;
}

char *ls_temp_directory(void) {
  void *mutex = sqlite3_mutex_alloc(LS_MUTEX_TEMPDIR);
  char *copy;
  sqlite3_mutex_enter(mutex);
  copy = sqlite3_temp_directory ? strdup(sqlite3_temp_directory) : 0;
  sqlite3_mutex_leave(mutex);
  return copy;
}

void ls_set_temp_directory(const char *path) {
  void *mutex = sqlite3_mutex_alloc(LS_MUTEX_TEMPDIR);
  sqlite3_mutex_enter(mutex);
  sqlite3_free(sqlite3_temp_directory);
  sqlite3_temp_directory = path && *path ? sqlite3_mprintf("%s", path) : 0;
  sqlite3_mutex_leave(mutex);
}
