//go:build cgo && !SQLITE3VFS_LOADABLE_EXT

#define SQLITE_CORE 1  // functions have their own names, and are not looked up in a table
#include "../sqlite3ext.h"

#include "linked.h"

#ifndef _WIN32
#pragma weak sqlite3_is_interrupted  // since 3.41; with the build tag libsqlite3 there may be an older one
#endif

static const sqlite3_api_routines routines = {
  .auto_extension = sqlite3_auto_extension,
  .context_db_handle = sqlite3_context_db_handle,
  .create_function_v2 = sqlite3_create_function_v2,
  .create_module_v2 = sqlite3_create_module_v2,
  .declare_vtab = sqlite3_declare_vtab,
  .expanded_sql = sqlite3_expanded_sql,
  .file_control = sqlite3_file_control,
  .free = sqlite3_free,
  .is_interrupted = sqlite3_is_interrupted,
  .libversion_number = sqlite3_libversion_number,
  .limit = sqlite3_limit,
  .mprintf = sqlite3_mprintf,
  .next_stmt = sqlite3_next_stmt,
  .result_double = sqlite3_result_double,
  .result_error = sqlite3_result_error,
  .result_error_code = sqlite3_result_error_code,
  .result_error_nomem = sqlite3_result_error_nomem,
  .result_int64 = sqlite3_result_int64,
  .result_text = sqlite3_result_text,
  .result_text64 = sqlite3_result_text64,
  .sql = sqlite3_sql,
  .stmt_busy = sqlite3_stmt_busy,
  .stmt_status = sqlite3_stmt_status,
  .uri_key = sqlite3_uri_key,
  .uri_parameter = sqlite3_uri_parameter,
  .user_data = sqlite3_user_data,
  .value_text = sqlite3_value_text,
  .vfs_find = sqlite3_vfs_find,
  .vfs_register = sqlite3_vfs_register,
};

const void *ls_linked(void) { return &routines; }
