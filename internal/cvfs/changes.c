//go:build cgo

// The table-valued function litestream_changes, a virtual table that exists without a CREATE
// statement. The Go side compares the states and makes the rows.

#include <stdlib.h>

#include "_cgo_export.h"

typedef struct changes_cursor {
  sqlite3_vtab_cursor base;
  uintptr_t rows;  // handle, 0 before the first filter
  int atEnd;
  sqlite3_int64 number;  // of the row
} changes_cursor;

typedef struct changes_table {
  sqlite3_vtab base;
  sqlite3 *db;
} changes_table;

static int changesConnect(sqlite3 *db, void *unused, int argc, const char *const *argv, sqlite3_vtab **out, char **err) {
  changes_table *t;
  char *schema;
  int rc;
  (void)unused, (void)argc, (void)argv;
  if (ls_is_forked()) {
    *err = sqlite3_mprintf("%s", LS_FORKED);
    return SQLITE_MISUSE;
  }
  schema = litestreamChangesSchema();
  rc = sqlite3_declare_vtab(db, schema);
  free(schema);
  if (rc) return rc;
  t = calloc(1, sizeof *t);
  if (!t) return SQLITE_NOMEM;
  t->db = db;
  *out = &t->base;
  return SQLITE_OK;
}

static int changesDisconnect(sqlite3_vtab *t) {
  free(t);
  return SQLITE_OK;
}

// changesBestIndex asks for the values of the arguments, in their order. The bits of idxNum are
// those that xFilter gets.
static int changesBestIndex(sqlite3_vtab *t, sqlite3_index_info *info) {
  int at[LS_ARGUMENTS], unusable = 0, n = 0, i;
  (void)t;
  for (i = 0; i < LS_ARGUMENTS; i++) at[i] = -1;
  for (i = 0; i < info->nConstraint; i++) {
    int arg = info->aConstraint[i].iColumn - LS_FIRST_ARGUMENT;
    if (arg < 0 || arg >= LS_ARGUMENTS || info->aConstraint[i].op != SQLITE_INDEX_CONSTRAINT_EQ) continue;
    if (!info->aConstraint[i].usable) {
      unusable |= 1 << arg;
    } else if (at[arg] < 0) {
      at[arg] = i;
    }
  }
  for (i = 0; i < LS_ARGUMENTS; i++) {
    if (at[i] < 0) {
      if (unusable & 1 << i) return SQLITE_CONSTRAINT;  // it comes from a table that has to be read first
      continue;
    }
    info->aConstraintUsage[at[i]].argvIndex = ++n;
    info->aConstraintUsage[at[i]].omit = 1;
    info->idxNum |= 1 << i;
  }
  info->estimatedCost = 1e6;  // a comparison takes round trips, so it is not repeated for the rows of another table
  info->estimatedRows = 1000;
  return SQLITE_OK;
}

static int changesOpen(sqlite3_vtab *t, sqlite3_vtab_cursor **out) {
  changes_cursor *c = calloc(1, sizeof *c);
  (void)t;
  if (!c) return SQLITE_NOMEM;
  *out = &c->base;
  return SQLITE_OK;
}

static void endRows(changes_cursor *c) {
  if (c->rows && !ls_forked) litestreamChangesClose(c->rows);
  c->rows = 0;
}

static int changesClose(sqlite3_vtab_cursor *base) {
  changes_cursor *c = (changes_cursor*)base;
  endRows(c);
  free(c);
  return SQLITE_OK;
}

// failedWith gives the table the text of an error by malloc, which is freed.
static int failedWith(changes_cursor *c, char *error, int rc) {
  sqlite3_vtab *t = c->base.pVtab;
  if (error) {
    sqlite3_free(t->zErrMsg);
    t->zErrMsg = sqlite3_mprintf("%s", error);
    free(error);
  }
  return ls_failed(rc);
}

static int changesNext(sqlite3_vtab_cursor *base) {
  changes_cursor *c = (changes_cursor*)base;
  char *error = 0;
  int rc;
  if (ls_is_forked()) return SQLITE_MISUSE;
  c->number++;
  rc = litestreamChangesNext(c->rows, &c->atEnd, &error);
  return failedWith(c, error, rc);
}

static int changesFilter(sqlite3_vtab_cursor *base, int idxNum, const char *idxStr, int argc, sqlite3_value **argv) {
  changes_cursor *c = (changes_cursor*)base;
  ls_changes r = {{0}, 0, 0};
  int n = 0, i, rc;
  (void)idxStr;
  endRows(c);
  c->number = 0;
  c->atEnd = 1;
  for (i = 0; i < LS_ARGUMENTS; i++) {
    if (idxNum & 1 << i && n < argc) r.args[i] = (const char*)sqlite3_value_text(argv[n++]);
  }
  rc = sqlite3_file_control(((changes_table*)base->pVtab)->db, "main", LS_FCNTL_CHANGES, &r);
  if (rc == SQLITE_OK && !r.rows) rc = SQLITE_NOTFOUND;  // there are VFSs that answer SQLITE_OK to all file controls
  if (rc == SQLITE_NOTFOUND) {
    sqlite3_free(base->pVtab->zErrMsg);
    base->pVtab->zErrMsg = sqlite3_mprintf("the main database is not served by litestream");
    return SQLITE_ERROR;
  }
  if (rc) return failedWith(c, r.error, rc);
  c->rows = r.rows;
  return changesNext(base);
}

static int changesEof(sqlite3_vtab_cursor *base) { return ((changes_cursor*)base)->atEnd; }

static int changesColumn(sqlite3_vtab_cursor *base, sqlite3_context *context, int column) {
  ls_value v = {SQLITE_NULL, 0, 0, 0};
  int rc;
  if (ls_is_forked()) return SQLITE_MISUSE;
  rc = litestreamChangesColumn(((changes_cursor*)base)->rows, column, &v);
  if (rc) return rc;
  switch (v.type) {
  case SQLITE_INTEGER:
    sqlite3_result_int64(context, v.number);
    break;
  case SQLITE_TEXT:
    sqlite3_result_text64(context, v.text, v.bytes, free, SQLITE_UTF8);
  }
  return SQLITE_OK;
}

static int changesRowid(sqlite3_vtab_cursor *base, sqlite3_int64 *rowid) {
  *rowid = ((changes_cursor*)base)->number;
  return SQLITE_OK;
}

static const sqlite3_module changes = {
  .xConnect = changesConnect,
  .xBestIndex = changesBestIndex,
  .xDisconnect = changesDisconnect,
  .xOpen = changesOpen,
  .xClose = changesClose,
  .xFilter = changesFilter,
  .xNext = changesNext,
  .xEof = changesEof,
  .xColumn = changesColumn,
  .xRowid = changesRowid,
};

int ls_add_changes(sqlite3 *db) {
  if (!sqlite3_api->create_module_v2) return SQLITE_OK;  // this SQLite was built without virtual tables
  return sqlite3_create_module_v2(db, "litestream_changes", &changes, 0, 0);
}
