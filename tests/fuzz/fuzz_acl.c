/*
 * fuzz_acl -- an ACL as setxattr(2) brings it.
 *
 * Input: a mode u16, the attribute's value.  One that is taken has each class
 * once; a mode that is set in it is what it then says, and it is still one.
 */
#include "ns_acl.c"

#include "fuzz.h"

static void check_good(struct acl *a, uint32_t mode)
{
	MUST(find(a, USER_OBJ) && find(a, GROUP_OBJ) && find(a, OTHER));
	MUST(!find(a, USER) || find(a, MASK));
	MUST(!is_mode(a) || !find(a, MASK));
	set_mode(a, mode);
	MUST(mode_of(a) == (mode & 0777));
	MUST(!acl_check(a));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct acl a;
	uint32_t mode;
	struct rd r;

	rd_init(&r, p, n);
	mode = rd_u16(&r);
	p = fuzz_rest(&r, &n);
	if (!p || n > ACL_MAX)
		return 0;
	memcpy(a.p, p, n);
	a.len = n;
	if (!acl_check(&a))
		check_good(&a, mode);
	return 0;
}

static void entry(struct wr *w, uint8_t tag, uint8_t perm, uint8_t id)
{
	const uint8_t e[ACL_ENTRY] = { tag, 0, perm, 0, id };

	wr_bytes(w, e, sizeof(e));
}

static void begin(struct wr *w, uint8_t version)
{
	const uint8_t head[2 + ACL_HEAD] = { 1, 0xa4, version };

	wr_bytes(w, head, sizeof(head));
}

void fuzz_seeds(void)
{
	struct wr w = WR_INIT;

	begin(&w, ACL_VERSION);
	entry(&w, USER_OBJ, 7, 0);
	entry(&w, GROUP_OBJ, 5, 0);
	entry(&w, OTHER, 0, 0);
	fuzz_seed_wr("mode", &w);
	begin(&w, ACL_VERSION);
	entry(&w, USER_OBJ, 7, 0);
	entry(&w, USER, 6, 10);
	entry(&w, USER, 4, 11);
	entry(&w, GROUP_OBJ, 5, 0);
	entry(&w, GROUP, 5, 20);
	entry(&w, MASK, 6, 0);
	entry(&w, OTHER, 0, 0);
	fuzz_seed_wr("named", &w);
	begin(&w, ACL_VERSION);
	entry(&w, USER_OBJ, 7, 0);
	entry(&w, USER, 6, 10);
	entry(&w, GROUP_OBJ, 5, 0);
	entry(&w, OTHER, 0, 0);
	fuzz_seed_wr("unmasked", &w);
	begin(&w, 1);
	fuzz_seed_wr("version", &w);
}
