/*
 * table -- uthash, told to report that there is no memory instead of ending
 * the process: after HASH_ADD, TABLE_ADDED(p) says whether it worked.
 */
#ifndef PSPFS_TABLE_H
#define PSPFS_TABLE_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define TABLE_ADDED(p) ((p)->hh.tbl != NULL)

#endif
