/*
** Has a program load the extension that LITESTREAM_TEST_EXTENSION names before
** it opens a database. SQLite calls load_extension at the end of
** sqlite3_initialize, compiled with -DSQLITE_EXTRA_INIT=load_extension.
*/
#include <stdio.h>
#include <stdlib.h>
#include "sqlite3.h"

int load_extension(const char *unused);

int load_extension(const char *unused) {
	const char *extension = getenv("LITESTREAM_TEST_EXTENSION");
	char *message = NULL;
	sqlite3 *db = NULL;
	int rc;

	(void)unused;
	if (extension == NULL || *extension == '\0') return SQLITE_OK;
	rc = sqlite3_open(":memory:", &db);
	if (rc == SQLITE_OK) rc = sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, NULL);
	if (rc == SQLITE_OK) rc = sqlite3_load_extension(db, extension, NULL, &message);
	if (rc != SQLITE_OK) {
		/* SQLite would forget the code: what it is asked for next would work, without the extension. */
		fprintf(stderr, "load %s: %s\n", extension, message != NULL ? message : sqlite3_errstr(rc));
		exit(1);
	}
	return sqlite3_close(db);
}
