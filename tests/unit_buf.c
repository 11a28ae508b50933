/* unit_buf -- views: other bounds on the same bytes, which they keep alive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "buf.h"

static void same_bytes(void **state)
{
	struct buf *b = buf_dup("0123456789", 10);
	struct buf *v = buf_view(b, 2, 5), *w;

	(void)state;
	assert_ptr_equal(v->data, b->data + 2);
	assert_int_equal(v->len, 5);
	assert_int_equal(v->cap, b->cap - 2);
	assert_int_equal(b->len, 10);
	w = buf_view(v, 1, v->cap - 1);
	assert_ptr_equal(w->data, b->data + 3);
	assert_int_equal(w->len, b->cap - 3);
	buf_unref(b);
	buf_unref(v);
	assert_memory_equal(w->data, "3456789", 7);	/* still there */
	buf_unref(w);
}

/* Nor may a pooled block be given to somebody else meanwhile. */
static void holds_a_pooled_block(void **state)
{
	struct buf *b = buf_new(1 << 20), *v, *other;

	(void)state;
	memset(b->data, 1, 1 << 20);
	v = buf_view(b, 0, 1 << 20);
	buf_unref(b);
	other = buf_new(1 << 20);
	memset(other->data, 2, 1 << 20);
	assert_int_equal(v->data[1000], 1);
	buf_unref(other);
	buf_unref(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_bytes),
		cmocka_unit_test(holds_a_pooled_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
