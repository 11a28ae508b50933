/*
 * db_schema -- the tables, as SQL, in steps.
 *
 * Step i takes a database of schema version i to version i + 1; a new
 * database runs them all.  A step that was released is never changed: what
 * is new is a new step.  Columns that hold a u64 hold its bits.
 */
#ifndef PSPFS_DB_SCHEMA_H
#define PSPFS_DB_SCHEMA_H

#define DB_APPLICATION_ID 0x70737066	/* "pspf": PRAGMA application_id */

extern const char *const db_schema_steps[];
extern const int db_schema_version;	/* how many steps there are */

#endif
