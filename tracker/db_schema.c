#include "db_schema.h"

/*
 * Rows that are found by (a, b) and hold little are WITHOUT ROWID: one
 * B-tree instead of two.  inodes and chunks are found by their number, which
 * is the rowid itself.
 */
static const char step_1[] =
	"CREATE TABLE meta("
	"  key BLOB PRIMARY KEY,"
	"  value INTEGER NOT NULL"
	") STRICT, WITHOUT ROWID;"

	"CREATE TABLE inodes("
	"  ino INTEGER PRIMARY KEY,"
	"  mode INTEGER NOT NULL,"
	"  nlink INTEGER NOT NULL,"
	"  uid INTEGER NOT NULL,"
	"  gid INTEGER NOT NULL,"
	"  rdev INTEGER NOT NULL,"
	"  slot_size INTEGER NOT NULL,"
	"  size INTEGER NOT NULL,"
	"  stored INTEGER NOT NULL,"
	"  version INTEGER NOT NULL,"	/* of the content */
	"  map INTEGER NOT NULL,"	/* highest version of a slot */
	"  atime_s INTEGER NOT NULL,"
	"  atime_ns INTEGER NOT NULL,"
	"  mtime_s INTEGER NOT NULL,"
	"  mtime_ns INTEGER NOT NULL,"
	"  ctime_s INTEGER NOT NULL,"
	"  ctime_ns INTEGER NOT NULL,"
	"  parent INTEGER NOT NULL,"	/* of a directory, else 0 */
	"  xattrs INTEGER NOT NULL,"	/* how many */
	"  xattr_bytes INTEGER NOT NULL" /* of names and values */
	") STRICT;"

	"CREATE TABLE dentries("
	"  parent INTEGER NOT NULL,"
	"  name BLOB NOT NULL,"
	"  ino INTEGER NOT NULL,"
	"  cookie INTEGER NOT NULL,"
	"  PRIMARY KEY(parent, name)"
	") STRICT, WITHOUT ROWID;"
	"CREATE INDEX dentries_cookie ON dentries(parent, cookie, ino);"

	"CREATE TABLE symlinks("
	"  ino INTEGER PRIMARY KEY,"
	"  target BLOB NOT NULL"
	") STRICT;"

	"CREATE TABLE xattrs("
	"  ino INTEGER NOT NULL,"
	"  name BLOB NOT NULL,"
	"  value BLOB NOT NULL,"
	"  PRIMARY KEY(ino, name)"
	") STRICT, WITHOUT ROWID;"

	"CREATE TABLE orphans(ino INTEGER PRIMARY KEY) STRICT;"

	"CREATE TABLE slots("
	"  ino INTEGER NOT NULL,"
	"  slot INTEGER NOT NULL,"
	"  version INTEGER NOT NULL,"
	"  base INTEGER NOT NULL,"	/* of its last change but by pushes */
	"  slices BLOB NOT NULL,"	/* NS_SLICE_BYTES each, newest last */
	"  PRIMARY KEY(ino, slot)"
	") STRICT, WITHOUT ROWID;"

	"CREATE TABLE chunks("
	"  id INTEGER PRIMARY KEY,"
	"  len INTEGER NOT NULL,"
	"  md5 BLOB NOT NULL,"
	"  refs INTEGER NOT NULL,"	/* slices that name it; 0: garbage */
	"  peers BLOB NOT NULL"		/* their numbers, u32 big-endian */
	") STRICT;"

	"CREATE TABLE garbage("
	"  id INTEGER PRIMARY KEY,"
	"  since_s INTEGER NOT NULL,"
	"  since_ns INTEGER NOT NULL"
	") STRICT;"
	"CREATE INDEX garbage_since ON garbage(since_s, since_ns);";

static const char step_2[] =
	"ALTER TABLE chunks ADD COLUMN"
	"  copies INTEGER NOT NULL DEFAULT 0;"	/* wanted; 0: the swarm's */

	"CREATE TABLE digests("		/* MD5s of whole files */
	"  ino INTEGER PRIMARY KEY,"
	"  version INTEGER NOT NULL,"	/* of the content that has it */
	"  md5 BLOB NOT NULL"
	") STRICT;";

const char *const db_schema_steps[] = { step_1, step_2 };
const int db_schema_version = sizeof(db_schema_steps) /
			      sizeof(db_schema_steps[0]);
