/*
 * core_seeds -- the first inputs of fuzz_core: members that behave, a story of
 * names, contents and locks, one message of each kind.  After what it uses.
 */
#ifndef PSPFS_FUZZ_CORE_SEEDS_H
#define PSPFS_FUZZ_CORE_SEEDS_H

static void put_body(struct wr *w, const struct wr *body)
{
	wr_u16(w, (uint16_t)body->len);
	wr_bytes(w, body->p, body->len);
}

static void put(struct wr *w, uint8_t line, uint16_t type, const void *m)
{
	const struct kind *k = kind_of(type);
	struct wr body = WR_INIT;

	MUST(!k->encode(&body, m));
	wr_u8(w, REQUEST);
	wr_u8(w, line);
	wr_u16(w, type);
	wr_u8(w, FIX);
	put_body(w, &body);
	wr_fini(&body);
}

static void put_hello(struct wr *w, uint8_t line)
{
	struct m_hello m = {
		.protocol = MSG_PROTOCOL, .addr = str_of(addrs[line]),
		.role = line == LINES - 1 ? ROLE_CLIENT : ROLE_PEER,
		.port = 3457, .mounted = 1, .capacity = 1 << 30,
	};

	put(w, line, M_hello, &m);
}

static void put_all_hello(struct wr *w)
{
	for (uint8_t line = 0; line < LINES; line++)
		put_hello(w, line);
}

static void put_damage(struct wr *w, uint8_t column, uint16_t n)
{
	wr_u8(w, DAMAGE);
	wr_u8(w, 0);
	wr_u8(w, column);
	wr_u16(w, n);
	for (uint16_t i = 0; i < n; i++)
		wr_u8(w, (uint8_t)i);
}

static void put_tick(struct wr *w, uint16_t ms)
{
	wr_u8(w, TICK);
	wr_u8(w, 0);
	wr_u16(w, ms);
}

static void put_mknod(struct wr *w, uint8_t line, uint64_t parent,
		      const char *name, uint32_t mode)
{
	struct m_mknod m = { .parent = parent, .name = str_of(name),
			     .mode = mode, .uid = 10, .gid = 20 };

	put(w, line, M_mknod, &m);
}

static void put_commit(struct wr *w, uint64_t ino, uint64_t slot,
		       uint64_t chunk)
{
	uint32_t stored[] = { 1, 2 };
	struct m_push push = { .slot = slot, .pos = 3, .len = 20,
			       .chunk = chunk, .chunk_len = 20,
			       .stored = stored, .n_stored = 2 };
	struct m_commit m = { .ino = ino, .mtime_s = 1000001, .pushes = &push,
			      .n_pushes = 1 };

	put(w, 0, M_commit, &m);
}

/* Names, contents, locks of two mounts. */
static void put_story(struct wr *w)
{
	struct m_grant grant = { .count = 4 };
	struct m_getmap map = { .ino = 3, .count = 8 };
	struct m_lookup look = { .parent = 1, .name = STR_LIT("d") };
	struct m_readdir list = { .ino = 1, .most = 100 };
	struct m_rename move = { .parent = 2, .name = STR_LIT("f"),
				 .newparent = 1, .newname = STR_LIT("g") };
	struct m_setattr cut = { .ino = 3, .set = SET_SIZE, .size = 30 };
	struct m_lock lock = { .op = LK_WAIT, .ticket = 1,
			       .lock = { .ino = 3, .kind = 2, .owner = 7,
					 .end = 99 } };
	struct m_unlink gone = { .parent = 1, .name = STR_LIT("g") };

	put_mknod(w, 0, 1, "d", S_IFDIR | 0755);
	put_mknod(w, 0, 2, "f", S_IFREG | 0644);
	put(w, 0, M_grant, &grant);
	put_commit(w, 3, 0, 1);
	put_commit(w, 3, 5, 2);
	put(w, 1, M_lookup, &look);
	put(w, 1, M_getmap, &map);
	put(w, 1, M_readdir, &list);
	put(w, 0, M_lock, &lock);
	put(w, 1, M_lock, &lock);
	put(w, 0, M_rename, &move);
	put(w, 0, M_setattr, &cut);
	put(w, 1, M_unlink, &gone);
	put_tick(w, 3000);
}

/* Extended attributes, ACLs and what inherits them. */
static void put_attrs(struct wr *w)
{
	static const uint8_t acl[] = {
		2, 0, 0, 0,  1, 0, 7, 0, 0, 0, 0, 0,  2, 0, 6, 0, 10, 0, 0, 0,
		4, 0, 5, 0, 0, 0, 0, 0,  16, 0, 7, 0, 0, 0, 0, 0,
		32, 0, 0, 0, 0, 0, 0, 0,
	};
	struct str value = { (const char *)acl, sizeof(acl) };
	struct m_setxattr user = { .ino = 2, .name = STR_LIT("user.a"),
				   .value = STR_LIT("value"), .flags = 1 };
	struct m_setxattr dir = {
		.ino = 2, .name = STR_LIT("system.posix_acl_default"),
		.value = value };
	struct m_setxattr file = {
		.ino = 3, .name = STR_LIT("system.posix_acl_access"),
		.value = value };
	struct m_setattr mode = { .ino = 3, .set = SET_MODE | SET_UID,
				  .mode = 0640, .uid = 11 };
	struct m_getxattr get = { .ino = 3, .name = file.name };
	struct m_listxattr list = { .ino = 2 };
	struct m_removexattr gone = { .ino = 2, .name = user.name };

	put_mknod(w, 0, 1, "d", S_IFDIR | 0755);
	put(w, 0, M_setxattr, &user);
	put(w, 0, M_setxattr, &dir);
	put_mknod(w, 0, 2, "f", S_IFREG | 0666);
	put(w, 0, M_setxattr, &file);
	put(w, 0, M_setattr, &mode);
	put(w, 0, M_getxattr, &get);
	put(w, 0, M_listxattr, &list);
	put(w, 0, M_removexattr, &gone);
}

/* A file with content: holes, parts of it elsewhere too, put together. */
static void put_content(struct wr *w)
{
	struct m_grant grant = { .count = 8 };
	struct m_allocate punch = { .ino = 2, .off = 10, .len = 40,
				    .mode = ALLOCATE_PUNCH |
					    ALLOCATE_KEEP_SIZE };
	struct m_allocate zero = { .ino = 2, .off = 60, .len = 500,
				   .mode = ALLOCATE_ZERO };
	struct m_clone clone = { .ino = 3, .from = 2, .len = 1000 };
	struct m_seekmap seek = { .ino = 2, .off = 70 };
	struct m_getmap map = { .ino = 3, .count = 10 };
	struct m_compact compact = {
		.ino = 2, .expect = 9,
		.push = { .slot = 0, .len = 64, .chunk = 5, .chunk_len = 64 } };

	put_mknod(w, 0, 1, "f", S_IFREG | 0644);
	put_mknod(w, 0, 1, "g", S_IFREG | 0644);
	put(w, 0, M_grant, &grant);
	for (uint64_t i = 1; i < 4; i++) {
		put_commit(w, 2, 0, i);
		put_commit(w, 2, i, 5 + i);
	}
	put(w, 0, M_allocate, &punch);
	put(w, 0, M_allocate, &zero);
	put(w, 0, M_seekmap, &seek);
	put(w, 0, M_clone, &clone);
	put(w, 1, M_getmap, &map);
	put(w, 0, M_compact, &compact);
}

static void put_answer(struct wr *w, uint8_t line)
{
	wr_u8(w, ANSWER);
	wr_u8(w, line);
	wr_u8(w, 0);
	wr_u8(w, 0);
	wr_u16(w, 24);		/* of any kind */
	for (int i = 0; i < 24; i++)
		wr_u8(w, 0);
}

/* A file that is to be everywhere, its MD5, a copy that is bad. */
static void put_jobs(struct wr *w)
{
	struct m_grant grant = { .count = 4 };
	struct m_held held[] = { { 1, COPY_REPLICA }, { 2, COPY_CACHED } };
	struct m_have have = { .added = held, .n_added = 2 };
	struct m_replicate all = { .ino = 2, .copies = MSG_COPIES_ALL };
	struct m_progress far = { .job = 1, .part = { .chunks = 1, .done = 1,
						      .ended = 1 } };
	struct m_job job = { .job = 1 };
	struct m_digest digest = { .ino = 2, .compute = 1 };
	struct m_digested told = { .ino = 2, .version = 2 };
	struct m_bad_copy bad = { .chunk = 1, .peer = 1, .corrupt = 1 };

	put_mknod(w, 0, 1, "f", S_IFREG | 0644);
	put(w, 0, M_grant, &grant);
	put_commit(w, 2, 0, 1);
	put(w, 1, M_have, &have);
	put(w, 3, M_digest, &digest);
	put(w, 0, M_replicate, &all);
	put_tick(w, 200);
	put_answer(w, 0);
	put_answer(w, 0);
	put(w, 1, M_progress, &far);
	put(w, 0, M_job, &job);
	put(w, 1, M_bad_copy, &bad);
	put_tick(w, 900);
	put_answer(w, 1);
	put(w, 1, M_digested, &told);
	put_tick(w, 900);
}

/* A member and a client say one thing at random, of each kind. */
static void seed_kind(const struct kind *k)
{
	struct arena a = ARENA_INIT;
	struct wr w = WR_INIT;
	void *m = calloc(1, k->size);

	MUST(m);
	k->fill(m, &a);
	put_hello(&w, 0);
	put_mknod(&w, 0, 1, "f", S_IFREG | 0644);
	put(&w, 0, k->type, m);
	put_hello(&w, LINES - 1);
	put(&w, LINES - 1, k->type, m);
	fuzz_seed_wr(k->name, &w);
	arena_fini(&a);
	free(m);
}

void fuzz_seeds(void)
{
	struct wr w = WR_INIT;

	put_hello(&w, 0);
	put_hello(&w, 1);
	put_story(&w);
	fuzz_seed_wr("story", &w);
	put_all_hello(&w);
	put_attrs(&w);
	fuzz_seed_wr("attrs", &w);
	put_all_hello(&w);
	put_content(&w);
	fuzz_seed_wr("content", &w);
	put_all_hello(&w);
	put_jobs(&w);
	fuzz_seed_wr("jobs", &w);
	put_hello(&w, 0);
	put_mknod(&w, 0, 1, "f", S_IFREG | 0644);
	wr_u8(&w, RESTART);
	wr_u8(&w, 0);
	put_hello(&w, 0);
	put_mknod(&w, 0, 1, "g", S_IFREG | 0644);
	wr_u8(&w, CUT);
	wr_u8(&w, 0);
	put_hello(&w, 0);
	put_hello(&w, 3);
	put_tick(&w, 3000);
	fuzz_seed_wr("restart", &w);
	for (uint8_t column = 0; column < COLUMNS; column++) {
		char name[] = { 'd', 'a', 'm', 'a', 'g', 'e', '0', 0 };

		put_hello(&w, 0);
		put_hello(&w, 1);
		put_story(&w);
		put_damage(&w, column, column % 2 ? 3 : 56);
		put_story(&w);
		name[6] = (char)('0' + column);
		fuzz_seed_wr(name, &w);
	}
	seed = 2;
	all_lists_of_one = 1;
	for (size_t i = 0; i < N_KINDS; i++)
		if (!(kinds[i].type & M_REPLY))
			seed_kind(&kinds[i]);
}

#endif
