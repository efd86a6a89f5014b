// What the C files of the extension share, and its Go side includes.
#ifndef LITESTREAM_EXTENSION_H
#define LITESTREAM_EXTENSION_H

#include "vfs.h"

// The name of the VFS.
#define LS_NAME "litestream"

const char *ls_fork_refuses(const ls_vfs *v, const char *name, int flags); // for ls_vfs.forked
void ls_set_bound(const char *path); // the file name that LITESTREAM_REPLICA_URL is for

char **ls_environment(void); // a copy of its variables, all by malloc, and NULL at the end; NULL if there are none

#endif
